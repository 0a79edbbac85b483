"""Exceptions of the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base class of the client's exceptions; `temporary` if the same call may succeed later."""

    temporary: bool = False
    retry_after: float | None = None


class Refused(ClientError):
    """Refusal by the server. Branch on `name` or `code`; `facts` holds the other fields, such as `position`.

    A numbered write is refused for good only. A call over HTTP that is `temporary` may be made again, after
    `retry_after` seconds if that is not None.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        self.code = int(error.get("code") or 0)
        self.name = str(error.get("name") or "error")
        self.temporary = bool(error.get("temporary"))
        self.retry_after = error.get("retry_after")
        self.facts = {key: value for key, value in error.items() if key not in _FIXED}
        super().__init__(f"{self.name} ({self.code}): {error.get('message') or 'refused'}")


class Stopped(ClientError):
    """End of the client: it was closed, or the server told it to stop. `code` is the close code and `name` its name."""

    def __init__(self, code: int, name: str) -> None:
        self.code = code
        self.name = name
        super().__init__(f"the client has stopped: {name} ({code})")


class Unanswered(ClientError):
    """Call over HTTP without an answer: nobody can say whether it took effect."""

    temporary = True


class TooSlow(ClientError):
    """End of an `async for` whose body is slower than the messages: `waiting` of them were left."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(f"{waiting} messages wait; read them faster, or take a callback")


class Unsent(ClientError):
    """Write that nobody will answer: the server has forgotten the client, or its session has expired.

    It may have taken effect.
    """

    def __init__(self, frame: Mapping[str, Any]) -> None:
        self.frame = dict(frame)
        super().__init__("the server has forgotten this client or its session; the write was not answered")


_FIXED = frozenset({"type", "id", "seq", "code", "name", "temporary", "retry_after", "message"})

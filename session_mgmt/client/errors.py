"""Exceptions of the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base class of the client's exceptions. Each has a `name` and a `code`, which is 0 for errors of the client
    itself.

    If `temporary` is True, the same call may succeed later, after `retry_after` seconds if that is not None.
    """

    name: str = "error"
    code: int = 0
    temporary: bool = False
    retry_after: float | None = None


class Refused(ClientError):
    """Refusal by the server. Branch on `name` or `code`; `facts` holds the other fields, such as `position`.

    The refusal of a numbered write is always final. A call over HTTP that was refused with `temporary` may be made
    again, after `retry_after` seconds if that is not None.
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
        super().__init__(f"The client has stopped: {name} ({code}). {ADVICE.get(name, _OTHER_ADVICE)}")


class Unanswered(ClientError):
    """Call over HTTP without an answer. It may or may not have taken effect."""

    name = "network_error"
    temporary = True


class TooSlow(ClientError):
    """End of an `async for` whose body is slower than the messages: `waiting` of them were not read."""

    name = "too_slow"

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(f"{waiting} messages wait: read them faster, raise `limit`, or take a callback.")


class Unsent(ClientError):
    """Write that will never be answered: the server has forgotten the client, or its session has expired.

    It may have taken effect.
    """

    name = "unsent"

    def __init__(self, frame: Mapping[str, Any]) -> None:
        self.frame = dict(frame)
        target = self.frame.get("doc") or self.frame.get("topic")
        write = f"{self.frame.get('type')} of {target}" if target else f"{self.frame.get('type')}"
        super().__init__(
            f"Nobody will answer this {write}: the server has forgotten this client or its session. It may have taken "
            "effect: look, and write again what is missing."
        )


_FIXED = frozenset({"type", "id", "seq", "code", "name", "temporary", "retry_after", "message"})
# Advice by the name of a client's end.
ADVICE: Mapping[str, str] = {
    "closed": "It was closed: start another one.",
    "logged_out": "It was logged out: start again, which enters as if nothing had been kept.",
    "auth_required": "Only a login opens its session: start again with `headers` or `auth`.",
    "client_failed": "The log of session_mgmt.client says why, such as a storage that takes no tokens.",
    "replaced": "Another process uses its storage: give each client one of its own.",
    "session_expired": "Its session is over and has no successor: start again with a login or another token.",
    "session_terminated": "Its session was ended: start again, which enters as if nothing had been kept.",
    "invalid_token": "Its token proves nothing any more: start again with `headers`, `auth`, or another `token`.",
    "token_expired": "Its token is too old: start again with `headers`, `auth`, or another `token`.",
    "login_mismatch": "Somebody else than `user` is logged in: check `headers` and `user`.",
    "unsupported_version": "Client and server have no version of the protocol in common: update the older one.",
    "origin_denied": "The server does not allow this origin: leave `Origin` out of `headers`, or allow it there.",
    "invalid_frame": "The server cannot read what was sent: update the older one of client and server.",
}
_OTHER_ADVICE = "Look its name up in docs/reference/errors.md."

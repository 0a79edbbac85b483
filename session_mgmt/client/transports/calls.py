"""Calls of a connection over HTTP (PROTOCOL section 16), and the meaning of their failures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx

from session_mgmt.client.effects import Leave
from session_mgmt.client.rest import NOT_OURS, PORTAL_WAIT, Rest
from session_mgmt.client.transports.carrier import Frame
from session_mgmt.protocol.codes import Close

CallName: TypeAlias = Literal["connections", "poll", "frames", "leave"]

JSON, STREAM = "application/json", "text/event-stream"
OURS = "X-Session-Mgmt"
_PATHS: dict[CallName, str] = {
    "connections": "connections/",
    "poll": "connections/poll/",
    "frames": "connections/frames/",
    "leave": "connections/leave/",
}


class CallFailure(Exception):
    """End of a call without a good answer; `leave` is how the attachment must go on.

    `refused`: the server has refused the call, and `error` is its error. `lost`: there was no answer, so the effect is
    unknown. `foreign`: something else has answered, such as a portal. If `is_passing`, the attachment still exists, and
    the same call may be sent again.
    """

    def __init__(
        self,
        kind: Literal["refused", "lost", "foreign"],
        leave: Leave,
        *,
        status: int = 0,
        is_passing: bool = False,
        error: Frame | None = None,
    ) -> None:
        self.kind, self.leave, self.status, self.is_passing, self.error = kind, leave, status, is_passing, error
        super().__init__(leave.name)


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a call that is not a stream. `next_in` is the seconds before the next poll, `size` the bytes."""

    frames: list[Frame]
    next_in: float = 0.0
    size: int = 0


class Calls:
    """The four calls to one server."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._used: str | None = None

    @contextlib.asynccontextmanager
    async def open(
        self, name: CallName, text: str, *, patience: float | None, accept: str = JSON
    ) -> AsyncIterator[httpx.Response]:
        """Send a call; yield the good answer of the server before its body is read. Raises CallFailure, also in the
        block.

        `patience` is the longest time without new data, in seconds; None if something else limits it.
        """
        if name != "leave":
            # When it leaves, the client may already be in another session.
            self._used = self._rest.token
        try:
            async with self._rest.open_call(_PATHS[name], text, accept, patience, self._used) as answer:
                if OURS not in answer.headers:
                    raise _build_foreign(answer.status_code)
                if not answer.is_success:
                    raise _read_refusal(answer.status_code, await answer.aread())
                yield answer
        except httpx.HTTPError as error:
            raise build_lost() from error

    async def ask(self, name: CallName, text: str, *, patience: float | None) -> Answer:
        """Send a call; return its frames. Raises CallFailure."""
        async with self.open(name, text, patience=patience) as answer:
            return _read_answer(await answer.aread())


def build_lost(name: str = "network_error") -> CallFailure:
    """Return the failure of a call without an answer."""
    return CallFailure("lost", Leave(1006, name, reconnect=True))


def _build_foreign(status: int) -> CallFailure:
    """Return the failure of a call that was answered by a proxy in front of the server, or by a portal."""
    if status >= 500 or status == 429:
        return build_lost()
    return CallFailure("foreign", Leave(1006, NOT_OURS, reconnect=True, retry_after=PORTAL_WAIT), status=status)


def _read_answer(content: bytes) -> Answer:
    """Return the frames of an answer. Raises CallFailure if the answer is cut."""
    if not content:
        return Answer([])
    try:
        body = json.loads(content)
        frames = [frame for frame in body["frames"] if isinstance(frame, dict) and isinstance(frame.get("type"), str)]
        return Answer(frames, float(body.get("next_in") or 0.0), len(content))
    except (ValueError, KeyError, TypeError) as error:
        raise build_lost() from error


def _read_refusal(status: int, content: bytes) -> CallFailure:
    fields = _read_error(content)
    code, is_temporary = fields.get("close"), bool(fields.get("temporary", status >= 500))
    reconnect = fields.get("reconnect")
    leave = Leave(
        Close.INTERNAL_ERROR.value if code is None else int(code),
        str(fields.get("name") or f"http_{status}"),
        is_temporary if reconnect is None else bool(reconnect),
        fields.get("retry_after"),
        str(fields.get("reason") or ""),
    )
    is_passing = code is None and is_temporary
    return CallFailure("refused", leave, status=status, is_passing=is_passing, error={**fields, "type": "error"})


def _read_error(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}

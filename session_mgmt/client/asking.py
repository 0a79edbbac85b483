"""Requests over a connection that may end before the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from session_mgmt.client.clock import Clock
from session_mgmt.client.errors import Refused

Frame = dict[str, Any]
PATIENCE = 10.0


class Asking:
    """Frames that wait for a `reply` or an `error` with their id."""

    def __init__(self, clock: Clock, draw_id: Callable[[], int], send: Callable[[Frame], bool]) -> None:
        self._clock, self._draw_id, self._send = clock, draw_id, send
        self._waiting: dict[int, asyncio.Future[Frame | None]] = {}

    async def ask(self, frame: Frame) -> Frame | None:
        """Send a frame and return its reply; None without a connection, or if no reply comes. Raises Refused."""
        id_ = self._draw_id()
        answer: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = answer
        if not self._send({**frame, "id": id_}):
            answer.set_result(None)
        timer = self._clock.call_later(PATIENCE, lambda: self._answer(id_, None))
        try:
            reply = await answer
        finally:
            timer.cancel()
            self._waiting.pop(id_, None)
        if reply is not None and reply["type"] == "error":
            raise Refused(reply)
        return reply

    def take_frame(self, frame: Frame) -> bool:
        """Take a frame if it answers a request; return False for any other frame."""
        id_ = frame.get("id")
        if frame.get("type") not in ("reply", "error") or id_ not in self._waiting:
            return False
        self._answer(id_, frame)
        return True

    def detach(self) -> None:
        """Answer all requests with None, because the connection is gone."""
        for id_ in list(self._waiting):
            self._answer(id_, None)

    def _answer(self, id_: int, reply: Frame | None) -> None:
        answer = self._waiting.get(id_)
        if answer is not None and not answer.done():
            answer.set_result(reply)

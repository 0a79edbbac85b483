"""Incoming messages of one connection: pass them to the commands, and read only as many as there is room for.

If the server passes messages to a callback, no task wakes for them; from any other ASGI server they are received one
by one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from session_mgmt.consumers.commands import Commands
from session_mgmt.consumers.connection import Connection
from session_mgmt.exceptions import InvalidFrame
from session_mgmt.protocol.codes import Close

logger = logging.getLogger(__name__)

ABNORMAL = 1006


def encode_text(text: str) -> bytes:
    """Encode a text message; a lone surrogate, which no socket can deliver, becomes bytes that are not valid UTF-8."""
    return text.encode(errors="surrogatepass")


class Intake:
    """Messages of one connection, from ``connected`` on."""

    __slots__ = ("_commands", "_connection", "_protocol")

    def __init__(self, connection: Connection) -> None:
        self._connection, self._protocol = connection, connection.outlet.own_protocol
        self._commands = Commands(connection)

    async def run(self, receive: Callable[[], Awaitable[Any]]) -> int:
        """Take all messages until the end of the connection, and return its code."""
        guard = self._connection.outlet.guard
        if guard is not None:
            guard.lift_limit()
            guard.count_hidden_frames(self._commands.take_token)
        if self._protocol is not None:
            return await self._protocol.take_frames(self._take_and_pause) or ABNORMAL
        while (event := await self._receive_next(receive))["type"] == "websocket.receive":
            text = event.get("text")
            self._take(None if text is None else encode_text(text))
        return event.get("code") or ABNORMAL

    async def _receive_next(self, receive: Callable[[], Awaitable[Any]]) -> Any:
        # Before the next message is taken, because messages left in the socket make TCP slow the sender down.
        await self._connection.wait_for_room()
        return await receive()

    def _take_and_pause(self, payload: bytes | None) -> None:
        connection = self._connection
        try:
            self._take(payload)
        # The server calls this from its reader, where an error would end the connection without a reason.
        except Exception:
            logger.exception("A frame could not be worked on")
            connection.stop(Close.INTERNAL_ERROR)
        if connection.has_no_room:
            assert self._protocol is not None
            self._protocol.pause_reading()
            connection.side_work.start(self._resume_with_room)

    async def _resume_with_room(self) -> None:
        assert self._protocol is not None
        await self._connection.wait_for_room()
        self._protocol.resume_reading()

    def _take(self, payload: bytes | None) -> None:
        # Frames that arrive after our goodbye have no effect, and so get no receipt; the client sends them again.
        if self._connection.closed_with is not None:
            return
        if payload is None:
            self._connection.push_error(InvalidFrame("Frames are text."))
            self._connection.stop(Close.INVALID_FRAME)
        else:
            self._commands.receive(payload)

"""Bytes of one WebSocket with uvicorn, turned into events of an ASGI application or calls of a callback.

Whole text frames are read here; the parser of uvicorn's library reads every other frame.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol, State

from session_mgmt.consumers.frame_reader import FrameReader

# At DEBUG the library writes the beginnings of frames, with values in them. Who wants to see them sets the level of
# this logger.
_wire = logging.getLogger(__name__)
_wire.setLevel(logging.INFO)

Message: TypeAlias = dict[str, Any]

POLICY_VIOLATION, BAD_UTF8, TOO_BIG = 1008, 1007, 1009


class Incoming(FrameReader):
    """Receiving side of one connection, with its limits and its end."""

    __slots__ = (
        "_bytes_left",
        "_config",
        "_count_hidden",
        "_end",
        "_events",
        "_library",
        "_loop",
        "_parts",
        "_take_frame",
        "_timer",
        "_wakes",
        "_writable",
        "close_sent",
        "disconnected",
        "transport",
    )

    def __init__(self, config: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config.ws_max_size)
        self._config, self._loop = config, loop
        self.transport: Any = None
        # Events for the application, until it takes frames by callback.
        self._events: deque[Message] | None = None
        self._take_frame: Callable[[bytes | None], None] | None = None
        self._end: asyncio.Future[int] | None = None
        self._wakes: asyncio.Future[None] | None = None
        # Done when the transport has room again; None while it has room.
        self._writable: asyncio.Future[None] | None = None
        self._library: ServerProtocol | None = None
        self._parts: list[bytes] | None = None
        self._count_hidden: Callable[[], bool] | None = None
        self._bytes_left: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.close_sent = self.disconnected = False

    # -- frames by callback ----------------------------------------------------------------------------------------

    def take_frames(self, take: Callable[[bytes | None], None]) -> asyncio.Future[int]:
        """Pass messages to ``take`` from now on: text as bytes that may not be UTF-8, None for any other message.

        Returns the future of the close code of the connection.
        """
        self._take_frame, self._end = take, self._loop.create_future()
        # Frames may have arrived before the application registered its callback.
        events, self._events = self._events or (), None
        for event in events:
            if event["type"] == "websocket.disconnect":
                self._end.set_result(event["code"])
                break
            take(event["text"].encode() if event.get("text") is not None else None)
        if self.halted:
            self.resume_reading()
        return self._end

    def write_frame(self, frame: bytes) -> bool:
        """Write an encoded frame; return False if it must wait, or if nothing can be sent any more."""
        # Nothing may overtake frames that wait for the transport, and nothing may follow a close frame.
        if self._writable is not None or self.close_sent or self.disconnected:
            return False
        self.transport.write(frame)
        return True

    def pause_reading(self) -> None:
        """Stop reading from the peer, also data that has already arrived."""
        if not self.halted and not self.transport.is_closing():
            self.halted = True
            # The kernel's buffers then fill up, and the peer must wait.
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue to read after a pause."""
        if self.halted and not self.transport.is_closing():
            self.transport.resume_reading()
            # First read frames that have already arrived, before the transport delivers others.
            self.go_on()

    def pass_turn(self) -> None:
        self.pause_reading()
        # After everything that is ready in this turn of the loop.
        self._loop.call_soon(self.resume_reading)

    def take_text(self, payload: bytes) -> None:
        if self._take_frame is not None:
            # After its goodbye the application takes no more frames.
            if not self.close_sent:
                self._take_frame(payload)
        else:
            self._put_text(payload)

    def _put_text(self, payload: bytes) -> None:
        if self.close_sent:
            return
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            self.fail(BAD_UTF8)
            return
        self._put({"type": "websocket.receive", "text": text})
        # One event at a time; continue when the application has taken it.
        self.pause_reading()

    # -- parts that the library reads ----------------------------------------------------------------------------------

    def take_other(self, frame: bytes) -> None:
        if self.transport.is_closing():
            return
        conn = self._library
        if conn is None:
            conn = self._library = ServerProtocol(state=State.OPEN, max_size=self.most_bytes, logger=_wire)
        conn.receive_data(frame)
        broken = conn.parser_exc is not None
        for event in conn.events_received():
            assert isinstance(event, Frame)
            self._take_event(event)
        if self.transport.is_closing():
            return
        # Answers of the library, such as pongs.
        output = b"".join(conn.data_to_send())
        if output and not self.close_sent:
            self.transport.write(output)
        if broken:
            assert conn.close_sent is not None
            self._finish(conn.close_sent.code, conn.close_sent.reason)
        # Keep the parser only in the middle of a message, because an idle one costs kilobytes per connection.
        elif not self.in_parts:
            self._library = None

    def _take_event(self, event: Frame) -> None:
        if event.opcode is Opcode.CLOSE:
            self._take_close(event)
            return
        whole = event.fin and event.opcode in (Opcode.TEXT, Opcode.BINARY)
        if not whole and self._count_hidden is not None and not self._count_hidden():
            self.fail(POLICY_VIOLATION)
        elif event.opcode is Opcode.PING:
            # Answers that a peer does not read would pile up in the transport.
            if self._writable is not None:
                self.fail(POLICY_VIOLATION)
        elif event.opcode is not Opcode.PONG:
            self._take_part(event)

    def _take_part(self, event: Frame) -> None:
        if event.opcode is not Opcode.CONT:
            # The first item marks a binary message, because later parts do not carry its kind (RFC 6455 section 5.4).
            self._parts = [b"\x00" if event.opcode is Opcode.BINARY else b""]
        assert self._parts is not None  # the library takes no part without a first one
        self._parts.append(bytes(event.data))
        self.in_parts = not event.fin
        if self.in_parts:
            return
        (binary, *parts), self._parts = self._parts, None
        if not binary:
            self.take_text(b"".join(parts))
        elif self._take_frame is not None:
            self._take_frame(None)
        elif not self.close_sent:
            self._put({"type": "websocket.receive", "bytes": b"".join(parts)})
            self.pause_reading()

    def _take_close(self, event: Frame) -> None:
        # RFC 6455 section 5.5.1: a close frame is answered with the same code, once.
        frame = CloseFrame.parse(event.data)
        if not self.close_sent:
            self.transport.write(Frame(Opcode.CLOSE, event.data).serialize(mask=False))
        self._finish(frame.code, frame.reason)

    # -- bounds ----------------------------------------------------------------------------------------------------

    def limit_bytes(self, most: int) -> None:
        """Accept at most this many bytes from the peer, in frames of any kind, until ``lift_limit``."""
        # The peer may have sent bytes between the handshake and this call, when there was no limit.
        self._bytes_left = most - self.waiting_bytes
        # A longer frame could never be accepted, so refuse it by its header.
        self.most_bytes = min(most, self._config.ws_max_size)

    def lift_limit(self) -> None:
        """Use the server's own limit for the size of messages again."""
        self._bytes_left, self.most_bytes = None, self._config.ws_max_size

    def _has_room_for(self, data: bytes) -> bool:
        assert self._bytes_left is not None  # there is a limit
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self.fail(TOO_BIG)
        return self._bytes_left >= 0

    def count_hidden_frames(self, take: Callable[[], bool]) -> None:
        """Call ``take`` for every frame that is not a whole message; close if it returns False."""
        self._count_hidden = take

    def fail(self, code: int) -> None:
        """Close at once, and drop everything that the peer has sent or would have to read."""
        if self.close_sent or self.disconnected:
            return
        self._write_close(code, "")
        self._disconnect(code)
        # Do not read the bytes that are still in the buffers.
        self.halted = True
        self.abort()

    def abort(self) -> None:
        """Drop the transport with everything that its peer did not read."""
        self.transport.abort()

    def _finish(self, code: int, reason: str) -> None:
        self.close_sent = self.halted = True
        self._disconnect(code, reason)
        self._stop_timer()
        self.transport.close()

    # -- events and the end ----------------------------------------------------------------------------------------

    def _write_close(self, code: int, reason: str) -> None:
        self.close_sent = True
        if not self.transport.is_closing():
            self.transport.write(Frame(Opcode.CLOSE, CloseFrame(code, reason).serialize()).serialize(mask=False))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _put(self, event: Message) -> None:
        """Pass an event to the application."""
        if self._events is None:
            return
        self._events.append(event)
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(None)

    def _disconnect(self, code: int, reason: str = "") -> None:
        """Report to the application how the connection ended; only the first end counts."""
        self._put({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self._end is not None and not self._end.done():
            self._end.set_result(code)

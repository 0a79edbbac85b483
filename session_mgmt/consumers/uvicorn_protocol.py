"""WebSockets of session clients without a library between them and their frames, as a class for uvicorn's ``--ws``.

It opens connections to the address of the consumer, reads whole text frames, and hands them to a callback as bytes.
Any other address, compressed connections and unusual handshakes are left to uvicorn's own class, which is fed the same
bytes; frames of any other kind are left to the parser of its library. No keep-alive pings are sent: the consumer has
beats of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from uvicorn.protocols.utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol, State

from session_mgmt.conf import settings
from session_mgmt.consumers.frame_reader import FrameReader
from session_mgmt.consumers.handshake import Handshake, build_answer, build_refusal, read_handshake

logger = logging.getLogger("uvicorn.error")

Message: TypeAlias = dict[str, Any]

CLOSE_SECONDS = 10.0
GOING_AWAY, POLICY_VIOLATION, BAD_UTF8, TOO_BIG = 1012, 1008, 1007, 1009
LOST_BEFORE, LOST_AFTER = 1006, 1005


class WebSocketProtocol(FrameReader, asyncio.Protocol):
    """One connection: an ASGI application's ``receive`` and ``send``, until it asks for its frames by callback."""

    __slots__ = (
        "__weakref__",
        "_app_state",
        "_bytes_left",
        "_config",
        "_count_hidden",
        "_end",
        "_events",
        "_handshake",
        "_library",
        "_loop",
        "_other",
        "_parts",
        "_scope",
        "_server_state",
        "_take_frame",
        "_timer",
        "_wakes",
        "_writable",
        "accepted",
        "close_sent",
        "disconnected",
        "transport",
    )

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config.ws_max_size)
        self._config, self._server_state, self._app_state = config, server_state, app_state
        self._loop = _loop or asyncio.get_event_loop()
        self.transport: Any = None
        # uvicorn's own class, where it serves this connection.
        self._other: Any = None
        self._handshake: Handshake | None = None
        self._scope: Any = None
        # Events of the application, until it takes its frames by callback.
        self._events: deque[Message] | None = None
        self._take_frame: Callable[[bytes | None], None] | None = None
        self._end: asyncio.Future[int] | None = None
        self._wakes: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._library: ServerProtocol | None = None
        self._parts: list[bytes] = []
        self._count_hidden: Callable[[], bool] | None = None
        self._bytes_left: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.accepted = self.close_sent = self.disconnected = False

    # -- transport -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._server_state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.connection_lost(exc)
            return
        self._server_state.connections.discard(self)
        self._disconnect(LOST_AFTER if self.accepted else LOST_BEFORE)
        self.disconnected = True
        self.resume_writing()
        self._stop_timer()
        self.forget_rest()
        if exc is None:
            self.transport.close()

    def eof_received(self) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.data_received(data)
        elif self._handshake is None:
            self._open(data)
        elif self._has_room_for(data):
            self.read(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.pause_writing()
        elif self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.resume_writing()
        elif self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def shutdown(self) -> None:
        """End the connection, because the server ends."""
        self._stop_timer()
        if self.accepted and not self.close_sent:
            self._write_close(GOING_AWAY, "")
            self._disconnect(GOING_AWAY)
        elif not self.accepted:
            self._refuse(b"500 Internal Server Error")
        self.transport.close()

    # -- handshake -------------------------------------------------------------------------------------------------

    def _open(self, head: bytes) -> None:
        handshake = read_handshake(head)
        compressed = handshake is not None and handshake.offers_extension and self._config.ws_per_message_deflate
        if handshake is None or compressed or handshake.path != settings().websocket_path:
            self._give_over(head)
            return
        self._handshake, self._events = handshake, deque([{"type": "websocket.connect"}])
        self._scope = self._build_scope(handshake)
        task = self._loop.create_task(self._run(self._scope))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _give_over(self, head: bytes) -> None:
        """Let uvicorn's own class serve the connection, from its first byte on."""
        self._server_state.connections.discard(self)
        self._other = WebSocketsSansIOProtocol(self._config, self._server_state, self._app_state, self._loop)
        self._other.connection_made(self.transport)
        self._other.data_received(head)

    def _build_scope(self, handshake: Handshake) -> Any:
        root = self._config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self.transport) else "ws",
            "server": get_local_addr(self.transport),
            "client": get_remote_addr(self.transport),
            "root_path": root,
            "path": root + handshake.path,
            "raw_path": root.encode("ascii") + handshake.raw_path,
            "query_string": handshake.query,
            "headers": handshake.headers,
            "subprotocols": handshake.subprotocols,
            "state": self._app_state.copy(),
            "extensions": {},
        }

    async def _run(self, scope: Any) -> None:
        try:
            await self._config.loaded_app(scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            # The server ends, and waited long enough.
            self.transport.close()
            raise
        except BaseException:
            logger.exception("Exception in ASGI application\n")
            self._refuse(b"500 Internal Server Error")
        else:
            if not self.accepted and not self.disconnected:
                logger.error("ASGI callable returned without completing handshake.")
                self._refuse(b"500 Internal Server Error")
        if self._timer is None:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        if not self.accepted and not self.transport.is_closing():
            self.accepted = self.close_sent = True
            self.transport.write(build_refusal(status, self._server_state.default_headers))

    # -- ASGI ------------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next event; the peer is read no further while one waits."""
        assert self._events is not None  # frames go to the callback
        while not self._events:
            self._wakes = self._loop.create_future()
            await self._wakes
        event = self._events.popleft()
        if self.halted and not self._events:
            self.resume_reading()
        return event

    async def send(self, message: Message) -> None:
        """Carry out one message of the application."""
        while self._writable is not None:
            await asyncio.shield(self._writable)
        if self.disconnected:
            raise ClientDisconnected()
        act = message["type"]
        if not self.accepted:
            self._answer_handshake(message)
        elif self.close_sent:
            raise RuntimeError(f"Unexpected ASGI message '{act}', after sending 'websocket.close'.")
        elif act == "websocket.send":
            self._send_data(message)
        elif act == "websocket.close":
            self._close(message.get("code", 1000), message.get("reason") or "")
        else:
            raise RuntimeError(f"Unexpected ASGI message '{act}' of an open WebSocket.")

    def _answer_handshake(self, message: Message) -> None:
        assert self._handshake is not None and self._scope is not None
        act = message["type"]
        if act not in ("websocket.accept", "websocket.close"):
            raise RuntimeError(f"Unexpected ASGI message '{act}' before a WebSocket is open.")
        accepts = act == "websocket.accept"
        if logger.isEnabledFor(logging.INFO):
            outcome = "[accepted]" if accepts else "403"
            line = '%s - "WebSocket %s" ' + outcome
            logger.info(line, get_client_addr(self._scope), get_path_with_query_string(self._scope))
        self._scope = None
        if not accepts:
            self._put({"type": "websocket.disconnect", "code": LOST_BEFORE})
            self._refuse(b"403 Forbidden")
            self.transport.close()
            return
        self.accepted = True
        headers = [*self._server_state.default_headers, *message.get("headers", ())]
        self.transport.write(build_answer(self._handshake, message.get("subprotocol"), headers))
        # Only that there was a handshake is of interest from now on.
        self._handshake = self._handshake._replace(headers=[])

    def _send_data(self, message: Message) -> None:
        data = message.get("bytes")
        frame = Frame(Opcode.TEXT, message["text"].encode()) if data is None else Frame(Opcode.BINARY, data)
        self.transport.write(frame.serialize(mask=False))

    def _close(self, code: int, reason: str) -> None:
        self._write_close(code, reason)
        self._disconnect(code, reason)
        # Only the peer's answer is of interest now.
        self.resume_reading()
        self._timer = self._loop.call_later(CLOSE_SECONDS, self.abort)

    def _write_close(self, code: int, reason: str) -> None:
        self.close_sent = True
        if not self.transport.is_closing():
            self.transport.write(Frame(Opcode.CLOSE, CloseFrame(code, reason).serialize()).serialize(mask=False))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _put(self, event: Message) -> None:
        """Give the application an event."""
        if self._events is None:
            return
        self._events.append(event)
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(None)

    def _disconnect(self, code: int, reason: str = "") -> None:
        """Tell the application how the connection ended; only the first end counts."""
        self._put({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self._end is not None and not self._end.done():
            self._end.set_result(code)

    # -- frames by callback ----------------------------------------------------------------------------------------

    def take_frames(self, take: Callable[[bytes | None], None]) -> asyncio.Future[int]:
        """Hand messages to ``take`` from now on: text as bytes that may not be UTF-8, ``None`` for any other.

        Returns the future of the code with which the connection ends.
        """
        self._take_frame, self._end = take, self._loop.create_future()
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
        """Write a frame that is encoded already; False while it must wait, or if nothing goes out any more."""
        if self._writable is not None or self.close_sent or self.disconnected:
            return False
        self.transport.write(frame)
        return True

    def pause_reading(self) -> None:
        """Read nothing more of the peer, not even what has arrived."""
        if not self.halted and not self.transport.is_closing():
            self.halted = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on where reading was paused."""
        if self.halted and not self.transport.is_closing():
            self.transport.resume_reading()
            self.go_on()

    def pass_turn(self) -> None:
        self.pause_reading()
        self._loop.call_soon(self.resume_reading)

    def take_text(self, payload: bytes) -> None:
        if self._take_frame is not None:
            # After its good-bye the application wants nothing more.
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
        self.pause_reading()

    # -- what the library reads ------------------------------------------------------------------------------------

    def take_other(self, frame: bytes) -> None:
        if self.transport.is_closing():
            return
        conn = self._library
        if conn is None:
            conn = self._library = ServerProtocol(state=State.OPEN, max_size=self.most_bytes, logger=logger)
        conn.receive_data(frame)
        broken = conn.parser_exc is not None
        for event in conn.events_received():
            assert isinstance(event, Frame)
            self._take_event(event)
        if self.transport.is_closing():
            return
        output = b"".join(conn.data_to_send())
        if output and not self.close_sent:
            self.transport.write(output)
        if broken:
            assert conn.close_sent is not None
            self._finish(conn.close_sent.code, conn.close_sent.reason)
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
            # An answer that a peer does not read would pile up in the transport.
            if self._writable is not None:
                self.fail(POLICY_VIOLATION)
        elif event.opcode is not Opcode.PONG:
            self._take_part(event)

    def _take_part(self, event: Frame) -> None:
        if event.opcode is not Opcode.CONT:
            self._parts = [b"\x00" if event.opcode is Opcode.BINARY else b""]
        self._parts.append(bytes(event.data))
        self.in_parts = not event.fin
        if self.in_parts:
            return
        (binary, *parts), self._parts = self._parts, []
        if not binary:
            self.take_text(b"".join(parts))
        elif self._take_frame is not None:
            self._take_frame(None)
        elif not self.close_sent:
            self._put({"type": "websocket.receive", "bytes": b"".join(parts)})
            self.pause_reading()

    def _take_close(self, event: Frame) -> None:
        told = CloseFrame.parse(event.data)
        if not self.close_sent:
            self.transport.write(Frame(Opcode.CLOSE, event.data).serialize(mask=False))
        self._finish(told.code, told.reason)

    # -- bounds ----------------------------------------------------------------------------------------------------

    def limit_bytes(self, most: int) -> None:
        """Take at most so many bytes from the peer, whatever frames they are, until ``lift_limit``."""
        self._bytes_left = most - self.waiting_bytes
        self.most_bytes = min(most, self._config.ws_max_size)

    def lift_limit(self) -> None:
        """Leave the size of messages to the server's own limit again."""
        self._bytes_left, self.most_bytes = None, self._config.ws_max_size

    def _has_room_for(self, data: bytes) -> bool:
        if self._bytes_left is None:
            return True
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self.fail(TOO_BIG)
        return self._bytes_left >= 0

    def count_hidden_frames(self, take: Callable[[], bool]) -> None:
        """Ask ``take`` about every frame that is no whole message; close where it says no."""
        self._count_hidden = take

    def fail(self, code: int) -> None:
        """Close at once; nothing that the peer has sent or would have to read is kept."""
        if self.close_sent or self.disconnected:
            return
        self._write_close(code, "")
        self._disconnect(code)
        self.halted = True
        self.abort()

    def abort(self) -> None:
        """Drop the transport with all that its peer did not read."""
        self.transport.abort()

    def _finish(self, code: int, reason: str) -> None:
        self.close_sent = self.halted = True
        self._disconnect(code, reason)
        self._stop_timer()
        self.transport.close()

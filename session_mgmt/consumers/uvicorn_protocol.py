"""WebSockets of session clients as a protocol class for uvicorn's ``--ws``, without a library for ordinary frames.

It serves the path of the consumer, reads whole text frames, and passes them to a callback as bytes. For any other path
and for unusual handshakes, uvicorn's own class gets the same bytes; frames of other kinds are read by the parser of its
library. Compression is declined, so that one encoding serves all readers, and no keep-alive pings are sent, because the
consumer has its own beats.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from uvicorn.protocols.utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

from session_mgmt.conf import settings
from session_mgmt.consumers.handshake import (
    Handshake,
    build_answer,
    build_refusal,
    holds_control_characters,
    read_handshake,
)
from session_mgmt.consumers.pacing import crowd
from session_mgmt.consumers.uvicorn_first_bytes import begin_with_first_bytes
from session_mgmt.consumers.uvicorn_incoming import Incoming, Message

logger = logging.getLogger("uvicorn.error")

# Seconds to wait for the peer's answer to a close frame.
CLOSE_SECONDS = 10.0
SERVICE_RESTART = 1012
LOST_BEFORE, LOST_AFTER = 1006, 1005


class WebSocketProtocol(Incoming, asyncio.Protocol):
    """One connection: ``receive`` and ``send`` of an ASGI application, until it asks for frames by callback."""

    __slots__ = (
        "__weakref__",
        "_app_state",
        "_handshake",
        "_other",
        "_scope",
        "_server_state",
        "accepted",
    )

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, _loop or asyncio.get_event_loop())
        begin_with_first_bytes(config)
        self._server_state, self._app_state = server_state, app_state
        # uvicorn's own protocol, if it serves this connection.
        self._other: Any = None
        self._handshake: Handshake | None = None
        self._scope: Any = None
        self.accepted = False

    # -- transport -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._server_state.connections.add(self)
        # The protocol that read the handshake refers to itself through its parser; only the garbage collector would
        # free it.
        before = transport.get_protocol()
        if hasattr(before, "parser"):
            before.parser = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.connection_lost(exc)
            return
        self._server_state.connections.discard(self)
        # Without effect if an end was reported before.
        self._disconnect(LOST_AFTER if self.accepted else LOST_BEFORE)
        self.disconnected = True
        # After the flag is set: a waiting `send` wakes up, and must find that the client is gone.
        self.resume_writing()
        self._stop_timer()
        self.forget_rest()
        # Break the reference cycle with the callbacks.
        self._take_frame = self._count_hidden = None
        if exc is None:
            self.transport.close()

    # Return None, so that asyncio closes the transport: a client that sends no more cannot answer a close frame either.
    def eof_received(self) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.data_received(data)
        elif self._handshake is None:
            self._open(data)
        elif self._bytes_left is None or self._has_room_for(data):
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
        """End the connection, because the server shuts down."""
        self._stop_timer()
        if self.accepted and not self.close_sent:
            self._write_close(SERVICE_RESTART, "")
            self._disconnect(SERVICE_RESTART)
        elif not self.accepted:
            self._refuse(b"500 Internal Server Error")
        self.transport.close()

    # -- handshake -------------------------------------------------------------------------------------------------

    def _open(self, head: bytes) -> None:
        if holds_control_characters(head):
            # uvicorn's own protocol would keep such a socket open without an answer.
            self._refuse(b"400 Bad Request")
            self.transport.close()
            return
        handshake = read_handshake(head)
        # In case of doubt, uvicorn's own protocol handles the connection.
        if handshake is None or handshake.path != settings().websocket_path:
            self._give_over(head)
            return
        self._take_handshake(handshake)
        crowd().requests.begin(self._start_application)

    def open(self, handshake: Handshake) -> None:
        """Let the application serve the connection, whose opening request has had its turn."""
        self._take_handshake(handshake)
        self._start_application()

    def _take_handshake(self, handshake: Handshake) -> None:
        self._handshake, self._events = handshake, deque([{"type": "websocket.connect"}])
        # Now, because a closed socket has no addresses.
        self._scope = self._build_scope(handshake)

    def _start_application(self) -> bool:
        """Let the application serve the connection; return False if it ended while it waited for this turn."""
        if self.disconnected or self.close_sent:
            return False
        task = self._loop.create_task(self._run(self._scope))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)
        return True

    def _give_over(self, head: bytes) -> None:
        """Let uvicorn's own class serve the connection, beginning with its first byte."""
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
            # The ASGI specification requires a shallow copy of the lifespan's state for each connection.
            "state": self._app_state.copy(),
            "extensions": {},
        }

    async def _run(self, scope: Any) -> None:
        try:
            await self._config.loaded_app(scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            # The server shuts down, and has waited long enough.
            self.transport.close()
            raise
        except BaseException:
            logger.exception("Exception in ASGI application\n")
            self._refuse(b"500 Internal Server Error")
        else:
            if not self.accepted and not self.disconnected:
                logger.error("ASGI callable returned without completing handshake.")
                self._refuse(b"500 Internal Server Error")
        # While the timer runs, the peer's close frame is still expected.
        if self._timer is None:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        if not self.accepted and not self.transport.is_closing():
            self.accepted = self.close_sent = True
            self.transport.write(build_refusal(status, self._server_state.default_headers))

    # -- ASGI ------------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next event; while one waits, nothing is read from the peer."""
        assert self._events is not None  # frames go to the callback
        while not self._events:
            self._wakes = self._loop.create_future()
            await self._wakes
        event = self._events.popleft()
        if self.halted and not self._events:
            self.resume_reading()
        return event

    async def send(self, message: Message) -> None:
        """Handle one message of the application."""
        # In a loop, because another writer may have filled the transport again.
        while self._writable is not None:
            # Shielded, because all writers share this future, and a cancelled writer must not end it.
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
        # From now on only the fact that there was a handshake is needed, not its headers.
        self._handshake = self._handshake._replace(headers=[])

    def _send_data(self, message: Message) -> None:
        data = message.get("bytes")
        frame = Frame(Opcode.TEXT, message["text"].encode()) if data is None else Frame(Opcode.BINARY, data)
        self.transport.write(frame.serialize(mask=False))

    def _close(self, code: int, reason: str) -> None:
        self._write_close(code, reason)
        self._disconnect(code, reason)
        # Now only the peer's close frame matters.
        self.resume_reading()
        self._timer = self._loop.call_later(CLOSE_SECONDS, self.abort)

"""Our class for uvicorn under a test's own transport: what ``WebsocketCommunicator`` is for any ASGI server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from uvicorn.server import ServerState
from websockets.frames import Close, Frame, Opcode

from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol

_MASKED = 0x80
LOST = 1006


class Transport(asyncio.Transport):
    """Transport of a test: keeps what is written, and tells whether it is read."""

    def __init__(self, peer: tuple[str, int] | None = None) -> None:
        super().__init__({"peername": peer})
        self.written = b""
        self.ended: list[str] = []
        self.protocol: Any = None
        self.read = asyncio.Event()
        self.read.set()

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        if not self.ended:
            self.written += bytes(data)

    def pause_reading(self) -> None:
        self.read.clear()

    def resume_reading(self) -> None:
        self.read.set()

    async def wait_until_read(self) -> None:
        # It may be paused again before a waiter's turn comes.
        while not self.read.is_set():
            await self.read.wait()

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended.append("close")
        self.read.set()

    def abort(self) -> None:
        self.ended.append("abort")
        self.read.set()


def build_config(application: Any, **options: Any) -> Any:
    """Build what uvicorn's configuration tells its classes."""
    given = {"ws_max_size": 1 << 20, "ws_per_message_deflate": False, "root_path": "", **options}
    fixed = {"loaded": True, "asgi_version": "3.0", "ws_ping_interval": None, "ws_ping_timeout": None}
    return SimpleNamespace(loaded_app=application, **fixed, **given)


class _Speaking(Transport):
    """Transport that tells about each write, and counts them."""

    def __init__(self, peer: tuple[str, int] | None) -> None:
        super().__init__(peer)
        self.wrote, self.writes = asyncio.Event(), 0

    def write(self, data: Any) -> None:
        super().write(data)
        self.writes += 1
        self.wrote.set()

    def close(self) -> None:
        super().close()
        self.wrote.set()

    def abort(self) -> None:
        super().abort()
        self.wrote.set()


class UvicornCommunicator:
    """The part of ``WebsocketCommunicator`` that the peers of the tests use."""

    def __init__(self, application: Any, path: str, headers: Any = (), subprotocols: Sequence[str] = ()) -> None:
        self.scope: dict[str, Any] = {"client": None}
        self._application, self._path, self._headers = application, path, list(headers)
        self._subprotocols, self._state = subprotocols, ServerState()
        self._events: deque[dict[str, Any]] = deque()

    async def connect(self, timeout: float) -> tuple[bool, str | None]:
        self._transport = _Speaking(self.scope["client"])
        self.protocol = WebSocketProtocol(build_config(self._application), self._state, {})
        self.protocol.connection_made(self._transport)
        given = {
            b"host": b"",
            b"upgrade": b"websocket",
            b"connection": b"Upgrade",
            b"sec-websocket-key": b"AAAAAAAAAAAAAAAAAAAAAA==",
            b"sec-websocket-version": b"13",
            b"sec-websocket-protocol": ", ".join(self._subprotocols).encode(),
            **dict(self._headers),
        }
        lines = [f"GET {self._path} HTTP/1.1".encode(), *(name + b": " + value for name, value in given.items())]
        self.protocol.data_received(b"\r\n".join(lines) + b"\r\n\r\n")
        async with asyncio.timeout(timeout):
            head = await self._read_until(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 101 "), None

    @property
    def writes(self) -> int:
        return self._transport.writes

    async def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._transport.written:
            self._transport.wrote.clear()
            await self._transport.wrote.wait()
        found, _, self._transport.written = self._transport.written.partition(mark)
        return found

    async def send_to(self, *, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        opcode = Opcode.TEXT if text_data is not None else Opcode.BINARY
        data = text_data.encode(errors="surrogatepass") if text_data is not None else bytes_data or b""
        self.protocol.data_received(Frame(opcode, data).serialize(mask=True))

    async def receive_from(self, timeout: float) -> Any:
        event = await self.receive_output(timeout)
        assert event["type"] == "websocket.send", event
        return event["text"]

    async def receive_output(self, timeout: float) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            while not self._take_events():
                assert not self._transport.ended, "the connection has ended"
                self._transport.wrote.clear()
                await self._transport.wrote.wait()
        return self._events.popleft()

    def _take_events(self) -> bool:
        """Take whole frames of the server; tell whether there is an event."""
        data = self._transport.written
        while len(data) >= 2:
            start = {126: 4, 127: 10}.get(data[1], 2)
            size = data[1] if start == 2 else int.from_bytes(data[2:start], "big")
            if len(data) < start + size:
                break
            opcode, payload, data = data[0] & 0x0F, data[start : start + size], data[start + size :]
            if opcode == Opcode.TEXT:
                self._events.append({"type": "websocket.send", "text": payload.decode()})
            elif opcode == Opcode.CLOSE:
                self._events.append({"type": "websocket.close", "code": Close.parse(payload).code})
        self._transport.written = data
        return bool(self._events)

    async def disconnect(self, code: int = 1000, timeout: float = 1.0) -> None:
        if not hasattr(self, "protocol") or self.protocol.disconnected:
            return
        self.protocol.resume_writing()
        if code != LOST and not self._transport.ended:
            self.protocol.data_received(Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=True))
        self.protocol.connection_lost(None)
        async with asyncio.timeout(timeout):
            await asyncio.gather(*self._state.tasks, return_exceptions=True)

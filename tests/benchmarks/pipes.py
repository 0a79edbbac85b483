"""Part of HTTP/1.1 for a light client: one connection that carries one request at a time, and comes again if closed."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

HOST = "127.0.0.1"
# A close that is a reset, as when a server or a network dies: nothing says good-bye.
RESET = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


def build_request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Build a request; a body is JSON unless the headers say otherwise."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *(f"{name}: {value}" for name, value in headers.items())]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def reset(transport: Any) -> None:
    """Close a connection as a dead network does."""
    raw: socket.socket = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


class Pipe(asyncio.Protocol):
    """Connection of one guest. ``on_answer`` takes a status and a body, ``on_piece`` parts of a body as they come.

    ``on_lost`` is called when the server ends the connection in the middle, or takes none.
    """

    def __init__(
        self,
        port: int,
        on_answer: Callable[[int, bytes], None],
        on_lost: Callable[[], None],
        on_piece: Callable[[bytes], None] | None = None,
    ) -> None:
        self._port, self._on_answer, self._on_lost, self._on_piece = port, on_answer, on_lost, on_piece
        self._transport: Any = None
        self._opening: asyncio.Task[None] | None = None
        self._request = self._buffer = self._body = b""
        self._status, self._left, self._is_chunked = 0, 0, False
        self.is_waiting = self._is_cut = False

    def ask(self, request: bytes) -> None:
        """Send a request; the one before has its answer."""
        self.is_waiting, self._status, self._body = True, 0, b""
        if self._transport is not None:
            self._transport.write(request)
            return
        self._request = request
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, HOST, self._port)
        except OSError:
            self._lose()

    def connection_made(self, transport: Any) -> None:
        self._transport, self._buffer = transport, b""
        if self._is_cut:
            reset(transport)
        else:
            transport.write(self._request)

    def cut(self) -> None:
        """Reset the connection; nothing more is heard."""
        self._is_cut = True
        if self._transport is not None:
            reset(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lose()

    def _lose(self) -> None:
        if self.is_waiting and not self._is_cut:
            self.is_waiting = False
            self._on_lost()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self.is_waiting and not self._is_cut:
            if not (self._take_body() if self._status else self._take_head()):
                return

    def _take_head(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        self._buffer, self._status = rest, int(head[9:12])
        self._is_chunked = _CHUNKED.search(head) is not None
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else 0
        return True

    def _take_body(self) -> bool:
        if self._is_chunked:
            return self._take_chunk()
        if len(self._buffer) < self._left:
            return False
        body, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._finish(body)
        return True

    def _take_chunk(self) -> bool:
        size, end, rest = self._buffer.partition(b"\r\n")
        if not end or len(rest) < int(size, 16) + 2:
            return False
        count = int(size, 16)
        piece, self._buffer = rest[:count], rest[count + 2 :]
        if not count:
            self._finish(self._body)
        elif self._on_piece is not None and self._status == 200:
            self._on_piece(piece)
        else:
            self._body += piece
        return True

    def _finish(self, body: bytes) -> None:
        self.is_waiting = False
        self._on_answer(self._status, body)

"""Ends of an outlet over HTTP: a basket that gathers the frames of one answer, and a stream of events.

Both take the messages that an outlet sends to a socket, so code that follows logs does not depend on the transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

# Frames that are sent within this time go into one answer.
GATHER_SECONDS = 0.01
# Bytes of one answer; a single frame may be larger.
MOST_BYTES = 256 * 1024
# Comment of a stream on which nothing was sent for a while. No frame is empty.
KEEP_ALIVE = ""
# Some proxies hold the first kilobyte back.
FIRST_BYTES = b":" + b" " * 1024 + b"\n\n"


class Basket:
    """Answer that gathers frames. The first frame soon ends the wait for others, and a full basket takes no more.

    Other frames wait in the outlet, which then stops the reading of logs.
    """

    def __init__(self, *, most_bytes: int | None = MOST_BYTES) -> None:
        self._loop = asyncio.get_running_loop()
        self._most, self._size = most_bytes, 0
        self.frames: list[str] = []
        self.over: asyncio.Future[None] = self._loop.create_future()

    async def send(self, message: dict[str, Any]) -> None:
        """Take a message of the outlet."""
        if message["type"] == "websocket.close":
            self.end()
            return
        if self._most is not None and self._size >= self._most:
            # Wait for ever: the outlet abandons this call when the answer is sent.
            await self._loop.create_future()
        self.frames.append(message["text"])
        self._size += len(message["text"])
        if self._most is not None and self._size >= self._most:
            self.end()
        elif len(self.frames) == 1:
            self._loop.call_later(GATHER_SECONDS, self.end)

    def end(self) -> None:
        """Let the answer be sent with the present frames."""
        if not self.over.done():
            self.over.set_result(None)

    async def wait_beside(self, replays: Sequence[asyncio.Future[bool]], seconds: float) -> None:
        """Wait until all replays are done or the answer must be sent, at most this many seconds."""
        present: asyncio.Future[Any] = asyncio.gather(*replays, return_exceptions=True)
        either: list[asyncio.Future[Any]] = [present, self.over]
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def wait(self, seconds: float) -> None:
        """Wait until the answer must be sent, at most this many seconds."""
        if seconds > 0:
            await asyncio.wait([self.over], timeout=seconds)


class Stream:
    """Answer that is sent piece by piece, each frame as one event."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self.sent_at = self._loop.time()
        self.over: asyncio.Future[None] = self._loop.create_future()

    async def begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head, and enough bytes that a proxy passes them on."""
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send_bytes(FIRST_BYTES)

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message of the outlet."""
        if message["type"] == "websocket.close":
            self.end()
        elif message["text"] == KEEP_ALIVE:
            await self._send_bytes(b": k\n\n")
        else:
            await self._send_bytes(b"data: " + message["text"].encode() + b"\n\n")

    def end(self) -> None:
        """Let the stream end once everything is sent."""
        if not self.over.done():
            self.over.set_result(None)

    async def finish(self) -> None:
        """Send the end of the answer."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_bytes(self, data: bytes) -> None:
        self.sent_at = self._loop.time()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

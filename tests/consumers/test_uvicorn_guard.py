"""Bounds of what uvicorn never shows an application: pings, parts of messages, and a first message of any size."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import websockets

from session_mgmt.consumers.outlet import Outlet
from tests.consumers.test_uvicorn_fast_path import MOST_BYTES, Application, serve

__all__ = ["serve"]

KB = 1024


class Guarded(Application):
    """Application that takes ``first_bytes`` before the first message, and so many hidden frames in all."""

    def __init__(self, first_bytes: int, hidden: int) -> None:
        super().__init__()
        self._first_bytes, self._hidden = first_bytes, hidden
        self.received: list[str] = []

    def take(self) -> bool:
        self._hidden -= 1
        return self._hidden >= 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.outlet, self.protocol = Outlet(send, MOST_BYTES), send.__self__
        guard = self.outlet.guard
        assert guard is not None
        guard.limit_bytes(self._first_bytes)
        self.outlet.push("ready")
        while (event := await receive())["type"] == "websocket.receive":
            guard.lift_limit()
            guard.count_hidden_frames(self.take)
            self.received.append(event["text"])
            self.outlet.push("taken")
        self.outlet.abandon()


async def closed(socket: Any) -> None:
    """Wait for the end of the connection."""
    with pytest.raises((websockets.ConnectionClosed, ConnectionError)):
        async with asyncio.timeout(60):
            while True:
                await socket.recv()


@pytest.mark.requirement("OWASP WebSocket: rate")
async def test_a_first_message_is_cut_off_before_it_is_whole(serve: Any) -> None:
    application, address = await serve(application=Guarded(16 * KB, 0))
    async with websockets.connect(address, compression=None) as socket:
        assert await socket.recv() == "ready"
        with pytest.raises((websockets.ConnectionClosed, ConnectionError)):
            await socket.send("x" * 500 * KB)
            await closed(socket)
            raise ConnectionError
        assert application.received == []


async def test_parts_of_a_first_message_count_together(serve: Any) -> None:
    application, address = await serve(application=Guarded(16 * KB, 0))
    async with websockets.connect(address, compression=None) as socket:
        assert await socket.recv() == "ready"
        with pytest.raises((websockets.ConnectionClosed, ConnectionError)):
            await socket.send("x" * KB for _ in range(100))
            await closed(socket)
            raise ConnectionError
        assert application.received == []


async def test_a_message_after_the_first_has_the_servers_own_limit(serve: Any) -> None:
    application, address = await serve(application=Guarded(16 * KB, 10))
    async with websockets.connect(address, compression=None) as socket:
        assert await socket.recv() == "ready"
        await socket.send("first")
        assert await socket.recv() == "taken"
        await socket.send("x" * 100 * KB)
        assert await socket.recv() == "taken"
        assert [len(text) for text in application.received] == [5, 100 * KB]


async def test_pings_beyond_the_rate_end_the_connection(serve: Any) -> None:
    _, address = await serve(application=Guarded(16 * KB, 20))
    async with websockets.connect(address, compression=None) as socket:
        assert await socket.recv() == "ready"
        await socket.send("first")
        assert await socket.recv() == "taken"
        await (await socket.ping())
        with pytest.raises((websockets.ConnectionClosed, ConnectionError)):
            for _ in range(100):
                await socket.ping()
            await closed(socket)
            raise ConnectionError


async def test_many_small_parts_of_a_message_count_as_frames(serve: Any) -> None:
    application, address = await serve(application=Guarded(16 * KB, 20))
    async with websockets.connect(address, compression=None) as socket:
        assert await socket.recv() == "ready"
        await socket.send("first")
        assert await socket.recv() == "taken"
        with pytest.raises((websockets.ConnectionClosed, ConnectionError)):
            await socket.send("x" for _ in range(1000))
            await closed(socket)
            raise ConnectionError
        assert application.received == ["first"]

"""A server that does what the test says, frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

from websockets.asyncio.server import ServerConnection, serve

from session_mgmt.client.transports import hybrid
from tests.ports import take_port

Frame = dict[str, Any]
WAIT = 60.0


def connected(**changes: Any) -> Frame:
    """A `connected` frame of a new client that follows nothing."""
    return {
        "type": "connected",
        "session": {"session_id": "s-1", "state": "active"},
        "client_id": "c_one",
        "generation": 1,
        "last_seq": 0,
        "went_back": False,
        "verdict": "none",
        "reason": "new_client",
        "logs": {},
        "subscriptions": [],
        "heartbeat": {"interval": 25.0, "missed_limit": 3, "deadline": 35.0},
        "limits": {},
        "retry": {"initial": 0.01, "maximum": 0.02, "factor": 2.0, "attempts": 0},
        "endpoints": {"websocket": "/ws/session/"},
        "server_time": "2026-11-23T12:05:00.000000Z",
    } | changes


def entries(log: str, first: int, *bodies: Any, epoch: str = "e1", **more: Any) -> Frame:
    """Entries from offset `first` on; the tag of offset 7 is `t7`."""
    rows = [[first + number, f"t{first + number}", body] for number, body in enumerate(bodies)]
    return {"type": "entries", "log": log, "epoch": epoch, "entries": rows} | more


def snapshot(log: str, version: int, data: Any, epoch: str = "e1") -> Frame:
    position = [epoch, version, f"t{version}" if version else ""]
    return {"type": "snapshot", "log": log, "position": position, "data": data, "reason": "first"}


class Peer:
    """The server's side of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self.gone = asyncio.Event()

    async def receive(self, kind: str) -> Frame:
        """The next frame, which must be of this type."""
        frame: Frame = json.loads(await asyncio.wait_for(self._socket.recv(), WAIT))
        assert frame["type"] == kind, frame
        return frame

    async def send(self, *frames: Frame) -> None:
        for frame in frames:
            await self._socket.send(json.dumps(frame))

    async def welcome(self, **changes: Any) -> Frame:
        """Take `connect` and answer it; gives the `connect` frame."""
        opening = await self.receive("connect")
        await self.send(connected(**changes))
        return opening

    async def close(self, code: int = 1012) -> None:
        await self._socket.close(code)

    def cut(self) -> None:
        """End the TCP connection without a close frame, as a killed process does."""
        self._socket.transport.abort()


class FakeServer:
    """`url` is what a client is given; `accept` is the next connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._arrived: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(self) -> Peer:
        return await asyncio.wait_for(self._arrived.get(), WAIT)

    async def serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self._arrived.put_nowait(peer)
        await socket.wait_closed()


@contextlib.asynccontextmanager
async def fake_server() -> AsyncIterator[FakeServer]:
    port = take_port()
    server = FakeServer(f"http://127.0.0.1:{port}/api/")
    # On a busy machine a socket takes its time. A client that has not the patience tries HTTP, which nobody serves
    # here, and its first frame would be the question whether sockets work.
    patience = mock.patch.multiple(hybrid, OPEN_WITHIN=WAIT, READY_WITHIN=WAIT)
    listening = serve(server.serve, "127.0.0.1", port, subprotocols=["session-mgmt.v1"], ping_interval=None)
    with patience:
        async with listening:
            yield server

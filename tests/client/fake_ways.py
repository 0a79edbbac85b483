"""Sockets and HTTP that do what a test says, and a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from session_mgmt.client.effects import Leave
from session_mgmt.client.storage import Saved
from session_mgmt.client.transports import hybrid
from session_mgmt.client.transports.carrier import Address, Frame, Host, Traffic
from session_mgmt.client.transports.hybrid import HybridCarrier
from session_mgmt.client.transports.memory import Memory
from session_mgmt.client.transports.way import Way
from tests.client.fake_api import FakeClock

PATIENCE = 60.0
CONNECTED = {"type": "connected"}
REPLACED = {"type": "bye", "code": 4507}


class SteppedClock(FakeClock):
    """Waits end when the test lets their time pass; `slept` brings the seconds of each."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.call_later(seconds, woken.set)
        self.slept.put_nowait(seconds)
        await woken.wait()


class FakeCarrier:
    """One carrier. `arrive` gives it a frame or an end; `sent` brings the types of its frames."""

    name = "websocket"
    has_beats = True

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.opened: asyncio.Future[Leave | None] = asyncio.get_running_loop().create_future()
        self.sent: asyncio.Queue[str] = asyncio.Queue()
        self.is_open = True
        self.is_abandoned = self.is_paused = False
        self.pausing = asyncio.Event()
        self.is_resumed = asyncio.Event()
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self._arrived: asyncio.Queue[Frame | Leave] = asyncio.Queue()

    def arrive(self, arrived: Frame | Leave) -> None:
        self._arrived.put_nowait(arrived)

    async def open(self) -> Leave | None:
        return await self.opened

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        self.sent.put_nowait(frame["type"])

    async def receive_frame(self, patience: float | None) -> Frame | Leave:
        return await self._arrived.get()

    def interrupt(self, leave: Leave) -> None:
        self.arrive(leave)

    async def pause(self) -> None:
        self.is_paused = True
        self.pausing.set()
        await self.is_idle.wait()

    def resume(self) -> None:
        self.is_resumed.set()

    async def close(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        self.arrive(Leave(code, "closed", reconnect=False))

    async def abandon(self) -> None:
        self.is_abandoned = True


class FakeHttp(FakeCarrier):
    name = "longpoll"
    has_beats = False


class Ways:
    """Everything that the carriers of one client meet. `sockets` and `https` bring each one that is made."""

    def __init__(self) -> None:
        self.clock, self.saved = SteppedClock(), Saved()
        self.sockets: asyncio.Queue[FakeCarrier] = asyncio.Queue()
        self.https: asyncio.Queue[FakeHttp] = asyncio.Queue()
        self.memory = Memory(self.saved, "test", self.clock, lambda: None)  # type: ignore[arg-type]
        self.way = Way(("websocket", "longpoll"), self.memory, self.clock, lambda: 0.5)  # type: ignore[arg-type]

    def build(self) -> HybridCarrier:
        nobody: Any = None
        host = Host(nobody, nobody, self.clock, lambda: Address("ws://test", {}), nobody, nobody)  # type: ignore[arg-type]
        return HybridCarrier(host, self.way)

    def make_socket(self, _: Address) -> FakeCarrier:
        self.sockets.put_nowait(made := FakeCarrier())
        return made

    def make_http(self, *_: Any) -> FakeHttp:
        self.https.put_nowait(made := FakeHttp())
        return made

    async def begin(self, *, is_quick: bool) -> tuple[HybridCarrier, FakeCarrier]:
        """A connection whose socket opens at once, or not yet; then HTTP carries."""
        carrier = self.build()
        opening = asyncio.create_task(carrier.open())
        socket = await get(self.sockets)
        if is_quick:
            socket.opened.set_result(None)
        else:
            self.clock.pass_time(hybrid.OPEN_WITHIN)
        assert await opening is None
        carrier.send_frame({"type": "connect"})
        return carrier, socket


async def get(queue: asyncio.Queue[Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await queue.get()


@pytest.fixture
async def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    made = Ways()
    monkeypatch.setattr(hybrid, "SocketCarrier", made.make_socket)
    monkeypatch.setattr(hybrid, "HttpCarrier", made.make_http)
    return made

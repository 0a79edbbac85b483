"""Load generator in its own process: reads a plan and then rounds, one JSON line each, and answers each."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import uvloop

from tests.benchmarks import wire
from tests.benchmarks.crowd import Account, Crowd, quantile
from tests.benchmarks.gathering import Gathering
from tests.benchmarks.peers import Listener, Peer, Updater
from tests.benchmarks.pickers import Picker

AT_ONCE = 32
PATIENCE = 30.0
LIFE_SECONDS = 20.0


async def opened(plan: dict[str, Any], make: Callable[[str | None], Peer]) -> list[Any]:
    """Open all connections of a plan, so many at a time."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one(token: str | None, port: int) -> Peer:
        async with gate:
            _, peer = await loop.create_connection(lambda: make(token), "127.0.0.1", port)
            await asyncio.wait_for(peer.opened, PATIENCE)
            return peer

    tokens: Sequence[str | None] = plan["tokens"] or [None] * plan["connections"]
    return await asyncio.gather(*map(one, tokens, itertools.cycle(plan["ports"])))


class Patches:
    """Load of updates from many connections, each with ``window`` in flight."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan

    async def open(self) -> None:
        self._peers: list[Updater] = await opened(self._plan, lambda token: Updater(self._plan, token))

    async def run(self, window: int, warm: float, seconds: float) -> dict[str, Any]:
        for peer in self._peers:
            peer.start(window)
        await asyncio.sleep(warm)
        before = sum(peer.got for peer in self._peers)
        for peer in self._peers:
            peer.latencies.clear()
        account = Account(self._plan["servers"])
        await asyncio.sleep(seconds)
        result: dict[str, Any] = {"done": sum(peer.got for peer in self._peers) - before, **account.closed()}
        latencies = [latency for peer in self._peers for latency in peer.latencies]
        await self._settled()
        return result | {
            "p50_ms": quantile(latencies, 0.5) * 1000,
            "p99_ms": quantile(latencies, 0.99) * 1000,
            "refused": sum(peer.refused for peer in self._peers),
            "lost": sum(peer.lost is not None for peer in self._peers),
        }

    async def _settled(self) -> None:
        """Wait for all answers, so that the next round begins with nothing in flight."""
        for peer in self._peers:
            peer.running = False
        deadline = time.monotonic() + PATIENCE
        while any(peer.in_flight and peer.lost is None for peer in self._peers) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)


class Fanout:
    """Load of one publisher and many listeners; it publishes again once one of the window has reached everybody."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._got = self._goal = self._sent = self._seq = 0
        self._moved = asyncio.Event()
        self._all: list[Listener] = []

    async def open(self) -> None:
        plan = self._plan
        # A listener that never says anything is taken for dead, and opening all of them may take a while.
        self._living = asyncio.create_task(self._live())
        self._peers: list[Listener] = await opened(plan, self._listener)

    def _listener(self, token: str | None) -> Listener:
        listener = self._make(token)
        self._all.append(listener)
        return listener

    def _make(self, token: str | None) -> Listener:
        return Listener(self._plan, token, self._count)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(LIFE_SECONDS)
            for peer in self._all:
                if peer.token is not None and peer.opened.done() and peer.lost is None:
                    peer.say({"type": "ack", "seq": 0})

    def _count(self, found: int) -> None:
        self._got += found
        if self._got >= self._goal:
            self._moved.set()

    async def run(self, window: int, warm: float, seconds: float, frame: str) -> dict[str, Any]:
        await self._until(time.perf_counter() + warm, window, frame)
        before, times = self._got, list[float]()
        account = Account(self._plan["servers"])
        await self._until(time.perf_counter() + seconds, window, frame, times)
        return {
            "done": self._got - before,
            **account.closed(),
            "p50_ms": quantile(times, 0.5) * 1000,
            "p99_ms": quantile(times, 0.99) * 1000,
            "refused": 0,
            "lost": sum(peer.lost is not None for peer in self._peers),
        }

    async def _until(self, end: float, window: int, frame: str, times: list[float] | None = None) -> None:
        """Publish until the time is up, then wait for the rest."""
        first = self._got
        sent_at: list[float] = []
        while True:
            reached = (self._got - first) // self._reach
            now = time.perf_counter()
            if times is not None:
                times.extend(now - at for at in sent_at[len(times) : reached])
            if now > end and reached >= len(sent_at):
                return
            while now <= end and len(sent_at) - reached < window:
                sent_at.append(now)
                self._publish(frame)
            self._goal = first + (reached + 1) * self._reach
            self._moved.clear()
            if self._got < self._goal:
                await asyncio.wait_for(self._moved.wait(), PATIENCE)

    def _publish(self, frame: str) -> None:
        if "$seq" in frame:
            self._seq += 1
        self._peers[0].transport.write(wire.text(frame.replace("$seq", str(self._seq)).encode()))

    @property
    def _reach(self) -> int:
        """Number of deliveries of one publication."""
        return len(self._peers)


class Picking(Fanout):
    """Fan-out to readers who each want a part: all of it, and nothing else."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(plan)
        self._pickers: list[Picker] = []
        self._expected: list[int] = [0] * len(plan["tokens"])
        self._wanted_by = 0

    def _make(self, token: str | None) -> Listener:
        picker = Picker(self._plan, token, self._count, len(self._pickers))
        self._pickers.append(picker)
        return picker

    @property
    def _reach(self) -> int:
        return self._wanted_by

    async def run(self, window: int, warm: float, seconds: float, frame: str, reach: int = 1) -> dict[str, Any]:
        """Publish for everybody, or for one after the other, and judge each reader by what it should have."""
        self._wanted_by = reach
        result = await super().run(window, warm, seconds, frame)
        judged = zip(self._pickers, self._expected, strict=True)
        return result | {
            "unwanted": sum(picker.unwanted for picker in self._pickers),
            "lost": result["lost"] + sum(picker.got != expected for picker, expected in judged),
        }

    def _publish(self, frame: str) -> None:
        place = (self._seq + 1) % len(self._expected)
        for wanting in (place,) if "$place" in frame else range(len(self._expected)):
            self._expected[wanting] += 1
        super()._publish(frame.replace("$place", str(place)))


KINDS: dict[str, Any] = {
    "patches": Patches,
    "fanout": Fanout,
    "picking": Picking,
    "crowd": Crowd,
    "gathering": Gathering,
}


async def main() -> None:
    plan = orjson.loads(sys.stdin.readline())
    if plan["cores"]:
        os.sched_setaffinity(0, plan["cores"])
    work = KINDS[plan["kind"]](plan)
    await work.open()
    print("{}", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(orjson.dumps(await work.run(**orjson.loads(line))).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main())

"""Crowd of guests of one kind of server: it comes, is cut off, misses something, and comes back, step by step."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.guests import Guest
from tests.benchmarks.http_dialects import DIALECTS

PATIENCE = 180.0
# A server that has nothing more to give is not waited for.
SILENCE_SECONDS = 2.0
LIVE_SECONDS = 30.0
BEAT_SECONDS = 25.0
ACK_EVERY = 32


class Account:
    """Time, CPU of the servers, and CPU of this process since its creation."""

    def __init__(self, servers: list[int]) -> None:
        self._servers = servers
        self._at, self._cpu, self._own = time.perf_counter(), self._spent(), time.process_time()

    def _spent(self) -> float:
        return sum(map(machine.cpu_seconds, self._servers))

    def closed(self) -> dict[str, float]:
        return {
            "seconds": time.perf_counter() - self._at,
            "server_cpu": self._spent() - self._cpu,
            "load_cpu": time.process_time() - self._own,
        }


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Crowd:
    """All guests of a plan. Each step is a method, and is asked for by its name."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._dialect = DIALECTS[plan["dialect"]]
        self._ports, self._servers = plan["ports"], plan["servers"]
        self._guests: list[Guest] = []
        self._writers: list[Guest] = []
        self._numbers = 0
        self._latencies: list[float] = []
        self._pace: float | None = None
        self._due: dict[Guest, asyncio.TimerHandle] = {}

    async def open(self) -> None:
        credentials, rooms = self._plan["credentials"], self._plan["rooms"]
        for place, credential in enumerate(credentials):
            self._guests.append(self._guest(place, credential, rooms[place % len(rooms)]))

    async def run(self, step: str, **how: Any) -> dict[str, Any]:
        done: dict[str, Any] = await getattr(self, step)(**how)
        return done

    def _guest(self, place: int, credential: str, room: str) -> Guest:
        return Guest(self._dialect, self._ports[place % len(self._ports)], credential, room)

    # Coming and going.

    async def meet(self, servers: list[int]) -> dict[str, Any]:
        """Know the servers by new process ids."""
        self._servers = servers
        return {}

    async def arrive(self, at_once: int, whole: bool = False) -> dict[str, Any]:
        """Let everybody come, so many in the air; with ``whole`` each is one of them until it has what it missed."""
        result = await self._come(self._guests, at_once, whole)
        return result | {"done": len(self._guests)}

    async def forget(self) -> dict[str, Any]:
        """Let everybody be new the next time."""
        for guest in self._guests:
            guest.forget()
        return {}

    async def leave(self, seconds: float = 0.0) -> dict[str, Any]:
        """Cut all connections, and give the server so long to notice."""
        account = Account(self._servers)
        for guest in self._guests:
            guest.coming_back = False
            guest.leave()
        await asyncio.sleep(seconds)
        return {"done": len(self._guests), **account.closed()}

    async def _come(self, guests: list[Guest], at_once: int, whole: bool = False) -> dict[str, Any]:
        loop, times, waiting = asyncio.get_running_loop(), list[float](), list(reversed(guests))
        over = loop.create_future()
        before = sum(guest.refused for guest in guests)
        account = Account(self._servers)

        def begin(guest: Guest) -> None:
            guest.began = time.perf_counter()
            if whole:
                guest.on_whole = ready
            else:
                guest.on_ready = ready
            guest.come()

        def ready(guest: Guest) -> None:
            guest.on_ready = guest.on_whole = _nothing
            guest.coming_back = False
            times.append(time.perf_counter() - guest.began)
            if waiting:
                begin(waiting.pop())
            elif len(times) == len(guests):
                over.set_result(None)

        for _ in range(min(at_once, len(waiting))):
            begin(waiting.pop())
        await asyncio.wait_for(over, PATIENCE)
        return {
            **account.closed(),
            **_spread(times),
            "refused": sum(guest.refused for guest in guests) - before,
            "lost": 0,
        }

    # What is missed.

    async def say(self, count: int, everywhere: bool = False) -> dict[str, Any]:
        """Tell so many numbers to a room, or to each guest's own, while a guest of its own listens."""
        rooms = [guest.room for guest in self._guests] if everywhere else [self._guests[0].room]
        speaker = self._guest(0, self._plan["speaker"], rooms[-1])
        await self._come([speaker], 1)
        numbers = self._next(count)
        await self._until_told(speaker, numbers, lambda: self._tell_rooms(speaker, rooms, numbers))
        speaker.leave()
        return {}

    def _tell_rooms(self, speaker: Guest, rooms: list[str], numbers: Iterable[int]) -> None:
        for number in numbers:
            for room in rooms:
                speaker.write(self._dialect.say(speaker, room, number))

    async def _until_told(self, guest: Guest, numbers: Iterable[int], begin: Callable[[], Any]) -> None:
        over = asyncio.get_running_loop().create_future()
        guest.missing, guest.whole = set(numbers), False
        guest.on_whole = lambda _: over.set_result(None)
        begin()
        await asyncio.wait_for(over, PATIENCE)

    async def change(self, count: int) -> dict[str, Any]:
        """Let a second client of each session change its document so often, and wait for the receipts."""
        if not self._writers:
            for place, guest in enumerate(self._guests):
                self._writers.append(self._guest(place, guest.credential, ""))
        absent = [writer for writer in self._writers if not writer.ready]
        for writer in absent:
            # A server that was killed has forgotten nothing; but a client of its own is simpler than a recovery.
            writer.forget()
        if absent:
            await self._come(absent, self._plan["at_once"])
        over = asyncio.get_running_loop().create_future()
        numbers = self._next(count)
        left = count * len(self._writers)

        def answered(_: Guest) -> None:
            nonlocal left
            left -= 1
            if not left:
                over.set_result(None)

        for writer in self._writers:
            writer.on_answer = answered
            for number in numbers:
                writer.write(self._dialect.change(writer, number))  # type: ignore[attr-defined]
        await asyncio.wait_for(over, PATIENCE)
        return {}

    def _next(self, count: int) -> range:
        """Give numbers that were never told, for which everybody now waits."""
        numbers = range(self._numbers + 1, self._numbers + count + 1)
        self._numbers += count
        for guest in self._guests:
            guest.missing |= set(numbers)
            guest.whole = False
        return numbers

    # The storm.

    async def come_back(self, silence: float = SILENCE_SECONDS) -> dict[str, Any]:
        """Let everybody come at once, and wait until all are whole, or nothing has come for so long."""
        loop, times = asyncio.get_running_loop(), list[float]()
        over, heard = loop.create_future(), time.perf_counter()
        before = sum(guest.refused for guest in self._guests), sum(guest.doubled for guest in self._guests)
        account = Account(self._servers)
        began = time.perf_counter()

        def whole(guest: Guest) -> None:
            nonlocal heard
            heard = time.perf_counter()
            times.append(heard - began)
            if len(times) == len(self._guests):
                over.set_result(None)

        def ready(guest: Guest) -> None:
            nonlocal heard
            heard, last_ready[0] = time.perf_counter(), time.perf_counter()

        last_ready = [began]
        for guest in self._guests:
            guest.on_whole, guest.on_ready = whole, ready
            guest.come()
        # Nobody calls when nothing comes.
        while not over.done():
            await asyncio.wait([over], timeout=0.25)
            if all(guest.ready for guest in self._guests) and time.perf_counter() - heard > silence:
                break
            if time.perf_counter() - began > PATIENCE:
                break
        result = account.closed()
        ended = max(times[-1] if len(times) == len(self._guests) else 0.0, last_ready[0] - began)
        lost = [len(guest.missing) for guest in self._guests]
        for guest in self._guests:
            guest.missing.clear()
            guest.on_ready = guest.on_whole = _nothing
        return {
            **result,
            **_spread(times),
            "seconds": ended,
            "done": len(self._guests),
            "away": sum(not guest.ready for guest in self._guests),
            "missing": sum(lost) / len(lost),
            "doubled": sum(guest.doubled for guest in self._guests) - before[1],
            "refused": sum(guest.refused for guest in self._guests) - before[0],
            "lost": 0,
        }

    async def live(self, how: str) -> dict[str, Any]:
        """Tell one number more, and count who does not hear of it."""
        await (self.change(1) if how == "change" else self.say(1, how == "everywhere"))
        deadline = time.monotonic() + LIVE_SECONDS
        while any(guest.missing for guest in self._guests) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        deaf = sum(bool(guest.missing) for guest in self._guests)
        for guest in self._guests:
            guest.missing.clear()
        return {"deaf": deaf}

    # Beside it.

    async def ask(self, warm: float, seconds: float, window: int = 1, topics: int = 0) -> dict[str, Any]:
        """Ask and be answered, without a pause: questions that write nothing, or publications to so many topics."""
        self._latencies, number, stopped = [], 0, False
        question, in_flight = self._dialect.ask(7), list[deque[float]]()

        def frame(guest: Guest, place: int) -> bytes:
            return self._dialect.say(guest, f"topic:room:{place % topics}", number) if topics else question

        def begin(guest: Guest, place: int) -> None:
            def answered(_: Guest) -> None:
                nonlocal number
                number += 1
                now = time.perf_counter()
                self._latencies.append(now - sent.popleft())
                if not stopped:
                    sent.append(now)
                    guest.write(frame(guest, place))
                if topics and not number % ACK_EVERY:
                    guest.write(b'{"type":"ack","seq":%d}' % max(0, guest.seq - window))

            guest.on_answer = answered
            sent = deque([time.perf_counter()] * window)
            in_flight.append(sent)
            for _ in range(window):
                guest.write(frame(guest, place))

        for place, guest in enumerate(self._guests):
            begin(guest, place)
        await asyncio.sleep(warm)
        number, self._latencies = 0, []
        account = Account(self._servers)
        await asyncio.sleep(seconds)
        result = {"done": number, **account.closed(), **_spread(self._latencies)}
        stopped = True
        deadline = time.perf_counter() + PATIENCE
        while any(in_flight) and all(guest.ready for guest in self._guests) and time.perf_counter() < deadline:
            await asyncio.sleep(0.02)
        return result | {"refused": 0, "lost": sum(not guest.ready for guest in self._guests)}

    async def work(self, pause: float) -> dict[str, Any]:
        """Begin to change the own document again and again, each change so long after the last answer."""
        loop = asyncio.get_running_loop()
        self._latencies, self._pace = [], pause

        def change(guest: Guest) -> None:
            if self._pace is not None:
                self._numbers += 1
                guest.asked = time.perf_counter()
                guest.write(self._dialect.change(guest, self._numbers))  # type: ignore[attr-defined]

        def answered(guest: Guest) -> None:
            self._latencies.append(time.perf_counter() - guest.asked)
            guest.asked = 0.0
            self._due[guest] = loop.call_later(pause, change, guest)

        for place, guest in enumerate(self._guests):
            guest.on_answer = answered
            self._due[guest] = loop.call_later(pause * place / len(self._guests), change, guest)
        return {}

    async def rest(self) -> dict[str, Any]:
        """Stop working, once every change has its answer: one that takes long counts with all its time."""
        self._pace = None
        deadline = time.perf_counter() + PATIENCE
        while any(guest.asked for guest in self._guests) and time.perf_counter() < deadline:
            await asyncio.sleep(0.005)
        for timer in self._due.values():
            timer.cancel()
        return {**_spread(self._latencies), "done": len(self._latencies)}

    async def beat(self, seconds: float, asking: bool) -> dict[str, Any]:
        """Stay connected. Where the server sends no beats of its own, everybody asks once in 25 seconds."""
        loop = asyncio.get_running_loop()
        timers = []
        account = Account(self._servers)
        for place, guest in enumerate(self._guests if asking else ()):
            at = BEAT_SECONDS * place / len(self._guests)
            if at < seconds:
                timers.append(loop.call_later(at, guest.write, self._dialect.ask(place + 1)))
        await asyncio.sleep(seconds)
        return {"done": len(self._guests), **account.closed(), "away": sum(not g.ready for g in self._guests)}


def _spread(times: list[float]) -> dict[str, float]:
    return {
        "p50_ms": quantile(times, 0.5) * 1000,
        "p99_ms": quantile(times, 0.99) * 1000,
        "most_ms": max(times, default=0.0) * 1000,
    }


def _nothing(guest: Guest) -> None:
    return

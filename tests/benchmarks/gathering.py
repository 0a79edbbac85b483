"""Crowd that enters a topic and leaves it, and is told how many are there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import orjson

from tests.benchmarks.crowd import PATIENCE, Account, Crowd, quantile
from tests.benchmarks.dialects import Ours
from tests.benchmarks.guests import Guest

HALL = "topic:hall:1"
WHO_IS_THERE = "topic:presence:hall:1"
_ENTER = b'{"type":"enter","id":1,"log":"%s","data":{"name":"Ann"}}' % HALL.encode()
_LEAVE = b'{"type":"leave","id":1,"log":"%s"}' % HALL.encode()


class Member(Guest):
    """Guest with what it was told of who is there. ``named`` is the largest number at which members were named."""

    entries = size = count = named = 0

    def hear_of(self, bodies: Sequence[dict[str, Any]], size: int) -> None:
        self.entries += len(bodies)
        self.size += size
        self.count = bodies[-1]["count"]
        self.named = max(self.named, *(body["count"] for body in bodies if len(body) > 1), 0)


class Members(Ours):
    """Ours, with the answers to those who enter and leave."""

    def hear(self, guest: Any, frame: bytes) -> None:
        if frame[9:14] == b"reply":
            guest.answer()
        elif frame.startswith(b'{"type":"entries","log":"%s"' % WHO_IS_THERE.encode()):
            told = orjson.loads(frame)
            self._take(guest, told)
            guest.hear_of([body for _, _, body in told["entries"]], len(frame))
        else:
            super().hear(guest, frame)


class Gathering(Crowd):
    """All guests of a plan, of which the last ``spares`` enter only in place of others."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(plan)
        self._dialect = Members()
        self._members: list[Member] = []

    def _guest(self, place: int, credential: str, room: str) -> Guest:
        member = Member(self._dialect, self._ports[place % len(self._ports)], credential, room)
        self._members.append(member)
        return member

    async def enter(self) -> dict[str, Any]:
        """Let everybody but the spares enter at once, until all know how many they are."""
        first = self._members[: -self._plan["spares"]]
        return await self._move([[(one, _ENTER) for one in first]], 0.0, len(first))

    async def swap(self, seconds: float) -> dict[str, Any]:
        """Let as many as there are spares leave within so long, while the spares enter.

        One more leaves after all of them: by the number that is told then, everybody knows that it was told of all.
        """
        spares = self._plan["spares"]
        pairs = zip(self._members[:spares], self._members[-spares:], strict=True)
        moves = [move for out, into in pairs for move in ((out, _LEAVE), (into, _ENTER))]
        there = len(self._members) - spares
        return await self._move([moves, [(self._members[spares], _LEAVE)]], seconds, there - 1)

    async def _move(self, parts: list[list[tuple[Member, bytes]]], seconds: float, count: int) -> dict[str, Any]:
        """Write the moves, each part within so long and once the one before is answered."""
        watcher = self._members[0]
        entries, size, times = watcher.entries, watcher.size, list[float]()
        refused = sum(guest.refused for guest in self._members)
        account = Account(self._servers)
        for moves in parts:
            # The number may have been the last one's before.
            for one in self._members:
                one.count = -1
            times += await self._write(moves, seconds)
        deadline = time.perf_counter() + PATIENCE
        while any(one.count != count for one in self._members) and time.perf_counter() < deadline:
            await asyncio.sleep(0.02)
        return {
            "done": len(times),
            **account.closed(),
            "p50_ms": quantile(times, 0.5) * 1000,
            "p99_ms": quantile(times, 0.99) * 1000,
            "entries": watcher.entries - entries,
            "bytes": watcher.size - size,
            "named": max(one.named for one in self._members),
            "refused": sum(guest.refused for guest in self._members) - refused,
            "lost": sum(one.count != count for one in self._members),
        }

    async def _write(self, moves: list[tuple[Member, bytes]], seconds: float) -> list[float]:
        """Write the moves within so long, and return how long each took until it was answered."""
        loop, times = asyncio.get_running_loop(), list[float]()
        over = loop.create_future()

        def answered(guest: Guest) -> None:
            times.append(time.perf_counter() - guest.asked)
            if len(times) == len(moves):
                over.set_result(None)

        def write(member: Member, frame: bytes) -> None:
            member.asked = time.perf_counter()
            member.write(frame)

        for number, (member, frame) in enumerate(moves):
            member.on_answer = answered
            loop.call_later(seconds * number / len(moves), write, member, frame)
        await asyncio.wait_for(over, PATIENCE)
        return times

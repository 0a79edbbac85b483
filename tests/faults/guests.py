"""Clients that are there: each enters a topic and leaves it, hears of others, and reads one topic's part and past."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.faults.peer import Group, Peer
from tests.faults.sight import Frame

VISITS = "topic:visits:1"
SEEN = "topic:presence:visits:1"
PAGE = 20
# Of what a guest does, so much is to turn round, and so much more to look who is there.
FLIPS, LOOKS = 0.4, 0.6
# Asks something of a topic, and gives the answer.
Ask = Callable[..., Awaitable[Frame]]


@dataclass(frozen=True, slots=True)
class Visit(Group):
    """Session of one guest, and the topic of another group that it reads a part of."""

    @property
    def logs(self) -> list[str]:
        return ["session", f"topic:{self.topic}", SEEN]


@dataclass(eq=False)
class Guest(Peer):
    """Client that writes nothing. ``wish`` is whether it wants to be there, ``agreed`` whether the server knows so."""

    wanted: str = "a"
    wish: bool = True
    agreed: bool = False
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _answer: tuple[int, asyncio.Future[Frame]] | None = None

    @property
    def log(self) -> str:
        return f"topic:{self.group.topic}"

    @property
    def filters(self) -> dict[str, Any]:
        return {self.log: {"k": self.wanted}}

    def describe_home(self) -> dict[str, Any]:
        return {**super().describe_home(), "filter": self.filters}

    def build_connect(self) -> Frame:
        return {**super().build_connect(), "filter": self.filters}

    def take(self, frame: Frame, asked: dict[str, Any]) -> None:
        super().take(frame, asked)
        if frame["type"] in {"reply", "error"} and self._answer and self._answer[0] == frame.get("id"):
            self._answer[1].set_result(frame)
            self._answer = None

    async def _pump(self, socket: ClientConnection, generation: int) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.visit(partial(self._ask, socket))

    async def visit(self, ask: Ask) -> None:
        """Enter and leave, and read who is there and what was published, as long as the connection lasts."""
        # Who was away for longer than the grace must say it again, and nobody else is harmed by it.
        self.agreed = False
        while self.ready and not self.stopping:
            if not self.agreed:
                await self._say_wish(ask)
            elif not self.writing:
                self._room.clear()
                await self._room.wait()
            elif (drawn := self.chance.random()) < FLIPS:
                self._flip()
            elif drawn < LOOKS:
                await self._look_round(ask)
            else:
                await self._read_past(ask)
            await asyncio.sleep(self.chance.uniform(0.02, 0.1))

    def _flip(self) -> None:
        self.wish, self.agreed = not self.wish, False
        self.history.add(self.name, "turn", wish=self.wish)

    async def _say_wish(self, ask: Ask) -> None:
        wish = self.wish
        reply = await ask("enter" if wish else "leave", VISITS)
        if reply["type"] == "reply":
            self.agreed = True
            self.history.add(self.name, "turned", wish=wish, member=reply.get("member"))

    async def _look_round(self, ask: Ask) -> None:
        known = self.sight.offsets[SEEN]
        reply = await ask("members", VISITS)
        if reply["type"] == "reply":
            self.history.add(self.name, "members", frame=reply, known=known)

    async def _read_past(self, ask: Ask) -> None:
        """Read a page of the topic, from its end or before a place that was seen."""
        place = self.positions[self.log]
        before = place if place and self.chance.random() < 0.5 else None
        record = self.history.add(self.name, "asks", log=self.log, before=before)
        reply = await ask("history", self.log, before=before, limit=PAGE)
        if reply["type"] == "reply":
            self.history.add(self.name, "past", log=self.log, before=before, asked=record["i"], frame=reply)

    def number_question(self, kind: str, log: str, **more: Any) -> Frame:
        """Build the frame of a question, with a number of its own."""
        return {"type": kind, "id": next(self._numbers), "log": log, **more}

    async def _ask(self, socket: ClientConnection, kind: str, log: str, **more: Any) -> Frame:
        question = self.number_question(kind, log, **more)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answer = question["id"], answer
        await self._put(question, socket)
        return await answer

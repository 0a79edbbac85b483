"""Crowd whose clients use long polls, streams and sockets, and change between them while they write."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from functools import partial
from typing import Any, cast

from tests.faults.guests import Guest, Visit
from tests.faults.http_wire import GONE
from tests.faults.lists import Lister, Shelf
from tests.faults.peer import Group, Peer
from tests.faults.roaming import LONG_POLL, STREAM, WEBSOCKET, Refused, Roamer, RoamingGuest, RoamingLister
from tests.faults.workload import IDLE_SECONDS, Crowd, until

# By name the transports between which the clients of a run choose.
TRANSPORTS = {
    "websocket": (WEBSOCKET,),
    "sse": (STREAM,),
    "longpoll": (LONG_POLL,),
    "http": (LONG_POLL, STREAM),
    "any": (WEBSOCKET, LONG_POLL, STREAM),
}
# So many times longer do guests and readers of lists keep their transport than clients that write.
LONGER = 4


class Roamers(Crowd):
    """``switching``: seconds after which each client leaves its transport for another one, 0 for never."""

    def __init__(self, *given: Any, transports: tuple[str, ...], switching: float = 0.0, **more: Any) -> None:
        super().__init__(*given, **more)
        self._transports, self._switching = transports, switching

    def _peer(self, name: str, group: Group, urls: list[str], *, writes: bool = True) -> Peer:
        chance = random.Random(self._random.random())
        next_write = self._writes if writes else None
        return Roamer(name, group, urls, self._history, chance, next_write, transports=self._transports)

    def _make_guest(self, visit: Visit, urls: list[str], chance: random.Random, wanted: str) -> Guest:
        given = (visit.name, visit, urls, self._history, chance, None)
        return RoamingGuest(*given, wanted=wanted, transports=self._transports)

    def _make_lister(self, shelf: Shelf, urls: list[str], chance: random.Random) -> Lister:
        return RoamingLister(shelf.name, shelf, urls, self._history, chance, None, transports=self._transports)

    def _list_habits(self) -> list[Coroutine[Any, Any, None]]:
        habits = super()._list_habits()
        if self._switching:
            habits += [self._switch(cast(Roamer, one), self._switching) for one in self.peers]
            # What they ask takes several calls, one after the other.
            habits += [
                self._switch(cast(Roamer, one), LONGER * self._switching) for one in (*self.guests, *self.listers)
            ]
        return habits

    async def _switch(self, peer: Roamer, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if not peer.paused:
                await peer.move_on()

    async def _take_over(self, peer: Peer) -> None:
        roamer = cast(Roamer, peer)
        if roamer.transport == WEBSOCKET:
            await super()._take_over(peer)
            return
        roamer.paused = True
        if not await until(lambda: roamer.ready and not roamer.outbox, IDLE_SECONDS) or roamer.socket is not None:
            return
        generation = roamer.generation
        await roamer.move_on()
        if await until(lambda: roamer.ready and roamer.generation > generation, IDLE_SECONDS):
            await self._send_ghost(partial(self._haunt, roamer, generation))

    async def _haunt(self, peer: Roamer, generation: int, answered: asyncio.Event) -> None:
        """Write by a call of the attachment that was replaced, and record what becomes of it."""
        name, record, frame = self._make_ghost(peer, generation)
        claim = {"client_id": record["client"], "generation": generation, "acked": 0}
        why = ""
        try:
            for found in (await peer.call("frames/", {**claim, "logs": {}, "frames": [frame]}))["frames"]:
                self._heard(name, record, found)
        except (*GONE, Refused) as error:
            why = str(error)
        finally:
            answered.set()
            self._history.add(name, "info", ops=[record["op"]], gen=generation, code=None, name=why)

"""Servers that stand still as a whole and go on later, as a machine that is frozen for a while does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.nemesis import BUSY_SECONDS, Nemesis
from tests.faults.servers import AppServer
from tests.faults.workload import until

# A server that stands still in the middle of a transaction keeps its locks, and nobody is served until it goes on.
STILL_SECONDS = 3.0


class Pauser:
    """Stops one of two servers until its clients write through the other one.

    What it does when it goes on, in the middle of whatever it was stopped in, comes from connections that are none any
    more: nothing of it may count twice, or undo what came later.
    """

    def __init__(self, nemesis: Nemesis, least: float = 0.0) -> None:
        """`least`: seconds that a server stands still, also where all have moved before."""
        self._nemesis, self._least = nemesis, least

    async def torment(self, pauses: int, calm: float, pause: float) -> None:
        """Each round: a random moment of 0.2 s to `pause`, then a server stops and goes on; a round in which nobody
        could move does not count.
        """
        try:
            await self._torment(pauses, calm, pause)
        finally:
            self._nemesis.crowd.let_rest(None)

    async def _torment(self, left: int, calm: float, pause: float) -> None:
        nemesis = self._nemesis
        await asyncio.sleep(calm)
        while left:
            await asyncio.sleep(nemesis.chance.uniform(0.2, pause))
            nemesis.crowd.let_rest(None)
            if not await until(nemesis.is_due, BUSY_SECONDS):
                nemesis.history.add("nemesis", "calm", why="too little is unanswered")
                return
            left -= bool(await self._pause(nemesis.chance.choice(nemesis.servers)))
            nemesis.crowd.let_rest(nemesis.rest_after)
            if not await nemesis.all_served():
                nemesis.history.add("nemesis", "calm", why="not every client came back")
                return

    async def _pause(self, server: AppServer) -> int:
        """Stop a server, let its clients move, and let it go on; return how many wrote through the other one."""
        history, crowd = self._nemesis.history, self._nemesis.crowd
        moving = [peer for peer in crowd.peers if peer.ready and peer.is_served_by(server.port)]
        server.pause()
        history.add(
            "nemesis", "pause", server=server.name, ops=[op.op for peer in moving for op in peer.outbox.values()]
        )
        with self._avoiding(server):
            for peer in moving:
                peer.hang_up(server.port)
            before = {peer.name: peer.oks for peer in moving}
            await until(lambda: all(peer.oks > before[peer.name] for peer in moving), STILL_SECONDS)
            await asyncio.sleep(self._least)
            moved = sum(peer.oks > before[peer.name] for peer in moving)
            server.resume()
        history.add("nemesis", "resume", server=server.name, moved=moved)
        return moved

    @contextmanager
    def _avoiding(self, server: AppServer) -> Iterator[None]:
        """Let no client choose a server that stands still: it would wait for an answer."""
        everybody = self._nemesis.crowd.everybody
        urls = {peer: peer.urls for peer in everybody}
        for peer in everybody:
            peer.urls = [url for url in peer.urls if f":{server.port}/" not in url]
        try:
            yield
        finally:
            for peer in everybody:
                peer.urls = urls[peer]

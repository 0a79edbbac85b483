"""Faults and their schedule. The random seed decides when they come, not what they interrupt."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from tests.faults.backup import Backup
from tests.faults.final import Database
from tests.faults.history import History
from tests.faults.outages import Outages
from tests.faults.proxy import FaultProxy, choose_fault
from tests.faults.servers import AppServer
from tests.faults.workload import Crowd, until

BUSY_SECONDS = 120.0
AHEAD, PASSED = 10, 5
AWAY_OF_EACH_GROUP = 2
LONGEST_FAULT = 0.8


@dataclass(slots=True)
class Nemesis:
    """Kills servers while at least `at_least` requests are unanswered, and starts them again at once."""

    history: History
    crowd: Crowd
    servers: list[AppServer]
    outages: Outages
    chance: random.Random
    at_least: int
    patience: float
    rest_after: int | None = None
    kills: int = field(default=0)

    async def torment(self, kills: int, calm: float, pause: float) -> None:
        """First `calm` seconds without a fault: a healthy server must keep its word too.

        Each round: a random moment of 0.2 s to `pause`, then outages if there are any, and a kill; after each of these
        wait until writes are acknowledged again.
        Clients write as fast as they can while the fault comes, and rest after it when `rest_after` more of their
        writes are acknowledged: what they add until the next one costs time, and shows nothing new.
        """
        try:
            await self._torment(kills, calm, pause)
        finally:
            self.crowd.let_rest(None)

    async def _torment(self, kills: int, calm: float, pause: float) -> None:
        await asyncio.sleep(calm)
        while self.kills < kills:
            await asyncio.sleep(self.chance.uniform(0.2, pause))
            for _ in range(self.outages.count_due(kills - self.kills)):
                if not await self._wait_until_due() or not await self._suffer_outage():
                    return
            if not await self._wait_until_due():
                return
            if not await self._kill(self.chance.choice(self.servers)):
                self.history.add("nemesis", "calm", why="not every client came back")
                return

    async def _wait_until_due(self) -> bool:
        """Let the clients write, and tell whether a fault would interrupt enough."""
        self.crowd.let_rest(None)
        if await until(self.is_due, BUSY_SECONDS):
            return True
        self.history.add("nemesis", "calm", why="too little is unanswered", unanswered=self.crowd.unanswered)
        return False

    async def _suffer_outage(self) -> bool:
        """Cause an outage, and tell whether every client was served after it."""
        # What they write while it lasts shows more, but not more and more.
        self.crowd.let_rest(self.rest_after)
        await self.outages.cause(self.crowd.unanswered)
        self.crowd.let_rest(self.rest_after)
        if await self.all_served():
            return True
        self.history.add("nemesis", "calm", why="not every client was served after an outage")
        return False

    def is_due(self) -> bool:
        """Tell whether a kill would interrupt enough."""
        return self.crowd.unanswered >= self.at_least

    async def _kill(self, server: AppServer) -> bool:
        """Kill, start again, and tell whether every client was then served."""
        self._end(server)
        await self.begin(server)
        self.crowd.let_rest(self.rest_after)
        return await self.all_served()

    def _end(self, server: AppServer) -> None:
        self._note_end(server)
        server.kill()

    def collect(self, server: AppServer) -> None:
        """Collect a server that has ended itself."""
        self._note_end(server)
        server.wait()

    def _note_end(self, server: AppServer) -> None:
        assert server.process is not None
        pid, unanswered = server.process.pid, self.crowd.unanswered
        ops = [write.op for peer in self.crowd.peers if peer.ready for write in peer.outbox.values()]
        self.history.add("nemesis", "kill", server=server.name, pid=pid, unanswered=unanswered, ops=ops)
        self.kills += 1

    async def begin(self, server: AppServer) -> None:
        """Start a server, and note when it answers."""
        await asyncio.to_thread(server.start)
        self.history.add("nemesis", "ready", server=server.name)

    async def all_served(self) -> bool:
        """Wait until every client has one more answer, and tell whether that came."""
        before = {peer.name: peer.oks for peer in self.crowd.peers}
        return await until(lambda: all(peer.oks > before[peer.name] for peer in self.crowd.peers), self.patience)

    async def restore(self, backup: Backup, database: Database) -> None:
        """Take a copy, let every client get ahead of it, and put it back under them.

        Some clients of each session come back only when the new history has passed what they had seen of the lost
        one: then the number alone no longer tells that their bases are none.
        """
        server, crowd = self.servers[0], self.crowd
        await until(lambda: all(all(peer.positions.values()) for peer in crowd.peers), BUSY_SECONDS)
        await self._back_up(server, backup)
        copied = {peer.name: peer.sight.offsets for peer in crowd.peers}
        await until(
            lambda: all(_is_past(peer.sight.offsets, copied[peer.name], AHEAD) for peer in crowd.peers), BUSY_SECONDS
        )
        away = crowd.hold_back(AWAY_OF_EACH_GROUP)
        await until(self.is_due, BUSY_SECONDS)
        self._end(server)
        # What the old server said is heard before the new history begins.
        await until(lambda: not any(peer.is_heard for peer in crowd.peers), BUSY_SECONDS)
        await asyncio.to_thread(backup.put_back)
        self.history.add("nemesis", "restore", heads=database.last_offsets())
        await self.begin(server)
        seen = [(peer, other.sight.offsets) for other in away for peer in crowd.peers_beside(other, away)]
        await until(lambda: all(_is_past(peer.sight.offsets, offsets, PASSED) for peer, offsets in seen), BUSY_SECONDS)
        for peer in away:
            peer.come_back()
        if not await self.all_served():
            self.history.add("nemesis", "calm", why="not every client came back after the backup did")

    async def _back_up(self, server: AppServer, backup: Backup) -> None:
        if backup.online:
            self.history.add("nemesis", "backup")
            await asyncio.to_thread(backup.take)
            return
        # Clients that have just come may have written nothing yet.
        await until(self.is_due, BUSY_SECONDS)
        self._end(server)
        await until(lambda: not any(peer.is_heard for peer in self.crowd.peers), BUSY_SECONDS)
        self.history.add("nemesis", "backup")
        await asyncio.to_thread(backup.take)
        await self.begin(server)


class Cutter:
    """Breaks the connections to all servers, and waits each time until every client is served again."""

    def __init__(self, nemesis: Nemesis, proxies: list[FaultProxy]) -> None:
        self._nemesis, self._proxies = nemesis, proxies

    async def torment(self, cuts: int, calm: float, pause: float) -> None:
        """Each round: a random moment of 0.2 s to `pause`, then one fault; both from the random seed."""
        nemesis = self._nemesis
        await asyncio.sleep(calm)
        for _ in range(cuts):
            await asyncio.sleep(nemesis.chance.uniform(0.2, pause))
            fault = choose_fault(nemesis.chance, LONGEST_FAULT)
            met = sum([await proxy.suffer(fault) for proxy in self._proxies])
            nemesis.history.add(
                "nemesis", "cut", fault=fault.kind, directions=fault.directions, seconds=fault.seconds, met=met
            )
            if not await nemesis.all_served():
                nemesis.history.add("nemesis", "calm", why="not every client came back")
                return


def _is_past(now: dict[str, int], then: dict[str, int], by: int) -> bool:
    return all(now[log] >= offset + by for log, offset in then.items() if log.startswith("state:"))

"""Storm: everybody is cut off, misses something, and comes back at once, and the server is killed in the middle."""

from __future__ import annotations

import asyncio
import itertools
import random
import resource
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.faults.check import Demands, Verdict, check
from tests.faults.evidence import Record
from tests.faults.final import Database
from tests.faults.history import History
from tests.faults.peer import Group, Peer
from tests.faults.returner import Returner
from tests.faults.servers import AppServer, environment, migrate
from tests.faults.sight import Write
from tests.faults.workload import CREATE_SECONDS, own_value, publish, until

OF_A_SESSION = 20
AT_ONCE = 50
MISSED = 20
WRITES_EACH = 2
RESIDENTS, PAUSE = 3, 0.03
HOT, QUIET = "faults:storm", "faults:quiet"
# R1, as docs/topics/delivery.md has it: seconds for each started thousand of clients that come back to a process.
PROMISED_SECONDS, OF_CLIENTS = 30.0, 1000


@dataclass(frozen=True, slots=True)
class Options:
    """`clients` come back; one in `strangers` beside them must be refused. The kill comes once `share` are back."""

    clients: int
    seed: int = 1
    share: float = 0.4
    strangers: int = 15
    broken: str | None = None

    @property
    def bound(self) -> float:
        return PROMISED_SECONDS * -(-self.clients // OF_CLIENTS)

    @property
    def arrival(self) -> float:
        """Seconds for what comes before the storm, of which nothing was promised."""
        return 4 * self.bound

    @property
    def patience(self) -> float:
        """Seconds for what must come: more than was promised, so that what comes too late is told from what never does.

        Of a broken build only the first wrong word is waited for.
        """
        return 3 * self.bound


@dataclass(slots=True)
class Outcome:
    verdict: Verdict
    records: list[Record]
    notes: list[str] = field(default_factory=list)


class Labels:
    """Writes with labels that no other write has. A client with a budget stops when it is used up."""

    def __init__(self, make: Callable[[Peer, str], dict[str, Any]]) -> None:
        self._make, self._numbers = make, itertools.count(1)

    def __call__(self, peer: Peer) -> Write:
        if isinstance(peer, Returner):
            peer.budget -= 1
            peer.writing = peer.budget > 0
        op = f"{peer.name}-{next(self._numbers)}"
        return Write(op, self._make(peer, op))


class Storm:
    """All clients: those who come back, strangers who must be refused, a speaker, and residents who stay."""

    def __init__(self, history: History, server: AppServer, options: Options) -> None:
        self._history, self._server, self._options = history, server, options
        self._chance = random.Random(options.seed)
        self._url = ""
        self._groups: list[Group] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.returners: list[Returner] = []
        self.strangers: list[Returner] = []

    async def create(self) -> None:
        """Create a session for each group of clients, and one that was ended."""
        count = -(-self._options.clients // OF_A_SESSION)
        async with httpx.AsyncClient(timeout=CREATE_SECONDS, trust_env=False) as http:
            made = [await self._created(http) for _ in range(count + 2)]
            ended, quiet, *hot = made
            path = f"{self._server.url}sessions/{ended['session']['session_id']}/"
            answer = await http.delete(path, headers={"Authorization": f"Bearer {ended['token']}"})
            answer.raise_for_status()
        self._url = f"ws://{self._server.url.split('/')[2]}{quiet['endpoints']['websocket']}"
        self._groups = [_group(f"g{number}", one, HOT) for number, one in enumerate(hot)]
        for number in range(self._options.clients):
            group = self._groups[number // OF_A_SESSION]
            self.returners.append(self._come(f"{group.name}c{number}", group, Labels(own_value)))
        self._speaker = self._come("speaker", self._groups[0], Labels(publish))
        self._residents = [
            self._come(f"resident{number}", _group("quiet", quiet, QUIET), Labels(turn))
            for number, turn in zip(range(RESIDENTS), itertools.cycle([own_value, publish]), strict=False)
        ]
        self._invite_strangers(_group("ended", ended, HOT))

    async def _created(self, http: httpx.AsyncClient) -> dict[str, Any]:
        answer = await http.post(self._server.url + "sessions/", json={})
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def _come(self, name: str, group: Group, writes: Labels | None, refused: str | None = None) -> Returner:
        chance = random.Random(self._chance.random())
        return Returner(name, group, [self._url], self._history, chance, writes, writing=False, refused=refused)

    def _invite_strangers(self, ended: Group) -> None:
        """Make clients that the server must turn away, each for a reason of its own."""
        for number in range(max(3, self._options.clients // self._options.strangers)):
            here = self._groups[number % len(self._groups)]
            name = ("invalid_token", "client_forgotten", "session_terminated")[number % 3]
            wrong = Group(here.name, here.session, "sma_" + "0" * 43, HOT)
            group = {"invalid_token": wrong, "client_forgotten": here, "session_terminated": ended}[name]
            stranger = self._come(f"stranger{number}", group, None, refused=name)
            stranger.client_id = "c_nobody" if name == "client_forgotten" else None
            self.strangers.append(stranger)

    # The steps.

    async def arrive(self) -> bool:
        """Let all come in good order, and write."""
        everybody = [*self.returners, self._speaker, *self._residents]
        for first in range(0, len(everybody), AT_ONCE):
            some = everybody[first : first + AT_ONCE]
            self._tasks += [asyncio.create_task(one.run()) for one in some]
            if not await until(lambda some=some: all(one.ready for one in some), self._options.arrival):
                return False
        for one in self.returners:
            one.allow(WRITES_EACH)
        return await until(lambda: all(not one.outbox for one in everybody), self._options.arrival)

    async def cut(self) -> None:
        """Break all connections with one write of each on its way, and publish what they miss."""
        for one in self.returners:
            one.allow(1)
        await until(lambda: any(one.outbox for one in self.returners), 5)
        for one in self.returners:
            one.cut()
        self._pacing = asyncio.create_task(self._pace())
        self._speaker.allow(MISSED)
        await until(lambda: not self._speaker.outbox and self._speaker.budget == 0, self._options.arrival)

    async def _pace(self) -> None:
        """Let the residents write one after the other, all the time."""
        while True:
            for one in self._residents:
                one.allow(1 if one.budget <= 0 else 0)
                await asyncio.sleep(PAUSE / RESIDENTS)

    def come_back(self) -> None:
        head = self._speaker.sight.offsets[f"topic:{HOT}"]
        names = [one.name for one in self.returners]
        self._history.add("nemesis", "storm", clients=names, log=f"topic:{HOT}", head=head, bound=self._options.bound)
        everybody = [*self.returners, *self.strangers]
        # In any order, so that strangers come together with others.
        for one in self._chance.sample(everybody, len(everybody)):
            if one.back is None:
                self._tasks.append(asyncio.create_task(one.run()))
            else:
                one.come_back()

    async def kill(self) -> None:
        """Kill the server once so many are back, and start it again."""
        wanted = int(self._options.share * len(self.returners))
        await until(lambda: sum(one.ready for one in self.returners) >= wanted, self._options.patience)
        assert self._server.process is not None
        ops = [write.op for one in self.returners for write in one.outbox.values()]
        self._history.add(
            "nemesis", "kill", server=self._server.name, pid=self._server.process.pid, unanswered=len(ops), ops=ops
        )
        self._server.kill()
        await asyncio.to_thread(self._server.start)
        self._history.add("nemesis", "ready", server=self._server.name)

    async def see_a_fault(self) -> list[str]:
        """Wait until somebody is sent away for good who may stay."""
        await until(lambda: any(one.final for one in self.returners), self._options.patience)
        return []

    async def be_killed(self, database: Database) -> list[str]:
        await self.kill()
        return await self.settle(database)

    async def settle(self, database: Database) -> list[str]:
        """Wait until all are whole and every write is answered; what does not come is for the checker to judge."""
        notes, bound = list[str](), self._options.patience
        everybody = [*self.returners, self._speaker, *self._residents]
        if not await until(lambda: all(one.ready for one in everybody), bound):
            notes.append(f"{sum(not one.ready for one in everybody)} clients are not back")
        self._speaker.allow(1)
        self._pacing.cancel()
        if not await until(lambda: all(not one.outbox and one.budget <= 0 for one in everybody), bound):
            notes.append(f"{sum(len(one.outbox) for one in everybody)} writes are unanswered")
        await until(lambda: all(one.final for one in self.strangers), bound)
        await until(lambda: database.pending() == 0, bound)
        heads = database.heads()
        if not await until(lambda: all(_is_at_the_end(one, heads) for one in everybody), bound):
            notes.append(f"{sum(not _is_at_the_end(one, heads) for one in everybody)} clients have not caught up")
        await self._read_documents()
        return notes

    async def _read_documents(self) -> None:
        """Let a new client of each session be given its documents as they are now."""
        groups = {one.group.session: one.group for one in [*self.returners, *self._residents]}
        readers = [self._come(f"{group.name}reader", group, None) for group in groups.values()]
        tasks = [asyncio.create_task(one.run()) for one in readers]
        logs = ("state:main", "state:cart")
        await until(lambda: all(one.positions[log] for one in readers for log in logs), self._options.patience)
        await asyncio.gather(*(one.stop() for one in readers))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        everybody = [*self.returners, *self.strangers, self._speaker, *self._residents]
        await asyncio.gather(*(one.stop() for one in everybody))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _group(name: str, made: dict[str, Any], topic: str) -> Group:
    return Group(name, made["session"]["session_id"], made["token"], topic)


def _is_at_the_end(peer: Peer, heads: dict[str, dict[str, int]]) -> bool:
    wanted = {**heads.get(peer.group.session, {}), f"topic:{peer.group.topic}": heads[""][f"topic:{peer.group.topic}"]}
    return all(peer.sight.offsets[log] >= offset for log, offset in wanted.items())


def brew(options: Options, database_url: str = "") -> Outcome:
    """Run one storm between two empty databases and a verdict."""
    # Each client is a file on both sides.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[1], max(limit[0], 3 * options.clients)), limit[1]))
    with tempfile.TemporaryDirectory(prefix="session-mgmt-storm-") as folder:
        return asyncio.run(_run(options, Path(folder), database_url))


async def _run(options: Options, folder: Path, database_url: str) -> Outcome:
    sqlite = folder / "storm.sqlite3"
    variables = environment(database_url, "", sqlite, options.broken)
    await asyncio.to_thread(migrate, variables)
    server, database, history = AppServer("A", variables), Database(database_url, sqlite), History()
    storm = Storm(history, server, options)
    try:
        await asyncio.to_thread(server.start)
        await storm.create()
        if not await storm.arrive():
            raise RuntimeError("Not everybody arrived before the storm.")
        await storm.cut()
        storm.come_back()
        notes = await (storm.see_a_fault() if options.broken else storm.be_killed(database))
        # What clients do while they are stopped is not in the dump.
        records = [*history.records]
        dump = orjson.loads(orjson.dumps(database.dump()))
        await storm.stop()
    finally:
        lines = server.output()
        server.close()
    return Outcome(check(records, dump, lines, Demands(kills=1)), records, notes)


def describe(options: Options, outcome: Outcome) -> str:
    """Write a short text with the figures of the storm."""
    records = outcome.records
    start = max(record["t"] for record in records if record["type"] in {"storm", "ready"})
    times = sorted(
        (record["t"] - start) / 1e9 for record in records if record["type"] == "recovery" and record["t"] > start
    )
    told = sum(record["type"] == "error" and bool(record["frame"].get("retry_after")) for record in records)
    lines = [
        f"{options.clients} clients back at once, killed when {options.share:.0%} were back, seed {options.seed}",
        f"last recovery       {times[-1] if times else float('nan'):.2f} s after the restart ({len(times)} recoveries)",
        f"asked to wait       {told}",
        *(f"note                {note}" for note in outcome.notes),
        *(f"doubt               {doubt}" for doubt in outcome.verdict.doubts),
        *(f"VIOLATION           {violation}" for violation in outcome.verdict.violations[:12]),
    ]
    return "\n".join(lines)

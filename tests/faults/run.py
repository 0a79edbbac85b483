"""Run of the kill test: start everything, torment it, let it heal, and judge."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests import services
from tests.faults import breakage, check_guests, check_hooks, check_lists
from tests.faults.backup import make_backup
from tests.faults.browsers import TABS, Browsers, Interrupter
from tests.faults.check import INVALID, UNKNOWN, VALID, Demands, Verdict, check, list_shortages
from tests.faults.check_tokens import count_cut_off, count_told_again
from tests.faults.evidence import Record, told_lost
from tests.faults.final import Database
from tests.faults.history import History
from tests.faults.hooks import Receiver, Workers
from tests.faults.hosts import Clock, HostedPostgres, volume
from tests.faults.nemesis import Cutter, Nemesis
from tests.faults.outages import CLOCK, LOCK_SECONDS, POSTGRES, REDIS, SQLITE, VOLUME, Outages
from tests.faults.pauses import Pauser
from tests.faults.peer import PIPELINE
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.faults.roamers import TRANSPORTS, Roamers
from tests.faults.servers import HOST, AppServer, environment, migrate
from tests.faults.sweep import POINTS, Sweeper, count_deaths
from tests.faults.workload import Crowd, list_behind, until

# Only what is never going to come takes so long, on any machine.
HEAL_SECONDS = 120.0
BROKEN_SECONDS = 12.0
OUTLIVED = 2
# Of a PostgreSQL that has them all taken now and then, which costs a process for each.
FEW_CONNECTIONS = 80
MORE = 1.25
SHOWN = 12
VOLUME_FOLDER = "volume"


@dataclass(frozen=True, slots=True)
class Options:
    """`calm`: seconds before the first fault. `pause`: most seconds before each further one. `scale`: two servers and
    Redis, which is killed, paused and flushed as well. `outages`: a PostgreSQL of our own is killed, restarted and
    paused as well, and its connections are ended and taken, or SQLite is locked and its disk is full; `bell`:
    PostgreSQL carries the doorbells. `turns`: how often each kind of outage comes. `trim`: the number of revisions
    that a document's log keeps, 0 for all. `servers`: without a broker between them. `transport`: what the clients use
    (`roamers.TRANSPORTS`), with `switching`: seconds until each takes another one, until all have done so `switches`
    times. `cuts`: instead of kills, a proxy before the server breaks the connections so often (tests/faults/proxy.py).
    `pauses`: one of two servers stands still so often, and goes on (tests/faults/pauses.py).
    `points`: the server is killed at each of these, before and after its COMMIT, too (tests/faults/sweep.py).
    `pipeline`: writes that each client has on their way. `rest_after`: writes that each has acknowledged after a kill
    before it rests until the next one.
    `restore`: put a backup back before the kills. `tokens`: seconds that access tokens live; then each session's
    clients are the tabs of one browser, and kills come while one of them refreshes.
    `guests`: clients that come and go in a topic, follow a part of another one, and read its past. `listers`: clients
    that show a list page by page. `hooks`: a service is told of all events by webhooks, and durable handlers write them
    down (tests/faults/hooks.py).
    `mixed`: the second of two servers has the settings of another version. `skewed`: its clock is wrong by so many
    seconds. `clock`: that of the database's host is wrong for a while. `volume`: that of the database is full for a
    while (tests/faults/hosts.py). `leases`: seconds that leases last; a server that stands still does so for longer.
    `broken`: a deliberate fault (tests/faults/breakage.py), which goes on until one of the promises `sought` is seen to
    be broken, or `each` of them. `keep`: a folder for the evidence.
    """

    database: str = "sqlite"
    clients: int = 20
    kills: int = 20
    seed: int = 1
    unanswered: int = 100
    pipeline: int = PIPELINE
    rest_after: int | None = None
    guests: int = 3
    listers: int = 1
    hooks: bool = False
    mixed: bool = False
    skewed: int = 0
    clock: bool = False
    volume: bool = False
    leases: float = 0.0
    calm: float = 4.0
    pause: float = 2.0
    scale: bool = False
    outages: bool = False
    turns: int = 1
    bell: bool = False
    trim: int = 0
    restore: bool = False
    tokens: float = 0.0
    transport: str = ""
    switching: float = 0.0
    switches: int = 0
    servers: int = 1
    cuts: int = 0
    pauses: int = 0
    points: tuple[str, ...] = ()
    broken: str | None = None
    sought: frozenset[str] = frozenset()
    each: bool = False
    keep: Path | None = None

    @property
    def patience(self) -> float:
        """Seconds for what must come back; after what was `sought` it need not be waited for."""
        return BROKEN_SECONDS if self.sought else HEAL_SECONDS

    @property
    def work_seconds(self) -> float:
        """Most seconds until enough has happened after the last fault, also on a slow machine."""
        return HEAL_SECONDS + 4 * self.switches * self.switching / self.clients

    @property
    def faults(self) -> int:
        return self.kills + self.cuts + self.pauses

    @property
    def outage_kinds(self) -> tuple[str, ...]:
        """Outages of this run, each as often as it comes."""
        taken = SQLITE if self.database == "sqlite" else POSTGRES
        hosts = (CLOCK if self.clock else ()) + (VOLUME if self.volume else ())
        return self.turns * ((REDIS if self.scale else ()) + (taken if self.outages else ()) + hosts)

    @property
    def own_postgres(self) -> bool:
        """Whether PostgreSQL is tormented, too."""
        return self.database == "postgres" and (self.outages or self.clock or self.volume)

    @property
    def takeovers(self) -> bool:
        """Whether clients take over their own connections, which then end before their tokens do."""
        return not self.restore and not self.tokens

    @property
    def invited(self) -> int:
        """Guests of this run: none where their sessions, or what they were told, would be undone."""
        return 0 if self.restore or self.tokens else self.guests

    @property
    def listing(self) -> int:
        """Readers of lists in this run: none where guests are none, one promise is sought, or their view fails."""
        return self.listers if self.invited and (self.each or not self.sought) and not self.outages else 0

    @property
    def telling(self) -> bool:
        """Whether services and handlers are told in this run: not where events that were told would be undone."""
        return self.hooks and not self.restore

    @property
    def demands(self) -> Demands:
        return Demands(
            kills=self.kills + count_deaths(self.points),
            cuts=self.cuts,
            pauses=self.pauses,
            outages=len(self.outage_kinds),
            switches=self.switches,
            unanswered_at_kill=0 if self.points else self.unanswered,
            acknowledged=40 * self.faults + 10 * len(self.points),
            takeovers=self.faults // 4 if self.takeovers else 0,
            retries=self.faults // 2,
            trimmed=5 * self.trim,
            by_digests=self.kills if self.trim or self.restore else 0,
            told_lost=self.clients if self.restore else 0,
            outlived=OUTLIVED if self.tokens else 0,
            cut_off=self.clients // TABS if self.tokens else 0,
            told_again=self.kills // 2 if self.tokens else 0,
            turned=4 * self.invited,
            pages=4 * self.invited,
            parts=4 * self.invited,
            looks=self.invited,
            turns=4 * self.listing,
            deliveries=4 * self.clients if self.telling else 0,
            delivered_again=self.clients // 4 if self.telling else 0,
        )


@dataclass(slots=True)
class Outcome:
    verdict: Verdict
    records: list[Record]
    trimmed: int = 0
    notes: list[str] = field(default_factory=list)


async def run(
    options: Options,
    folder: Path,
    database_url: str,
    redis: services.Redis | None,
    postgres: services.Postgres | None,
) -> Outcome:
    """Everything between two empty processes and a verdict; files go to `folder`."""
    sqlite = folder / VOLUME_FOLDER / "faults.sqlite3" if options.volume else folder / "faults.sqlite3"
    variables = _build_variables(options, database_url, redis.url if redis else "", sqlite)
    await asyncio.to_thread(migrate, variables)
    others = variables | _build_differences(options, folder)
    both = AppServer("A", variables), AppServer("B", others)
    servers = [*both[: 2 if options.scale else options.servers]]
    database = Database(database_url, sqlite)
    history = History(folder / "history.jsonl")
    crowd = _gather_crowd(options, history, servers)
    chance = random.Random(options.seed)
    receiver = Receiver(history, random.Random(options.seed))
    workers = Workers(variables, random.Random(options.seed), folder / "workers.log")
    stack = contextlib.AsyncExitStack()
    if options.telling:
        await receiver.open(variables)
        workers.start()
    try:
        for server in servers:
            await asyncio.to_thread(server.start)
            history.add("nemesis", "serves", server=server.name)
        proxies = await _stand_before(servers, crowd, stack) if options.cuts else []
        await crowd.create()
        await crowd.invite(options.invited)
        await crowd.invite_listers(options.listing)
        crowd.set_pipeline(options.pipeline)
        crowd.start()
        place = sqlite.parent if postgres is None else postgres.data
        outages = Outages(history, chance, options.outage_kinds, redis, postgres, sqlite, servers, place)
        nemesis = _choose_nemesis(options, history, crowd, servers, chance, outages, database)
        if options.restore:
            await nemesis.restore(make_backup(database_url, sqlite), database)
        await nemesis.torment(options.kills, options.calm, options.pause)
        if proxies:
            await Cutter(nemesis, proxies).torment(options.cuts, options.calm, options.pause)
        if options.pauses:
            await Pauser(nemesis, 2 * options.leases).torment(options.pauses, options.calm, options.pause)
        if options.points:
            await Sweeper(nemesis, sqlite, options.points).torment()
        await _work_on(history, database, options)
        notes = await _heal(crowd, database, options.patience)
        workers.calm()
        receiver.calm()
        records, dump = await _take_evidence(history, database, options.patience)
    finally:
        await crowd.stop()
        await workers.stop()
        await receiver.close()
        await stack.aclose()
        lines = [*(line for server in servers for line in _keep_log(server, folder)), *workers.output()]
        for server in servers:
            server.close()
        history.close()
    (folder / "dump.json").write_bytes(orjson.dumps(dump))
    trimmed = sum(document["oldest"] - 1 for document in dump["documents"])
    return Outcome(check(records, dump, lines, options.demands), records, trimmed, notes)


def _build_variables(options: Options, database_url: str, redis_url: str, sqlite: Path) -> dict[str, str]:
    """Build the environment of the servers."""
    variables = environment(database_url, redis_url, sqlite, options.broken, options.trim, options.tokens)
    # So that there are beats at all: a connection that is lost for one is opened again.
    variables["SESSION_MGMT_TEST_HEARTBEAT"] = "1.0"
    if options.bell:
        variables["SESSION_MGMT_TEST_BELL"] = "default"
    if options.outages:
        variables["SESSION_MGMT_TEST_LOCK"] = str(LOCK_SECONDS)
    if options.telling:
        variables["SESSION_MGMT_TEST_HOOKS"] = "1"
    if options.leases:
        variables["SESSION_MGMT_TEST_LEASE"] = str(options.leases)
    return variables


def _build_differences(options: Options, folder: Path) -> dict[str, str]:
    """Build what is different in the environment of the second server."""
    found = {"SESSION_MGMT_TEST_OTHER": "1"} if options.mixed else {}
    if options.skewed:
        clock = Clock(folder)
        clock.set(options.skewed)
        found |= clock.variables
    return found


def _gather_crowd(options: Options, history: History, servers: list[AppServer]) -> Crowd:
    given = (history, servers, options.clients, options.seed)
    habits: dict[str, Any] = {"absences": options.trim > 0, "takeovers": options.takeovers}
    if options.tokens:
        return Browsers(*given, transports=TRANSPORTS[options.transport or "websocket"], **habits)
    if options.transport:
        return Roamers(*given, transports=TRANSPORTS[options.transport], switching=options.switching, **habits)
    return Crowd(*given, **habits)


async def _stand_before(servers: list[AppServer], crowd: Crowd, stack: contextlib.AsyncExitStack) -> list[FaultProxy]:
    """Put a proxy before each server, and let the clients go through it."""
    found = [await stack.enter_async_context(fault_proxy(server.port)) for server in servers]
    crowd.addresses = [f"{HOST}:{port}" for _, port in found]
    return [proxy for proxy, _ in found]


def _choose_nemesis(
    options: Options,
    history: History,
    crowd: Crowd,
    servers: list[AppServer],
    chance: random.Random,
    outages: Outages,
    database: Database,
) -> Nemesis:
    given = (history, crowd, servers, outages, chance, options.unanswered, options.patience, options.rest_after)
    if isinstance(crowd, Browsers):
        return Interrupter(*given, wallets=crowd.wallets, database=database)
    return Nemesis(*given)


async def _work_on(history: History, database: Database, options: Options) -> None:
    """Let the clients work until enough has happened: the speed of a machine must not decide what a run proves."""

    judged = 0

    def is_enough() -> bool:
        nonlocal judged
        if options.sought:
            # The clients wait while all is judged: it must not be all that a slow machine does.
            if len(history.records) < MORE * judged:
                return False
            judged = len(history.records)
            violations = check(history.records, database.dump()).violations
            found = options.sought & {violation.promise for violation in violations}
            return found == options.sought if options.each else bool(found)
        return not any(list_shortages(history.records, database.trimmed(), options.demands))

    await until(is_enough, options.work_seconds, pause=0.5)


async def _heal(crowd: Crowd, database: Database, patience: float) -> list[str]:
    """Wait for every answer and for every reader; what does not come is for the checker to judge."""
    notes = []
    if not await crowd.settle(patience):
        notes.append(f"{crowd.unanswered} writes are unanswered after {patience:.0f} s of peace")
        notes += [peer.describe() for peer in crowd.peers if peer.outbox or not peer.ready]
    if not await until(lambda: database.pending() == 0, patience):
        notes.append(f"{database.pending()} outbox entries are left after {patience:.0f} s of peace")
    if not await until(lambda: database.untold() == 0, patience):
        notes.append(f"{database.untold()} members are untold of after {patience:.0f} s of peace")
    heads = database.heads()
    topics = heads.pop("")
    wanted = {
        group.session: {**heads.get(group.session, {}), **_topic_of(group.topic, topics)} for group in crowd.groups
    }
    wanted |= {
        guest.group.session: {log: topics[log] for log in guest.group.logs if log in topics}
        for guest in (*crowd.guests, *crowd.listers)
    }
    if not await crowd.caught_up(wanted, patience):
        notes.append(f"not every client has caught up after {patience:.0f} s of peace")
        behind = {peer: list_behind(peer, wanted[peer.group.session]) for peer in crowd.everybody}
        notes += [f"{peer.describe()}, behind in {', '.join(logs)}" for peer, logs in behind.items() if logs]
    await crowd.read_all(patience)
    return notes


async def _take_evidence(history: History, database: Database, patience: float) -> tuple[list[Record], Record]:
    """Wait until every event has been told, and return what happened and what is stored, both of one moment.

    What clients do while they are stopped is in neither.
    """
    delivered, waits = -1, False
    # A backlog takes its time on a slow machine: only one of which nothing is delivered any more is given up.
    while not await until(lambda: database.undelivered() == 0, patience, pause=0.2):
        before, delivered = delivered, check_hooks.count(history.records)["deliveries"]
        waits = delivered == before
        if waits:
            break
    # What waits in the dump otherwise is newer.
    history.add("nemesis", "told", waits=waits)
    # Nothing is recorded meanwhile: nobody else's turn comes.
    return [*history.records], database.dump()


def _topic_of(topic: str, topics: dict[str, int]) -> dict[str, int]:
    log = f"topic:{topic}"
    return {log: topics[log]} if log in topics else {}


def _keep_log(server: AppServer, folder: Path) -> list[str]:
    lines = server.output()
    (folder / f"server-{server.name}.log").write_text("\n".join(lines))
    return lines


def report(options: Options, outcome: Outcome) -> str:
    """Write a short text with the figures of the run."""
    records, verdict = outcome.records, outcome.verdict
    kills = [record for record in records if record["type"] == "kill"]
    acknowledged = {record["op"] for record in records if record["type"] == "ok"}
    refused = {record["op"] for record in records if record["type"] == "fail"}
    caught = {op for kill in kills for op in kill["ops"]}
    counts = Counter(violation.promise for violation in verdict.violations)
    times = recovery_times(records)
    word = {VALID: "valid", INVALID: "INVALID", UNKNOWN: "UNKNOWN"}[verdict.code]
    lines = [
        f"{options.database}{' scale' if options.scale else ''}, {options.clients} clients, seed {options.seed}"
        + (f", broken: {options.broken}" if options.broken else ""),
        f"acknowledged        {len(acknowledged)}  (refused for good {len(refused)})",
        f"kills               {len(kills)}",
        *_counting_outages(records),
        *_pausing(records),
        *_cutting(records, options),
        f"unanswered at kills {len(caught)}  (each {_spread([kill['unanswered'] for kill in kills])})",
        f"recovered           {len(caught & (acknowledged | refused))} of {len(caught)}",
        f"lost                {counts['S1'] + counts['T4']}",
        f"doubled             {counts['S6'] + counts['T3']}",
        *_trimming(records, outcome.trimmed),
        *_restoring(records),
        *_refreshing(records),
        *_visiting(records),
        *_telling(records),
        f"gap signals         {sum(_gaps(record) for record in records)}",
        f"recovery time       p50 {_percentile(times, 50):.2f} s, p99 {_percentile(times, 99):.2f} s",
        *(f"note                {note}" for note in outcome.notes),
        *(f"doubt               {doubt}" for doubt in verdict.doubts),
        *(f"VIOLATION           {violation}" for violation in verdict.violations[:SHOWN]),
    ]
    if len(verdict.violations) > SHOWN:
        lines.append(f"… {len(verdict.violations)} violations: {dict(counts)}")
    return "\n".join([*lines, f"verdict             {word}"])


def _cutting(records: list[Record], options: Options) -> list[str]:
    cuts = Counter(record["fault"] for record in records if record["type"] == "cut")
    attached = Counter(
        record["transport"] for record in records if record["type"] == "connected" and "transport" in record
    )
    lines = [f"cuts                {cuts.total()}  ({dict(cuts)})"] if cuts else []
    return [*lines, f"attachments         {attached.total()}  ({dict(attached)})"] if options.transport else lines


def _counting_outages(records: list[Record]) -> list[str]:
    kinds = Counter(record["what"] for record in records if record["type"] == "outage")
    return [f"outages             {kinds.total()}  ({dict(kinds)})"] if kinds else []


def _pausing(records: list[Record]) -> list[str]:
    moved = [record["moved"] for record in records if record["type"] == "resume"]
    return [f"pauses              {len(moved)}  (clients that moved meanwhile {_spread(moved)})"] if moved else []


def _trimming(records: list[Record], trimmed: int) -> list[str]:
    if not trimmed:
        return []
    old = sum(r["type"] == "temporary" and r["receipt"]["error"]["name"] == "too_old" for r in records)
    snapshots = sum(r["type"] == "snapshot" for r in records)
    by_digests = len({r["op"] for r in records if r["type"] == "again" and r.get("digests") is not None})
    return [f"trimmed versions    {trimmed}  (too_old {old}, by digests {by_digests}, snapshots {snapshots})"]


def _restoring(records: list[Record]) -> list[str]:
    if not any(record["type"] == "restore" for record in records):
        return []
    told = len({(record["p"], log) for record in records for log in told_lost(record)})
    refused = sum(r["type"] == "temporary" and r["receipt"]["error"]["name"] == "unknown_version" for r in records)
    by_digests = len({r["op"] for r in records if r["type"] == "again" and r.get("digests") is not None})
    return [f"history lost        told {told}  (bases refused {refused}, by digests {by_digests})"]


def _refreshing(records: list[Record]) -> list[str]:
    if not any(record["type"] == "pair" for record in records):
        return []
    generations = len({record["nonce"] for record in records if record["type"] == "refreshed"})
    again, cut = count_told_again(records), count_cut_off(records)
    return [f"refreshes           {generations}  (told again after a kill {again}, connections cut off {cut})"]


def _visiting(records: list[Record]) -> list[str]:
    found = check_guests.count(records) | check_lists.count(records)
    told = ", ".join(f"{kind} {times}" for kind, times in found.items())
    return [f"guests              {told}"] if any(found.values()) else []


def _telling(records: list[Record]) -> list[str]:
    found = check_hooks.count(records)
    again = found["delivered_again"]
    return [f"deliveries          {found['deliveries']}  (again {again})"] if found["deliveries"] else []


def _gaps(record: Record) -> int:
    if record["type"] == "gap":
        return 1
    if record["type"] != "connected":
        return 0
    return sum(verdict["mode"] == "gap" for verdict in record["frame"]["logs"].values())


def recovery_times(records: list[Record]) -> list[float]:
    """Seconds from the port's return to each client's first acknowledged write."""
    times: list[float] = []
    ready: int | None = None
    waiting: set[str] = set()
    clients = {record["p"] for record in records if record["type"] == "invoke" and not record.get("zombie")}
    for record in records:
        if record["type"] == "ready":
            ready, waiting = record["t"], set(clients)
        elif record["type"] == "kill":
            waiting = set()
        elif record["type"] == "ok" and ready is not None and record["p"] in waiting:
            waiting.discard(record["p"])
            times.append((record["t"] - ready) / 1e9)
    return sorted(times)


def _percentile(values: list[float], part: int) -> float:
    return values[min(len(values) - 1, len(values) * part // 100)] if values else float("nan")


def _spread(values: list[int]) -> str:
    return f"{min(values)}..{max(values)}" if values else "-"


def execute(options: Options, database_url: str = "", redis: services.Redis | None = None) -> Outcome:
    """Run with the servers given, else with servers of our own."""
    with contextlib.ExitStack() as stack:
        own = None
        if options.database == "postgres" and (options.own_postgres or not database_url):
            most = FEW_CONNECTIONS if options.outages else services.CONNECTIONS
            is_hosted = options.clock or options.volume
            new = HostedPostgres(most, has_volume=options.volume) if is_hosted else services.Postgres(connections=most)
            own = stack.enter_context(services.running(new))
            database_url = own.url
        if options.scale and redis is None:
            redis = stack.enter_context(services.redis())
        kept = options.keep
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="session-mgmt-faults-")))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty: an old database would be checked against a new history")
        if options.volume:
            stack.enter_context(volume(folder / VOLUME_FOLDER))
        # A client that writes to a killed server is the point, not a warning.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        return asyncio.run(run(options, folder, database_url, redis, own if options.own_postgres else None))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Kill the servers and judge the result."
    )
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--kills", type=int, help="20 unless there are other faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unanswered", type=int, default=100, help="requests without an answer when a kill lands")
    parser.add_argument("--calm", type=float, default=4.0, help="seconds without a fault before the first")
    parser.add_argument("--pause", type=float, default=2.0, help="most seconds before each further fault")
    parser.add_argument(
        "--scale", action="store_true", help="two servers, and Redis killed, paused and flushed as well"
    )
    parser.add_argument(
        "--outages",
        action="store_true",
        help="also PostgreSQL killed, restarted, paused, cut and used up, or SQLite locked and its disk full",
    )
    parser.add_argument("--turns", type=int, default=1, help="how often each kind of outage comes")
    parser.add_argument("--bell", action="store_true", help="doorbells by PostgreSQL, without Redis")
    parser.add_argument("--rest-after", type=int, help="writes of each client after a kill before it rests")
    parser.add_argument("--trim", type=int, default=0, help="revisions that a document's log keeps (0: all)")
    parser.add_argument("--restore", action="store_true", help="put a backup back before the kills")
    parser.add_argument("--tokens", type=float, default=0.0, help="seconds that tokens live, and tabs refresh them")
    parser.add_argument("--transport", choices=sorted(TRANSPORTS), default="", help="what the clients use")
    parser.add_argument("--switching", type=float, default=0.0, help="seconds until each client takes another one")
    parser.add_argument("--switches", type=int, default=0, help="how often they do so, all together, at least")
    parser.add_argument(
        "--hooks", action="store_true", help="a service is told of all events by webhooks, and handlers write them down"
    )
    parser.add_argument("--servers", type=int, choices=[1, 2], default=1, help="how many, without a broker")
    parser.add_argument("--cuts", type=int, default=0, help="faults of the network; the kills are then 0 unless given")
    parser.add_argument("--pauses", type=int, default=0, help="how often one of two servers stands still, and goes on")
    parser.add_argument("--mixed", action="store_true", help="the second server has settings of another version")
    parser.add_argument("--skewed", type=int, default=0, help="seconds by which the second server's clock is wrong")
    parser.add_argument("--clock", action="store_true", help="PostgreSQL's clock is wrong by minutes for a while")
    parser.add_argument("--volume", action="store_true", help="the volume of the database is full for a while (root)")
    parser.add_argument("--leases", type=float, default=0.0, help="seconds of leases, which stops (--pauses) outlast")
    parser.add_argument(
        "--points",
        action="store_const",
        const=POINTS,
        default=(),
        help="the server is killed at each of its points, too",
    )
    parser.add_argument("--break", dest="broken", choices=sorted(breakage.BREAKS), help="a deliberately broken build")
    parser.add_argument("--keep", type=Path, help="a folder for the history, the dump and the servers' logs")
    given = parser.parse_args()
    if given.kills is None:
        given.kills = 0 if given.cuts or given.switching or given.pauses or given.points else 20
    options = Options(**vars(given))
    if options.pauses and options.servers < 2:
        parser.error("--pauses needs --servers 2")
    if options.tokens and options.switching:
        parser.error("--tokens goes without --switching")
    if options.tokens and options.restore:
        parser.error("--restore undoes tokens that browsers hold, so it goes without --tokens")
    outcome = execute(options)
    print(report(options, outcome))
    return outcome.verdict.code


if __name__ == "__main__":
    sys.exit(main())

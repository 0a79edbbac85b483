"""One, two and four server processes on PostgreSQL, with each carrier of doorbells and without one: what grows with
them, and what does not.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import psycopg

from tests import programs
from tests.benchmarks import costs, databases, fanout, machine, patches, rivals, sides, storm
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table, measured
from tests.benchmarks.rivals import Case
from tests.benchmarks.scale import Scale

WAITING = "SELECT count(*) FROM session_mgmt_outbox"
LOGGED = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Farm:
    """Servers of one database, and what is measured with them."""

    database: Database
    servers: list[sides.Server]
    tokens: list[str]
    scale: Scale
    way: str

    @property
    def case(self) -> Case:
        return Case(rivals.OURS, "ours", self.way)


@dataclass(slots=True)
class Kind:
    """Kind of work, with the row of one process that others are compared with."""

    name: str
    work: Callable[[Farm], list[dict[str, Any]]]
    base: Row | None = field(default=None)


def run(scale: Scale) -> Iterator[Table]:
    """Return one table where there is a PostgreSQL: SQLite is for one process."""
    for opening in databases.all_databases():
        with opening as database:
            if database.variables["DATABASE_URL"]:
                yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    tokens = rivals.invited(database, max(scale.guests, scale.connections) + 1).tokens
    table = Table("several processes", "done", _settings(database, scale))
    with start_carriers() as carriers:
        for carrier, variables in carriers[-scale.variants :]:
            kinds = _kinds()
            for count in scale.processes:
                with contextlib.ExitStack() as stack:
                    here = replace(database, variables=database.variables | variables)
                    farm = _farm(stack, here, count, tokens, scale)
                    farmed = f"{count} {'processes' if count > 1 else 'process'}{carrier and f', {carrier}'}"
                    table.rows += [_row(kind, f"{kind.name}, {farmed}", kind.work(farm)) for kind in kinds]
    table.rows.sort(key=lambda row: [kind.name for kind in _kinds()].index(row.case.partition(",")[0]))
    return table


@contextlib.contextmanager
def start_carriers() -> Iterator[list[tuple[str, dict[str, str]]]]:
    """Start what may carry doorbells; list it, nothing first, with the variables that choose it."""
    carriers = [("", {}), ("LISTEN", {"BENCHMARK_DOORBELL": "default"})]
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(programs.Unavailable):
            carriers.append(("Redis", {"REDIS_URL": stack.enter_context(databases.redis())}))
        yield carriers


def _farm(stack: contextlib.ExitStack, database: Database, count: int, tokens: list[str], scale: Scale) -> Farm:
    (way,) = list(rivals.ways().values())[-1:]
    servers: list[sides.Server] = [stack.enter_context(sides.serving(database.variables, way)) for _ in range(count)]
    return Farm(database, servers, tokens, scale, way)


def _kinds() -> list[Kind]:
    return [
        Kind("updates", _update),
        Kind("fan-out", _fan_out),
        Kind("storm", _storm),
        Kind("publications to one topic", lambda farm: _publish(farm, 1)),
        Kind("publications to many topics", lambda farm: _publish(farm, farm.scale.connections)),
        Kind("outbox", _drain),
    ]


def _row(kind: Kind, name: str, done: list[dict[str, Any]]) -> Row:
    row = measured(name, done, kind.base)
    facts = {
        key: median(one[key] for one in done) for key in ("database us", "wal bytes", "mean batch") if key in done[0]
    }
    kind.base = kind.base or row
    return replace(row, facts=row.facts | facts)


def _with_database(farm: Farm, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Add the CPU and the log of PostgreSQL for each piece of work, those of warming up included."""
    url = farm.database.variables["DATABASE_URL"]
    postmaster = costs.postmaster(url)
    before = machine.family_seconds(postmaster) if postmaster else 0.0
    logged = costs.asked(url, LOGGED)
    done = work()
    spent = machine.family_seconds(postmaster) - before if postmaster else 0.0
    pieces = done.get("written") or done["done"] or 1
    batch = {"mean batch": done["written"] / done["batches"]} if done.get("batches") else {}
    wal = float(costs.asked(url, LOGGED) - logged) / pieces
    return done | {"database us": 1e6 * spent / pieces, "wal bytes": wal} | batch


def _update(farm: Farm) -> list[dict[str, Any]]:
    scale = farm.scale
    tokens = farm.tokens[: scale.connections]
    with contextlib.closing(
        sides.Load(farm.servers, "patches", sides.SESSION, scale.connections, tokens, logs=[patches.MAIN])
    ) as load:
        how = {"window": scale.window, "warm": scale.warm, "seconds": scale.seconds}
        return [_with_database(farm, lambda: load.run(**how)) for _ in range(scale.rounds)]


def _fan_out(farm: Farm) -> list[dict[str, Any]]:
    scale = farm.scale
    tokens = farm.tokens[: scale.guests]
    plan = {"mark": fanout.MARK, "logs": [f"topic:{fanout.TOPIC}"]}
    with contextlib.closing(sides.Load(farm.servers, "fanout", sides.SESSION, scale.guests, tokens, **plan)) as load:
        how = {"window": scale.publications, "warm": scale.warm, "seconds": scale.seconds, "frame": fanout.DURABLE}
        return [_with_database(farm, lambda: load.run(**how)) for _ in range(scale.rounds)]


def _storm(farm: Farm) -> list[dict[str, Any]]:
    scale, kind = farm.scale, storm.Kind("one topic", "say", farm.scale.guests)
    keys = farm.tokens[: scale.guests + 1]
    with rivals.crowd(farm.servers, farm.case, keys, [farm.case.room()], at_once=storm.AT_ONCE) as load:
        load.ask(step="arrive", at_once=storm.AT_ONCE)
        load.ask(step="live", how="say")
        return [
            _with_database(farm, lambda: storm.pass_over(farm.case, kind, load, scale)) for _ in range(scale.rounds)
        ]


def _publish(farm: Farm, topics: int) -> list[dict[str, Any]]:
    """Publish durably, and let nobody follow: what is left is the head row of the topic."""
    scale = farm.scale
    with rivals.crowd(farm.servers, farm.case, farm.tokens[: scale.connections + 1], [""]) as load:
        load.ask(step="arrive", at_once=storm.AT_ONCE)
        how = {"step": "ask", "warm": scale.warm, "seconds": scale.seconds, "window": scale.window, "topics": topics}
        return [_with_database(farm, lambda: load.run(**how)) for _ in range(scale.rounds)]


def _drain(farm: Farm) -> list[dict[str, Any]]:
    """Let the servers carry out what Python code has published in one transaction."""
    return [_drain_once(farm) for _ in range(farm.scale.rounds)]


def _drain_once(farm: Farm) -> dict[str, Any]:
    """Time the outbox from its fullest to its end: until somebody looks, the time is the interval's.

    Where it was never seen full, the time begins with the process that fills it.
    """
    count, before = farm.scale.outbox, _spent(farm)
    command = [sys.executable, "-m", "tests.benchmarks.producing", str(count)]
    done, began = 0, time.perf_counter()
    deadline = began + PATIENCE
    with (
        psycopg.connect(farm.database.variables["DATABASE_URL"], autocommit=True) as connection,
        subprocess.Popen(command, cwd=sides.ROOT, env=farm.database.variables) as producer,
    ):
        while time.perf_counter() < deadline:
            ((left,),) = connection.execute(WAITING).fetchall()
            if left >= max(1, done):
                done, began = left, time.perf_counter()
            elif not left and (done or producer.poll() is not None):
                break
    seconds = time.perf_counter() - began
    told = {"done": done or count, "seconds": seconds, "server_cpu": _spent(farm) - before, "load_cpu": 0.0}
    return told | {"p50_ms": 0.0, "p99_ms": 0.0, "refused": 0, "lost": left}


def _spent(farm: Farm) -> float:
    return sum(machine.cpu_seconds(server.process.pid) for server in farm.servers if server.process is not None)


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    return {
        "machine": machine.described(),
        "cores": f"all servers on {sorted(machine.cores()[0])}, load on {sorted(machine.cores()[1])}; databases where"
        " they like: more processes have no more cores here, so read what a piece of work costs, and where they wait",
        "updates": f"{scale.connections} connections, {scale.window} in flight on each, documents of their own",
        "fan-out": f"{scale.guests} listeners, {scale.publications} durable publications in flight from one process;"
        " without LISTEN or Redis the others look every 5 seconds",
        "storm": f"{scale.guests} clients at once, {scale.missed} entries of one topic missed each",
        "publications": f"durable, {scale.connections} connections with {scale.window} in flight; nobody follows",
        "outbox": f"{scale.outbox} publications of one transaction in Python, from the first that is carried out",
        "database": f"{database.settings}; its CPU and log are those of each write, or of each client of a storm",
        "ratio": "to one process, with the same carrier of doorbells",
        "rounds": f"{scale.rounds}; medians",
    }

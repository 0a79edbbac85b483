"""Everybody comes back at once and has missed something, after a cut, and after a kill of the server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from tests import programs, services
from tests.benchmarks import databases, rivals, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table, measured
from tests.benchmarks.rivals import Case, People
from tests.benchmarks.scale import Scale

AT_ONCE = 64
WRITERS, PAUSE = 8, 0.05

Rounds = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of storm. ``how`` is the way in which the missed numbers are told."""

    name: str
    how: str
    guests: int
    kills: bool = False


def run(scale: Scale) -> Iterator[Table]:
    """Return one table for each database, with all kinds of storms."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    kinds = (
        Kind("one topic", "say", scale.guests),
        Kind("own documents", "change", scale.guests),
        Kind("killed", "say", scale.killed, kills=True),
    )
    people = rivals.invited(database, scale.guests + WRITERS + 1)
    with contextlib.ExitStack() as stack:
        cases, left_out = _cases(stack)
        servers = {case: stack.enter_context(services.running(case.server(database.variables))) for case in cases}
        table = Table(f"storm on {database.name}", "clients whole", _settings(database, scale, left_out))
        for kind in kinds:
            some = {case: server for case, server in servers.items() if _takes_part(case, kind)}
            table.rows += _rows(_measured(some, scale, kind, people))
        for case, server in servers.items():
            if case.dialect == "ours":
                table.rows.append(_beside_writers(server, scale, kinds[0], case, people))
    return table


def _cases(stack: contextlib.ExitStack) -> tuple[list[Case], str]:
    """Choose all peers, Socket.IO with an adapter that survives a kill too."""
    cases, reason = rivals.cases(recorded=False)
    with contextlib.suppress(programs.Unavailable):
        cases = rivals.with_streams(cases, stack.enter_context(databases.redis()))
    return cases, reason


def _takes_part(case: Case, kind: Kind) -> bool:
    """Leave out what has no documents at all, and what is known to lose everything by a kill."""
    if case.dialect == "socket.io":
        return kind.kills == bool(case.redis_url)
    return case.dialect == "ours" or kind.how == "say"


def _measured(servers: dict[Case, sides.Server], scale: Scale, kind: Kind, people: People) -> dict[str, Rounds]:
    rounds: dict[str, Rounds] = {}
    firsts: dict[Case, dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        loads = {}
        for case, server in servers.items():
            keys = people.keys(case)[: kind.guests + 1]
            load = stack.enter_context(rivals.crowd(server, case, keys, _rooms(case, kind), at_once=AT_ONCE))
            loads[case] = load
            load.ask(step="arrive", at_once=AT_ONCE)
            load.ask(step="live", how=_told(case, kind))
            if not kind.kills:
                # Node compiles what has run often: its first storm takes twice the CPU of the third (measured).
                firsts[case] = {"first": pass_over(case, kind, load, scale)["seconds"]}
        for _ in range(scale.rounds):
            for case, load in loads.items():
                done = pass_over(case, kind, load, scale) | firsts.get(case, {})
                rounds.setdefault(f"{kind.name}: {case.name}", []).append(done)
    return rounds


def _rooms(case: Case, kind: Kind) -> list[str]:
    if kind.how == "say":
        return [case.room()]
    return ["state:main"] if case.dialect == "ours" else [f"own:{number}" for number in range(kind.guests)]


def _told(case: Case, kind: Kind) -> str:
    return kind.how if case.dialect == "ours" or kind.how == "say" else "everywhere"


def pass_over(
    case: Case, kind: Kind, load: sides.Load, scale: Scale, writers: sides.Load | None = None
) -> dict[str, Any]:
    """Cut all, let them miss something, let them come back, and see that they live."""
    how, boot = _told(case, kind), 0.0
    load.ask(step="leave", seconds=scale.settle)
    _tell(load, how, scale.missed // 2)
    if kind.kills:
        (server,) = load.servers
        server.kill()
        started = time.perf_counter()
        server.start()
        boot = time.perf_counter() - started
        load.ask(step="meet", servers=load.numbers())
    _tell(load, how, scale.missed - scale.missed // 2)
    if writers is not None:
        writers.ask(step="work", pause=PAUSE)
    patience = {"silence": rivals.PATIENCE} if case.is_ours else {}
    return load.ask(step="come_back", **patience) | {"boot": boot} | load.ask(step="live", how=how)


def _tell(load: sides.Load, how: str, count: int) -> None:
    if how == "change":
        load.ask(step="change", count=count)
    else:
        load.ask(step="say", count=count, everywhere=how == "everywhere")


def _rows(rounds: dict[str, Rounds]) -> list[Row]:
    rows: list[Row] = []
    for name, done in rounds.items():
        row = measured(name, done, rows[0] if rows else None)
        rows.append(replace(row, facts=_facts(done) | row.facts))
    return rivals.beside_socket_io(rows)


def _facts(done: Rounds) -> dict[str, float]:
    facts = {"seconds": median(one["seconds"] for one in done)}
    facts |= {"boot s": median(one["boot"] for one in done)} if any(one["boot"] for one in done) else {}
    facts |= {"first s": done[0]["first"]} if "first" in done[0] else {}
    return facts | {
        "missing of each": max(one["missing"] for one in done),
        "doubled": max(one["doubled"] for one in done),
        "asked to wait": max(one["refused"] for one in done),
        "deaf after": max(one["deaf"] + one["away"] for one in done),
        "refused": 0,
    }


def _beside_writers(server: sides.Server, scale: Scale, kind: Kind, case: Case, people: People) -> Row:
    """Measure what a storm means for those who are connected and write."""
    rounds, quiet, loud = Rounds(), Rounds(), Rounds()
    with contextlib.ExitStack() as stack:
        writers = stack.enter_context(rivals.crowd(server, case, people.keys(case)[: WRITERS + 1], ["state:main"]))
        load = stack.enter_context(rivals.crowd(server, case, people.keys(case)[WRITERS:], [case.room()]))
        for one in (writers, load):
            one.ask(step="arrive", at_once=AT_ONCE)
        load.ask(step="live", how="say")
        for _ in range(scale.rounds):
            writers.ask(step="work", pause=PAUSE)
            time.sleep(scale.seconds)
            quiet.append(writers.ask(step="rest"))
            rounds.append(pass_over(case, kind, load, scale, writers))
            loud.append(writers.ask(step="rest"))
    row = measured(f"{WRITERS} write: {case.name}", rounds)
    before, during = (median(one["p99_ms"] for one in some) for some in (quiet, loud))
    told = {"update p99 quiet": before, "update p99 storm": during, "x quiet": during / before}
    return replace(row, facts=_facts(rounds) | row.facts | told)


def _settings(database: Database, scale: Scale, left_out: str) -> dict[str, str]:
    return rivals.settings(database, left_out) | {
        "load": f"{scale.guests} clients of a user each ({scale.killed} with a kill), all at once; each has missed"
        f" {scale.missed} entries of 200 bytes, of one topic or of its own document (Socket.IO: of a room)",
        "seconds": "from the first connect (after a kill the server is up by then) until the last is whole; where"
        " entries are lost, until the last is connected",
        "killed": "SIGKILL after half of what is missed, the other half after the restart",
        "writers": f"{WRITERS} clients change their document, {1000 * PAUSE:.0f} ms after each receipt, and are judged"
        " until everybody of the storm was told one entry more",
        "rounds": f"{scale.rounds}, interleaved, after a first one that counts only as such; medians, and the most of"
        " what went wrong",
    }

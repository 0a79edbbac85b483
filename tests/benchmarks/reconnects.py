"""Reconnects after no, one or a hundred missed changes, and conditional reads: bytes, queries and CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import orjson

from tests.benchmarks import databases, machine, sides
from tests.benchmarks.costs import Cost, Meter
from tests.benchmarks.databases import Database
from tests.benchmarks.dialogue import Client, Line, Rest
from tests.benchmarks.documents import KEEP, MAIN, SMALL, filled
from tests.benchmarks.report import Row, Table
from tests.benchmarks.scale import Scale

MISSED = (0, 1, 100)
DOCUMENTS = (0, 1, 16)
WHOLE = "baseline: the whole document to who comes back"

Round = tuple[Cost, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """Case. ``work`` does it so many times; ``whole`` is the case that sends the document instead."""

    name: str
    work: Callable[[int], Round]
    whole: str = ""
    rounds: list[Round] = field(default_factory=list)


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database, contextlib.ExitStack() as stack:
            yield _table(stack, replace(database, variables=database.variables | KEEP), scale)


def _table(stack: contextlib.ExitStack, database: Database, scale: Scale) -> Table:
    sizes = (SMALL, scale.large)
    tokens = iter(sides.prepared(database.variables, 2 * len(sizes) + len(DOCUMENTS), *sizes))
    ours = stack.enter_context(sides.serving(database.variables))
    plain = stack.enter_context(sides.serving(database.variables))
    cases = [case for count in DOCUMENTS for case in _many(database, ours, next(tokens), count)]
    for size in sizes:
        cases += _one(database, ours, next(tokens), size)
        cases.append(_again(database, ours, next(tokens), size))
        cases.append(Case(_named(WHOLE, size), _whole(database, plain, f"/plain/rewritten/{size}/")))
    for _ in range(scale.rounds):
        for case in cases:
            case.rounds.append(case.work(scale.returns))
    by_name = {case.name: case for case in cases}
    table = Table(f"reconnects on {database.name}", "times", _settings(database, scale))
    table.rows += [_row(case, by_name.get(case.whole)) for case in cases]
    return table


def _many(database: Database, server: sides.AppServer, token: str, count: int) -> Iterator[Case]:
    """Build the cases that missed nothing in so many documents."""
    names = [f"d{number}" for number in range(count)]
    for name in names:
        filled(server, token, SMALL, name)
    first = Client(server.port, sides.SESSION, token, {f"state:{name}": None for name in names})
    seen = {log: told["position"] for log, told in first.connected["logs"].items()}
    first.close()
    work = _return(database, server, token, first.connected["client_id"], seen)
    yield Case(f"back, nothing missed in {count} documents of {SMALL // 1000} KB", work)


def _one(database: Database, server: sides.AppServer, token: str, size: int) -> Iterator[Case]:
    """Build the cases of one document: more and more missed changes, then reading and repeating."""
    whole, here = _named(WHOLE, size), filled(server, token, size)
    writer = Client(server.port, sides.SESSION, token, {f"state:{MAIN}": None})
    seen = [writer.connected["logs"][f"state:{MAIN}"]["position"]]
    for number in range(max(MISSED)):
        seen.append(orjson.loads(writer.update(MAIN, f"value {number}"))["position"])
    for missed in MISSED:
        back = Client(server.port, sides.SESSION, token, {})
        back.close()
        logs = {f"state:{MAIN}": seen[-1 - missed]}
        work = _return(database, server, token, back.connected["client_id"], logs)
        yield Case(_named(f"back, {missed} changes missed", size), work, whole)
    writer.close()
    yield Case(_named("GET", size), _get(database, server, here.token, here.session, known=False))
    yield Case(
        _named("GET, If-None-Match", size),
        _get(database, server, here.token, here.session, known=True),
        _named("GET", size),
    )


def _again(database: Database, server: sides.AppServer, token: str, size: int) -> Case:
    """Build a case in its own session, because it writes."""
    filled(server, token, size)
    return Case(_named("the same update again", size), _repeat(database, server, token))


def _named(name: str, size: int) -> str:
    return f"{name}, {size // 1000} KB"


def _return(
    database: Database, server: sides.AppServer, token: str, client_id: str, logs: dict[str, Any]
) -> Callable[[int], Round]:
    def work(count: int) -> Round:
        meter, told, queries = Meter(database, server), 0, 0
        for _ in range(count):
            back = Client(server.port, sides.SESSION, token, logs, client_id)
            told, queries = told + back.bytes, back.recovery["receipt"]["queries"]
            back.close()
        return meter.stop(count), {"told bytes": told / count, "queries": queries}

    return work


def _whole(database: Database, server: sides.AppServer, path: str) -> Callable[[int], Round]:
    def work(count: int) -> Round:
        meter, told = Meter(database, server), 0
        for _ in range(count):
            line = Line(server.port, path)
            line.until(b'"document"')
            told += line.bytes
            line.close()
        return meter.stop(count), {"told bytes": told / count}

    return work


def _get(
    database: Database, server: sides.AppServer, token: str, session: str, *, known: bool
) -> Callable[[int], Round]:
    def work(count: int) -> Round:
        rest = Rest(server.port, token, session)
        etag = rest.call("GET", MAIN)[2]
        told = 0
        meter = Meter(database, server)
        for _ in range(count):
            status, body, _ = rest.call("GET", MAIN, known=etag if known else "")
            told += len(body)
            assert status == (304 if known else 200)
        cost = meter.stop(count)
        rest.close()
        return cost, {"told bytes": told / count}

    return work


def _repeat(database: Database, server: sides.AppServer, token: str) -> Callable[[int], Round]:
    """Repeat an update like a client that did not receive its receipt."""

    def work(count: int) -> Round:
        writer = Client(server.port, sides.SESSION, token, {})
        writer.update(MAIN, "once")
        meter, told = Meter(database, server), writer.bytes
        for _ in range(count):
            assert b'"replayed":true' in writer.repeat(MAIN, "once")
        cost = meter.stop(count)
        writer.close()
        return cost, {"told bytes": (writer.bytes - told) / count}

    return work


def _row(case: Case, whole: Case | None) -> Row:
    done = [cost for cost, _ in case.rounds]
    facts: dict[str, Any] = {name: median(c.facts()[name] for c in done) for name in done[0].facts()}
    facts |= {name: median(told[name] for _, told in case.rounds) for name in case.rounds[0][1]}
    ratio = None if whole is None else _cpu(whole) / _cpu(case)
    if whole is not None:
        facts["x fewer bytes"] = median(told["told bytes"] for _, told in whole.rounds) / max(1, facts["told bytes"])
    return Row(case.name, [c.done / c.seconds for c in done], None, 1 / _cpu(case), ratio, facts)


def _cpu(case: Case) -> float:
    """Return the CPU of the server and, if it is visible, of the database."""
    # A tiny run may end before the clock of CPU time, which has steps of 10 ms, has moved.
    return max(1e-6, median((cost.server + cost.database) / cost.done for cost, _ in case.rounds))


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    return {
        "machine": machine.described(),
        "database": database.settings,
        "server": "one uvicorn process for each side on one core, " + " ".join(sides.options() + sides.QUIET[:2]),
        "load": "one client, one request in flight; a return is a new connection, to the end of its recovery",
        "queries": "all of the connecting transaction, as its receipt tells",
        "cpu": "of the server with its helper process and of PostgreSQL's processes; ratio: the whole document / this",
        "rounds": f"{scale.rounds}, interleaved, {scale.returns} times each; medians",
    }

"""Change of one field of a small and of a large document: CPU, rows, log and wire bytes, against rewriting it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import orjson

from tests.benchmarks import costs, databases, machine, samples, sides
from tests.benchmarks.costs import Cost, Meter
from tests.benchmarks.databases import Database
from tests.benchmarks.dialogue import Client, Line, Rest
from tests.benchmarks.report import Row, Table
from tests.benchmarks.scale import Scale

SMALL = 5_000
MAIN = "main"
WARM = 5
COUNTED = 4
MANY = 64
# What changing.py does before it measures.
WARM_IN_PYTHON = 20
# Longer than two ticks of the server's rounds and the compaction of 5 MB.
SETTLE = 2.5
KEEP = {"BENCHMARK_PERSISTENT": "1", "BENCHMARK_KEEP_WAL": "1"}
REWRITTEN, IN_PLACE = "baseline: JSONField, load, change, save", "baseline: jsonb_set"

Round = tuple[Cost, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """Way to change a field of one document. ``work`` does it so many times; ``count`` is the number in a round."""

    name: str
    size: int
    count: int
    work: Callable[[int], Round]
    rounds: list[Round] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database, contextlib.ExitStack() as stack:
            yield _table(stack, replace(database, variables=database.variables | KEEP), scale)


def _table(stack: contextlib.ExitStack, database: Database, scale: Scale) -> Table:
    cases = _cases(stack, database, scale)
    for _ in range(scale.rounds):
        for case in cases:
            case.rounds.append(case.work(case.count))
    _count_rows(database, cases)
    table = Table(f"documents on {database.name}", "changes", _settings(database, scale))
    small = {case.name: case for case in cases if case.size == SMALL}
    whole = {case.size: case for case in cases if case.name == REWRITTEN}
    for case in cases:
        table.rows.append(_row(case, small[case.name], whole[case.size]))
    return table


def _cases(stack: contextlib.ExitStack, database: Database, scale: Scale) -> list[Case]:
    sizes = (SMALL, scale.large)
    tokens = iter(sides.prepared(database.variables, 4 * len(sizes), *sizes))
    ours = stack.enter_context(sides.serving(database.variables))
    bare = stack.enter_context(sides.serving(database.variables | {"BENCHMARK_NO_SNAPSHOTS": "1"}))
    plain = stack.enter_context(sides.serving(database.variables))
    cases = []
    for size in sizes:
        often, rarer, seldom = (
            scale.changes,
            -(-scale.changes // 4),
            scale.rewrites if size > SMALL else 10 * scale.rewrites,
        )
        here = [filled(server, next(tokens), size) for server in (ours, bare, bare, bare)]
        cases += [
            Case("WebSocket, with snapshots", size, 2 * often, _over_socket(database, ours, here[0])),
            Case("WebSocket, without snapshots", size, often, _over_socket(database, bare, here[1])),
            Case("REST PATCH, merge", size, rarer, _over_rest(database, bare, here[2], _merge)),
            Case("REST PATCH, JSON Patch", size, rarer, _over_rest(database, bare, here[2], _json_patch)),
            Case("Python, state.update", size, often, _in_python(database, bare, here[3])),
            Case(REWRITTEN, size, seldom, _plainly(database, plain, f"/plain/rewritten/{size}/")),
        ]
        if database.variables["DATABASE_URL"]:
            cases.append(Case(IN_PLACE, size, seldom, _plainly(database, plain, f"/plain/in-place/{size}/")))
    return cases


@dataclass(frozen=True, slots=True)
class Filled:
    """Create a session whose document ``main`` has a given size, and a snapshot."""

    token: str
    session: str


def filled(server: sides.AppServer, token: str, size: int, name: str = MAIN) -> Filled:
    """Give a session its document, over REST."""
    one = Client(server.port, sides.SESSION, token, {})
    found = Filled(token, one.connected["session"]["session_id"])
    one.close()
    rest = Rest(server.port, token, found.session)
    rest.call("PUT", name, orjson.dumps(samples.document(size)))
    rest.call("POST", f"{name}/compress", b"{}")
    rest.close()
    return found


def _over_socket(database: Database, server: sides.AppServer, here: Filled) -> Callable[[int], Round]:
    """Let one client write and wait for its receipt, and for the entry at another client."""
    log = f"state:{MAIN}"

    def work(count: int) -> Round:
        one = Client(server.port, sides.SESSION, here.token, {})
        other = Client(server.port, sides.SESSION, here.token, {log: None})
        told, acked = 0, 0
        for number in range(-WARM, count):
            if number == 0:
                meter, told, acked = Meter(database, server), other.bytes, one.bytes
            one.update(MAIN, f"value {number}")
            other.until(b'{"type":"entries"')
        bytes_ = {"ack bytes": (one.bytes - acked) / count, "told bytes": (other.bytes - told) / count}
        # Snapshots that are due belong to the round.
        time.sleep(SETTLE if count > MANY else 0)
        cost = meter.stop(count)
        one.close()
        other.close()
        return cost, bytes_

    return work


def _merge(number: int) -> bytes:
    return orjson.dumps({"merge": {"field": f"value {number}"}})


def _json_patch(number: int) -> bytes:
    return orjson.dumps({"patch": [{"op": "replace", "path": "/field", "value": f"value {number}"}]})


def _over_rest(
    database: Database, server: sides.AppServer, here: Filled, body: Callable[[int], bytes]
) -> Callable[[int], Round]:
    def work(count: int) -> Round:
        rest = Rest(server.port, here.token, here.session)
        acked = 0
        for number in range(-WARM, count):
            if number == 0:
                meter, acked = Meter(database, server), 0
            acked += len(rest.call("PATCH", MAIN, body(number))[1])
        cost = meter.stop(count)
        rest.close()
        return cost, {"ack bytes": acked / count}

    return work


def _in_python(database: Database, server: sides.AppServer, here: Filled) -> Callable[[int], Round]:
    def work(count: int) -> Round:
        meter = Meter(database, server)
        command = [sys.executable, "-m", "tests.benchmarks.changing", here.session, str(count)]
        answer = subprocess.run(
            command, cwd=sides.ROOT, env=database.variables, check=True, stdout=subprocess.PIPE, text=True
        )
        done = json.loads(answer.stdout.splitlines()[-1])
        cost = meter.stop(count)
        # It has written those too with which it warmed up.
        wal = cost.wal * count // (count + WARM_IN_PYTHON)
        return replace(cost, server=done["cpu"], seconds=done["seconds"], wal=wal), {}

    return work


def _plainly(database: Database, server: sides.AppServer, path: str) -> Callable[[int], Round]:
    """Run the baseline like ``_over_socket``; both clients receive its broadcast."""

    def work(count: int) -> Round:
        one, other = Line(server.port, path), Line(server.port, path)
        first = other.next(), one.next()
        told = acked = 0
        for number in range(-1, count):
            if number == 0:
                meter, told, acked = Meter(database, server), other.bytes, 0
            one.say({"seq": number, "value": f"value {number}"})
            acked += len(one.until(b'"ok"'))
            other.until(b'"document"')
        cost = meter.stop(count)
        one.close()
        other.close()
        assert all(first)
        return cost, {"ack bytes": acked / count, "told bytes": (other.bytes - told) / count}

    return work


def _count_rows(database: Database, cases: list[Case]) -> None:
    """Count rows apart from the rounds, because triggers have a cost of their own."""
    with costs.RowCounter(database.variables) as counter:
        for case in cases:
            case.work(COUNTED)
            case.rows.update(counter.take())


def _row(case: Case, small: Case, whole: Case) -> Row:
    """Build a row. ``ratio`` compares the CPU with the small document's; the last columns compare with rewriting."""
    done = [cost for cost, _ in case.rounds]
    facts: dict[str, Any] = {name: median(c.facts()[name] for c in done) for name in done[0].facts()}
    facts |= {name: median(told[name] for _, told in case.rounds) for name in case.rounds[0][1]}
    facts["rows"] = _rows(case)
    facts["wal ratio"] = _median_wal(case) / max(1, _median_wal(small))
    facts["x rewriting, cpu"] = _cpu(whole) / _cpu(case)
    facts["x rewriting, wal"] = _median_wal(whole) / max(1, _median_wal(case))
    name = f"{case.name}, {case.size // 1000} KB"
    return Row(name, [c.done / c.seconds for c in done], None, 1 / _cpu(case), _cpu(small) / _cpu(case), facts)


def _rows(case: Case) -> float:
    """Return the rows of the changes, without those of connecting."""
    changes = COUNTED + (1 if "baseline" in case.name else WARM_IN_PYTHON if "Python" in case.name else WARM)
    parts = ("state", "receipt INSERT", "client UPDATE", "baseline_")
    return sum(count for name, count in case.rows.items() if any(part in name for part in parts)) / changes


def _cpu(case: Case) -> float:
    """Return the CPU of the server and, if it is visible, of the database."""
    # A tiny run may end before the clock of CPU time, which has steps of 10 ms, has moved.
    return max(1e-6, median((cost.server + cost.database) / cost.done for cost, _ in case.rounds))


def _median_wal(case: Case) -> float:
    return median(cost.wal / cost.done for cost, _ in case.rounds)


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    return {
        "machine": machine.described(),
        "database": database.settings,
        "log": "bytes of the write-ahead log; SQLite's is not checkpointed during the run",
        "server": "one uvicorn process for each side on one core, " + " ".join(sides.options() + sides.QUIET[:2]),
        "load": "one client, one change in flight; over WebSocket it waits for another client to be told, too",
        "cpu": "of the server with its helper process and of PostgreSQL's processes; ratio: small document / this one",
        "rounds": f"{scale.rounds}, interleaved, {scale.changes} changes each (with snapshots twice as many, over REST"
        f" a quarter, {scale.rewrites} rewrites); medians",
    }

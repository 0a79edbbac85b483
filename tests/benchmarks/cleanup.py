"""Cleanup of a large database, beside a client that writes: its time for each row, and the client's longest wait.

BENCHMARK_SESSIONS sets another number of sessions.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks import databases, machine, sides
from tests.benchmarks.answering import AnsweringProcess
from tests.benchmarks.databases import Database
from tests.benchmarks.dialogue import Client
from tests.benchmarks.documents import MAIN
from tests.benchmarks.report import Row, Table
from tests.benchmarks.scale import Scale

PUBLICATIONS = 10  # for each session
REST_SECONDS = 0.006
STEPS = {"expired": "expire sessions", "publications": "trim topics", "purged": "purge sessions"}
# Once for all that is due, once more for nothing, and once when the ended sessions are past their retention.
SWEEPS = {"due": "", "nothing due": "", "retired": "retire"}

Wait = tuple[float, float]


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, int(os.environ.get("BENCHMARK_SESSIONS", scale.sessions)), scale)


def _table(database: Database, sessions: int, scale: Scale) -> Table:
    (token,) = sides.prepared(database.variables, 1)
    process = AnsweringProcess("tests.benchmarks.sweep", sessions, PUBLICATIONS * sessions, database=database)
    with contextlib.closing(process) as sweeper, sides.serving(database.variables) as server:
        client = Client(server.port, sides.SESSION, token, {})
        with _writing(client) as waits:
            time.sleep(scale.warm + scale.seconds)
            quiet = [wait for _, wait in waits]
            told = {name: sweeper.ask(before) for name, before in SWEEPS.items()}
        client.close()
    table = Table(f"cleanup on {database.name}", "rows", _settings(database, sessions))
    table.rows.append(Row("the client alone", [1.0], facts=_describe(quiet)))
    steps = {name: step for answer in told.values() for name, step in answer["steps"].items()}
    table.rows += [_row(case, steps[name], waits) for name, case in STEPS.items()]
    table.rows.append(_row("nothing due", told["nothing due"]["total"], waits))
    return table


def _row(case: str, step: dict[str, float], waits: list[Wait]) -> Row:
    """Build a row; the longest chunk is told by its CPU, because a busy machine makes every time longer."""
    seconds, rows = step["ended"] - step["began"], step["rows"]
    facts: dict[str, Any] = {"rows": int(rows), "seconds": seconds, "cpu": step["cpu"]}
    facts |= {"cpu us a row": 1e6 * step["cpu"] / rows, "longest chunk, cpu ms": 1000 * step["longest"]} if rows else {}
    during = [wait for start, wait in waits if start + wait >= step["began"] and start <= step["ended"]]
    return Row(case, [max(rows, 1.0) / seconds], facts=facts | _describe(during))


@contextlib.contextmanager
def _writing(client: Client) -> Iterator[list[Wait]]:
    """Let the client write, one update after the other; give the begin and the seconds of each."""
    waits: list[Wait] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(REST_SECONDS):
            began = time.monotonic()
            client.update(MAIN, f"value {began}")
            waits.append((began, time.monotonic() - began))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


def _describe(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits) or [0.0]
    places = {"p50_ms": len(ordered) // 2, "p99_ms": len(ordered) * 99 // 100, "longest_ms": -1}
    return {name: 1000 * ordered[place] for name, place in places.items()}


def _settings(database: Database, sessions: int) -> dict[str, str]:
    return {
        "machine": machine.described(),
        "database": database.settings,
        "data": f"{sessions} sessions, {PUBLICATIONS * sessions} publications; one in ten is due",
        "load": f"one client of a server, one update in flight, {1000 * REST_SECONDS:.0f} ms between two",
        "rounds": "one; the sweep runs in a process of its own",
    }

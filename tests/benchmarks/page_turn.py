"""Turn of a page of a list: our pages, alone and exact, against CursorPagination of REST framework."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.benchmarks import databases, machine, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Table, measured
from tests.benchmarks.scale import Scale

CASES = {
    "plain": "CursorPagination of REST framework",
    "live": "session_mgmt, LiveCursorPagination alone",
    "exact": "session_mgmt, LivePages: of one moment",
}


class Turner:
    """Process with the filled database, which turns pages when asked."""

    def __init__(self, database: Database, rows: int, token: str) -> None:
        core = machine.cores()[0]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.turns", str(rows), token],
            cwd=sides.ROOT,
            env=database.variables | {"BENCHMARK_PERSISTENT": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        self._hear()

    def turn(self, name: str, seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {seconds}\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    rows = scale.sessions // 2
    (token,) = sides.prepared(database.variables, 1)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    with contextlib.closing(Turner(database, rows, token)) as turner:
        for name in CASES:
            turner.turn(name, scale.warm)
        for _ in range(scale.rounds):
            for name, done in rounds.items():
                done.append(turner.turn(name, scale.seconds))
    table = Table(f"page turns on {database.name}", "pages", _settings(database, rows, scale))
    base = measured(CASES["plain"], rounds["plain"])
    table.rows += [base, *(measured(CASES[name], rounds[name], base) for name in ("live", "exact"))]
    return table


def _settings(database: Database, rows: int, scale: Scale) -> dict[str, str]:
    return {
        "machine": machine.described(),
        "database": database.settings,
        "data": f"a list of {rows} rows, three of one moment each, with an index in its order; pages of 50",
        "load": "one process that calls the view with a session's token, from page to page through the list",
        "rounds": f"{scale.rounds}, interleaved, {scale.warm} s to warm up, {scale.seconds} s measured; medians",
    }

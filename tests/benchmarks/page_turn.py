"""Turn of a page of a list: our pages, alone and exact, against CursorPagination of REST framework."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.benchmarks import databases, machine, sides
from tests.benchmarks.answering import AnsweringProcess
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Table, measured
from tests.benchmarks.scale import Scale

CASES = {
    "plain": "CursorPagination of REST framework",
    "live": "session_mgmt, LiveCursorPagination alone",
    "exact": "session_mgmt, LivePages: of one moment",
}


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    rows = scale.sessions // 2
    (token,) = sides.prepared(database.variables, 1)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    process = AnsweringProcess("tests.benchmarks.turns", rows, token, database=database, cores=machine.cores()[0])
    with contextlib.closing(process) as turner:
        for name in CASES:
            turner.ask(name, scale.warm)
        for _ in range(scale.rounds):
            for name, done in rounds.items():
                done.append(turner.ask(name, scale.seconds))
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

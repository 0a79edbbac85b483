"""Question and answer without a write: ours, plain Channels, and Socket.IO's acknowledgements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.benchmarks import databases, rivals
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Table, measured
from tests.benchmarks.scale import Scale

AT_ONCE = 16


def run(scale: Scale) -> Iterator[Table]:
    """Return one table: no database is touched."""
    with databases.sqlite() as database, contextlib.ExitStack() as stack:
        yield _table(stack, database, scale)


def _table(stack: contextlib.ExitStack, database: Database, scale: Scale) -> Table:
    people = rivals.invited(database, scale.connections + 1)
    cases, left_out = rivals.cases(recorded=False)
    loads = {case: rivals.started(stack, database, case, people, [case.room()]) for case in cases}
    rounds: dict[str, list[dict[str, Any]]] = {}
    for load in loads.values():
        load.ask(step="arrive", at_once=AT_ONCE)
    for _ in range(scale.rounds):
        for case, load in loads.items():
            rounds.setdefault(case.name, []).append(load.ask(step="ask", warm=scale.warm, seconds=scale.seconds))
    table = Table("round trip", "round trips", _settings(database, scale, left_out))
    for name, done in rounds.items():
        table.rows.append(measured(name, done, table.rows[0] if table.rows else None))
    table.rows = rivals.beside_socket_io(table.rows)
    return table


def _settings(database: Database, scale: Scale, left_out: str) -> dict[str, str]:
    return rivals.settings(database, left_out) | {
        "load": f"{scale.connections} connections, one question in flight on each, no write",
        "rounds": f"{scale.rounds}, interleaved, {scale.warm} s to warm up, {scale.seconds} s measured; medians",
    }

"""Connects until everything is ready, by new and by returning clients, against an authenticated plain consumer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Any

from tests.benchmarks import databases, rivals, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table, measured
from tests.benchmarks.rivals import Case
from tests.benchmarks.scale import Scale

AT_ONCE = 64
BACK = ", back"


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database, contextlib.ExitStack() as stack:
            yield _table(stack, database, scale)


def _table(stack: contextlib.ExitStack, database: Database, scale: Scale) -> Table:
    people = rivals.invited(database, scale.guests + 1)
    cases, left_out = rivals.cases()
    loads = {case: rivals.started(stack, database, case, people, [case.room()]) for case in cases}
    rounds: dict[str, list[dict[str, Any]]] = {}
    for load in loads.values():
        _come_and_go(load, scale)
    for _ in range(scale.rounds):
        for case, load in loads.items():
            _one_round(case, load, scale, rounds)
    table = Table(f"connects on {database.name}", "connects", _settings(database, scale, left_out))
    table.rows += _rows(rounds)
    return table


def _come_and_go(load: sides.Load, scale: Scale) -> dict[str, Any]:
    """Measure how everybody comes, and what their going costs the server."""
    come = load.ask(step="arrive", at_once=AT_ONCE)
    gone = load.ask(step="leave", seconds=scale.settle)
    return come | {"close_us": 1e6 * gone["server_cpu"] / gone["done"]}


def _one_round(case: Case, load: sides.Load, scale: Scale, rounds: dict[str, list[dict[str, Any]]]) -> None:
    if case.dialect == "ours":
        rounds.setdefault(case.name + BACK, []).append(_come_and_go(load, scale))
    load.ask(step="forget")
    rounds.setdefault(case.name, []).append(_come_and_go(load, scale))


def _rows(rounds: dict[str, list[dict[str, Any]]]) -> list[Row]:
    rows: list[Row] = []
    for name, done in rounds.items():
        row = measured(name, done, rows[0] if rows else None)
        rows.append(replace(row, facts=row.facts | {"close us": median(one["close_us"] for one in done)}))
    return rivals.beside_socket_io(rows)


def _settings(database: Database, scale: Scale, left_out: str) -> dict[str, str]:
    return rivals.settings(database, left_out) | {
        "load": f"{scale.guests} clients of a user each, {AT_ONCE} of them on their way, until the server says that all"
        " is ready; ours follow their session's own log and a topic, the others are in a room",
        "back": "with a client's name and its places, nothing missed",
        "close": "CPU of the server in the time after all connections were reset, for each",
        "rounds": f"{scale.rounds}, interleaved; medians",
    }

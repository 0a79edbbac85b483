"""Durable publications to readers of whom none filters, all have one filter, or each has one of its own; and to readers
about each of whom ``allow_entry`` is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.benchmarks import databases, machine, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.pickers import ALL
from tests.benchmarks.report import Row, Table, measured
from tests.benchmarks.scale import Scale

TEXT = "t" * 200
# As many as a topic with allow_entry may have in a process.
READERS = 200


@dataclass(frozen=True, slots=True)
class Case:
    """Readers with a kind of filter, and the place that publications are for: everybody's, or one reader's."""

    name: str
    filter: str
    place: str = f'"{ALL}"'
    kind: str = "offers"

    @property
    def topic(self) -> str:
        return f"{self.kind}:{self.filter}"

    def frame(self) -> str:
        data = f'{{"place":{self.place},"text":"{TEXT}"}}'
        return f'{{"type":"publish","seq":$seq,"topic":"{self.topic}","data":{data}}}'

    def reach(self, scale: Scale) -> int:
        return 1 if self.place == "$place" else scale.listeners


def run(scale: Scale) -> Iterator[Table]:
    """Return one table, with the publications in SQLite."""
    cases = [
        Case("no filter", "none"),
        Case("one filter for all", "equal"),
        Case("own filters, all match", "different"),
        Case("own filters, one matches", "different", "$place"),
    ]
    with databases.sqlite() as database, contextlib.ExitStack() as stack:
        yield _table(stack, "filters", database, cases, scale)


def run_allow_entry(scale: Scale) -> Iterator[Table]:
    """Return one table with as many readers as such a topic may have in a process, with the publications in SQLite."""
    cases = [Case("nobody is asked", "none"), Case("allow_entry, all allowed", "none", kind="notes")]
    few = replace(scale, listeners=min(scale.listeners, READERS))
    with databases.sqlite() as database, contextlib.ExitStack() as stack:
        yield _table(stack, "allow_entry", database, cases, few)


def _table(stack: contextlib.ExitStack, name: str, database: Database, cases: list[Case], scale: Scale) -> Table:
    loads = _loads(stack, database, cases, scale)
    windows = (scale.publications, 1)[: scale.variants]
    rounds: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for window in windows:
        for _ in range(scale.rounds):
            for case in cases:
                how = {"window": window, "warm": scale.warm, "seconds": _last(scale), "frame": case.frame()}
                told = loads[case.topic].run(**how, reach=case.reach(scale))
                told["done"] /= case.reach(scale)
                rounds.setdefault((case.name, window), []).append(told)
    table = Table(name, "publications", _settings(database, scale))
    for window in windows:
        table.rows += _rows(cases, rounds, window)
    return table


def _last(scale: Scale) -> float:
    """Return the seconds of a round; a publication for everybody is a thousand pieces of work."""
    return min(scale.seconds, 2 * scale.settle)


def _rows(cases: list[Case], rounds: dict[tuple[str, int], list[dict[str, Any]]], window: int) -> Iterator[Row]:
    base: Row | None = None
    for case in cases:
        done = rounds[case.name, window]
        row = measured(f"{case.name}, {window} in flight", done, base)
        yield replace(row, facts=row.facts | {"unwanted": max(one["unwanted"] for one in done)})
        base = base or row


def _loads(stack: contextlib.ExitStack, database: Database, cases: list[Case], scale: Scale) -> dict[str, sides.Load]:
    """Start one server, with readers of the topic of each case."""
    topics = {case.topic: case.filter for case in cases}
    tokens = sides.prepared(database.variables, len(topics) * scale.listeners)
    server = stack.enter_context(sides.serving(database.variables))
    loads = {}
    for number, (topic, filter_) in enumerate(topics.items()):
        some = tokens[number * scale.listeners :][: scale.listeners]
        plan = {"filter": filter_, "logs": [f"topic:{topic}"], "mark": ""}
        loads[topic] = sides.Load(server, "picking", sides.SESSION, scale.listeners, some, **plan)
        stack.callback(loads[topic].close)
    return loads


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    pairs = zip(("server", "load"), machine.cores(), strict=True)
    return {
        "machine": machine.described(),
        "cores": ", ".join(f"{name} on {sorted(core)}" for name, core in pairs),
        "database": database.settings,
        "server": "one uvicorn process for all, " + " ".join(sides.options() + sides.QUIET[:2]),
        "load": f"1 publisher, {scale.listeners} readers of each topic (it is one of them), {len(TEXT)} bytes"
        " of text; a new publication for each that reached all who want it",
        "lost": "readers who had not exactly what their filter matches",
        "latency": "from publishing to the last receiver",
        "rounds": f"{scale.rounds}, interleaved, {scale.warm} s to warm up, {_last(scale)} s measured; medians",
    }

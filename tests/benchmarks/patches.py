"""Acknowledged updates from 64 connections: ours, against a plain consumer with one ORM transaction each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Any

from tests.benchmarks import databases, machine, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.peers import VALUE
from tests.benchmarks.report import Table, measured
from tests.benchmarks.scale import Scale

MAIN = "state:main"
PLAIN = "plain Channels consumer, persistent database connections"
DEFAULTS = "plain Channels consumer, Django's defaults"
OURS = "session_mgmt, one session each"
OURS_FOLLOWED = "session_mgmt, as the SDK: based, following its document"


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    tokens = sides.prepared(database.variables, 2 * scale.connections)
    rounds: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        loads = _loads(stack, database, scale, tokens)
        for window in (scale.window, 1):
            for _ in range(scale.rounds):
                for case, load in loads.items():
                    result = load.run(window=window, warm=scale.warm, seconds=scale.seconds)
                    rounds.setdefault((case, window), []).append(result)
    table = Table(f"patches on {database.name}", "updates", _settings(database, scale))
    for window in (scale.window, 1):
        base = measured(f"{PLAIN}, {window} in flight", rounds[PLAIN, window])
        slower = measured(f"{DEFAULTS}, {window} in flight", rounds[DEFAULTS, window], base)
        table.rows += [base, slower]
        for case in (OURS, OURS_FOLLOWED):
            done = rounds[case, window]
            batch = median(r["written"] / max(1, r["batches"]) for r in done)
            row = measured(f"{case}, {window} in flight", done, base, **{"mean batch": batch})
            table.rows.append(replace(row, facts=row.facts | {"x defaults": row.value / max(slower.value, 1e-9)}))
    return table


def _loads(stack: contextlib.ExitStack, database: Database, scale: Scale, tokens: list[str]) -> dict[str, sides.Load]:
    plain = stack.enter_context(sides.serving(database.variables | {"BENCHMARK_PERSISTENT": "1"}))
    defaults = stack.enter_context(sides.serving(database.variables))
    ours = stack.enter_context(sides.serving(database.variables))

    def load(server: sides.AppServer, path: str, tokens: list[str], **plan: Any) -> sides.Load:
        made = sides.Load(server, "patches", path, scale.connections, tokens, **plan)
        stack.callback(made.close)
        return made

    half = scale.connections
    return {
        PLAIN: load(plain, sides.UPDATES, [], logs=[]),
        DEFAULTS: load(defaults, sides.UPDATES, [], logs=[]),
        OURS: load(ours, sides.SESSION, tokens[:half], logs=[]),
        OURS_FOLLOWED: load(ours, sides.SESSION, tokens[half:], logs=[MAIN], based=True),
    }


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    pairs = zip(("server", "load"), machine.cores(), strict=True)
    return {
        "machine": machine.described(),
        "cores": ", ".join(f"{name} on {sorted(core)}" for name, core in pairs) + "; PostgreSQL where it likes",
        "database": database.settings,
        "server": "one uvicorn process for each side, " + " ".join(sides.options() + sides.QUIET[:2]),
        "load": f"{scale.connections} connections, closed loop, values of {len(VALUE)} bytes;"
        " max_frames_per_second raised",
        "baseline": "one ORM transaction of UPDATE and INSERT for each message",
        "rounds": f"{scale.rounds}, interleaved, {scale.warm} s to warm up, {scale.seconds} s measured; medians",
    }

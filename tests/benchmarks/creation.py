"""Creation of sessions in process: ours with token and first event, against ``django.contrib.sessions``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks import databases, machine, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table
from tests.benchmarks.scale import Scale

BASE = "contrib.sessions create() + save()"
CASES = {
    BASE: "contrib",
    "contrib.sessions, one save() of a new session": "contrib_once",
    "session_mgmt create (session, activity, event, token)": "ours",
    "session_mgmt create, of a user (counts the user's sessions)": "ours_of_user",
}


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    sides.prepared(database.variables, 0)
    command = [sys.executable, "-m", "tests.benchmarks.create", str(scale.rounds), str(scale.creations)]
    answer = subprocess.run(
        [*command, *CASES.values()],
        cwd=sides.ROOT,
        env=database.variables | {"BENCHMARK_PERSISTENT": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    rates: dict[str, list[float]] = json.loads(answer.stdout.splitlines()[-1])
    table = Table(f"creation on {database.name}", "sessions", _settings(database, scale))
    base = Row(BASE, rates["contrib"])
    for case, name in CASES.items():
        row = Row(case, rates[name], facts={"mean ms": 1000 / sorted(rates[name])[len(rates[name]) // 2]})
        table.rows.append(row if name == "contrib" else Row(case, row.values, row.value / base.value, facts=row.facts))
    return table


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    return {
        "machine": machine.described(),
        "database": database.settings,
        "rounds": f"{scale.rounds}, interleaved, {scale.creations} sessions each, one process and connection; medians",
    }

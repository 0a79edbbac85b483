"""Idle connections: memory of the server for each, and CPU of their beats."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from tests import services
from tests.benchmarks import databases, machine, rivals
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table
from tests.benchmarks.rivals import Case, People
from tests.benchmarks.scale import Scale

AT_ONCE, FIRST = 32, 20
# Named by the logs that are followed: the session's own and a topic, a document too, and none.
BEATING = ", 2 logs"
ROOMS = {BEATING: "topic:room:1", ", 2 logs and a document": "topic:room:1 state:main", ", no log": ""}


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    people = rivals.invited(database, scale.guests + FIRST + 1)
    cases, left_out = rivals.cases()
    table = Table(f"idle on {database.name}", "kB", _settings(database, scale, left_out), per="connection")
    for case in cases:
        rooms = dict(list(ROOMS.items())[: scale.variants]) if case.dialect == "ours" else {"": case.room()}
        for name, room in rooms.items():
            beats = scale.beats if name == BEATING or case.dialect != "ours" else 0.0
            row = _measured(database, replace(case, name=case.name + name), people, room, scale, beats)
            base = table.rows[0] if table.rows else row
            table.rows.append(replace(row, ratio=row.value / base.value if base.value else None))
    return table


def _measured(database: Database, case: Case, people: People, room: str, scale: Scale, beats: float) -> Row:
    """Measure with a fresh server, because no allocator gives everything back."""
    keys = people.keys(case)
    with services.running(case.server(database.variables)) as server, contextlib.ExitStack() as stack:
        assert server.process is not None
        # The first connections load what all need.
        first = stack.enter_context(rivals.crowd(server, case, keys[: FIRST + 1], [room]))
        first.ask(step="arrive", at_once=AT_ONCE)
        before = machine.resident_bytes(server.process.pid)
        load = stack.enter_context(rivals.crowd(server, case, keys[FIRST:], [room]))
        load.ask(step="arrive", at_once=AT_ONCE)
        told = load.ask(step="beat", seconds=beats or scale.settle, asking=case.dialect in {"plain", "recorded"})
        each = (machine.resident_bytes(server.process.pid) - before) / told["done"]
        facts = {"beats cpu %": 100 * told["server_cpu"] / told["seconds"]} if beats else {}
        return Row(case.name, [each / 1000], facts=facts | {"lost": told["away"]})


def _settings(database: Database, scale: Scale, left_out: str) -> dict[str, str]:
    return rivals.settings(database, left_out) | {
        "load": f"{scale.guests} connections that do nothing, after {FIRST} that loaded what all need",
        "memory": "resident, of a fresh server for each case; the kernel's own memory of a socket is not in it",
        "beats": f"CPU of the server in {scale.beats} s with all of them connected. Ours and Socket.IO send a ping each"
        " 25 s; the clients of plain Channels ask once in 25 s and are answered; a row is marked then",
        "rounds": "one",
    }

"""Members of one topic who come, enter, stay, and change within a second, beside as many plain subscribers."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests import services
from tests.benchmarks import databases, gathering, machine, rivals, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table, measured
from tests.benchmarks.scale import Scale

AT_ONCE = 64
SHOWN, SHARE = 500, 0.05
PLAIN, MEMBERS = "plain subscribers", "members"
ROOMS = {PLAIN: "topic:room:1", MEMBERS: f"{gathering.HALL} {gathering.WHO_IS_THERE}"}


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    spares, shown = max(1, int(SHARE * scale.members)), min(SHOWN, scale.members // 2)
    people = scale.members + spares
    tokens = sides.prepared(database.variables, 2 * people)
    with _gathered(database, PLAIN, tokens[:people], spares) as load:
        plain = _come_and_stay(load, scale)
    with _gathered(database, MEMBERS, tokens[people:], spares) as load:
        _declare(load, shown)
        come = load.ask(step="arrive", at_once=AT_ONCE)
        enter = load.ask(step="enter")
        stay = _stay(load, scale)
        swap = load.ask(step="swap", seconds=1.0)
    assert max(enter["named"], swap["named"]) <= shown
    table = Table(f"presence on {database.name}", "clients", _settings(database, scale, spares, shown))
    base, idle = measured(f"{PLAIN} come", [plain[0]]), _stay_row(f"{PLAIN} stay", plain[1])
    table.rows += [
        base,
        measured(f"{MEMBERS} come", [come], base),
        _row(f"{scale.members} enter at once", enter, base),
        _row(f"{spares} leave and {spares} enter in a second", swap, base),
        idle,
        _stay_row(f"{MEMBERS} stay", stay, idle),
    ]
    return table


@contextlib.contextmanager
def _gathered(database: Database, case: str, tokens: list[str], spares: int) -> Iterator[sides.Load]:
    """Start a fresh server, and the load of a case."""
    (way,) = list(rivals.ways().values())[-1:]
    with sides.serving(database.variables, way) as server:
        plan = {"dialect": "ours", "credentials": tokens, "rooms": [ROOMS[case]], "spares": spares}
        with contextlib.closing(sides.Load(server, "gathering", "", 0, [], **plan)) as load:
            yield load


def _declare(load: sides.Load, shown: int) -> None:
    """Have the server know a topic with presence: in those of other benchmarks nothing looks for members."""
    (server,) = load.servers
    with urllib.request.urlopen(f"http://{services.HOST}:{server.port}/halls/{shown}", timeout=60):
        pass


def _come_and_stay(load: sides.Load, scale: Scale) -> tuple[dict[str, Any], dict[str, Any]]:
    return load.ask(step="arrive", at_once=AT_ONCE), _stay(load, scale)


def _stay(load: sides.Load, scale: Scale) -> dict[str, Any]:
    """Let everybody be there and do nothing; the work done is a second of each client."""
    told = load.ask(step="beat", seconds=scale.beats, asking=False)
    return (
        told
        | {"done": told["done"] * told["seconds"], "lost": told["away"]}
        | dict.fromkeys(("p50_ms", "p99_ms", "refused"), 0)
    )


def _stay_row(case: str, told: dict[str, Any], base: Row | None = None) -> Row:
    row = measured(case, [told], base)
    # Nobody waits for anything.
    return replace(row, facts={name: fact for name, fact in row.facts.items() if not name.endswith(" ms")})


def _row(case: str, told: dict[str, Any], base: Row) -> Row:
    row = measured(case, [told], base)
    return replace(row, facts=row.facts | {"entries": told["entries"], "bytes": told["bytes"]})


def _settings(database: Database, scale: Scale, spares: int, shown: int) -> dict[str, str]:
    pairs = zip(("server", "load"), machine.cores(), strict=True)
    return {
        "machine": machine.described(),
        "cores": ", ".join(f"{name} on {sorted(core)}" for name, core in pairs) + "; PostgreSQL where it likes",
        "database": database.settings,
        "server": "one uvicorn process, a fresh one for plain subscribers and for members",
        "load": f"{scale.members + spares} clients of a session each, {AT_ONCE} of them on their way; plain ones follow"
        f" a topic, members a topic and who is there; {shown} members are named at most",
        "come": "connect and subscribe, until the server says that all is ready",
        "enter, leave": "until everybody was told the last number of members; latency is that of the answer",
        "entries, bytes": "of the log that tells who is there, as one follower is sent them",
        "stay": f"{scale.beats} s; a second of each client",
        "rounds": "one",
    }

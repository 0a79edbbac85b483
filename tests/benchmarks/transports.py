"""WebSocket, streams and long polls beside each other and beside peers: to connect, to resume, to be idle, and storms.

And how long a client takes to be ready where the network lets no WebSocket through.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from statistics import median
from typing import Any

from session_mgmt.client import SessionClient
from tests import programs, services
from tests.benchmarks import databases, machine, rivals, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table, measured
from tests.benchmarks.rivals import Case, People
from tests.benchmarks.scale import Scale
from tests.browser.hostile import Hostile
from tests.suites.packages import installed

AT_ONCE, FIRST = 64, 20
# What the network does with a WebSocket, by the mode of the proxy.
BLOCKED = {
    "open": "lets it through",
    "refuse": "refuses it",
    "drop": "cuts the handshake",
    "swallow": "swallows all",
}
Rounds = list[dict[str, Any]]


def run(scale: Scale) -> Iterator[Table]:
    """Return one table per database."""
    for opening in databases.all_databases():
        with opening as database:
            yield _table(database, scale)


def _table(database: Database, scale: Scale) -> Table:
    cases, left_out = _cases()
    if any(case.dialect == "eventstream" for case in cases):
        database = replace(database, variables={**database.variables, "BENCHMARK_EVENTSTREAM": "1"})
    people = rivals.invited(database, scale.guests + FIRST + 1, sum(case.is_ours for case in cases))
    table = Table(f"transports on {database.name}", "connects", _settings(database, scale, left_out))
    for case in cases:
        table.rows.append(_measured(database, case, people, scale, table.rows[0] if table.rows else None))
    table.rows = _beside_polls(table.rows)
    table.rows += _fall_back(database, cases[0], people, scale)
    return table


def _cases() -> tuple[list[Case], str]:
    """Return all cases, ours over WebSockets first, and why some are left out."""
    *_, way = rivals.ways().values()
    found = [
        Case("ours, WebSocket", "ours", way, number=0),
        Case("ours, stream", "ours, sse", way, number=1),
        Case("ours, long poll", "ours, longpoll", way, number=2),
    ]
    reasons = []
    try:
        programs.node()
        installed(rivals.NODE)
        found += [Case(f"{rivals.SOCKET_IO}, WebSocket", "socket.io"), Case("Socket.IO, polls", "socket.io, polls")]
    except programs.Unavailable as error:
        reasons.append(str(error))
    if find_spec("django_eventstream") and not os.environ.get("BENCHMARK_MIGRATED"):
        found.append(Case("django-eventstream, stream", "eventstream"))
    else:
        reasons.append("django-eventstream: not installed")
    return found, "; ".join(reasons)


def _measured(database: Database, case: Case, people: People, scale: Scale, base: Row | None) -> Row:
    """Measure all of a case with one server, idle connections first, because no allocator gives everything back."""
    keys = people.keys(case)
    with services.running(case.server(database.variables)) as server, contextlib.ExitStack() as stack:
        # The first connections load what all need.
        first = stack.enter_context(rivals.crowd(server, case, keys[: FIRST + 1], [case.room()]))
        first.ask(step="arrive", at_once=AT_ONCE)
        load = stack.enter_context(rivals.crowd(server, case, keys[FIRST:], [case.room()]))
        facts = _hold(server, load, scale)
        for one in (first, load):
            one.ask(step="leave", seconds=scale.settle)
        connects, resumes, storms = Rounds(), Rounds(), Rounds()
        for _ in range(scale.rounds):
            load.ask(step="forget")
            connects.append(load.ask(step="arrive", at_once=AT_ONCE))
            # Who has heard nothing yet has no place to go on from, with peers.
            load.ask(step="live", how="say")
            resumes.append(_miss(load, scale) | load.ask(step="arrive", at_once=AT_ONCE, whole=True))
            storms.append(
                _miss(load, scale)
                | load.ask(step="come_back", silence=rivals.PATIENCE)
                | load.ask(step="live", how="say")
            )
            load.ask(step="leave", seconds=scale.settle)
    row = measured(case.name, connects, base)
    return replace(row, facts={**row.facts, **_tell(connects, resumes, storms), **facts})


def _hold(server: sides.Server, load: sides.Load, scale: Scale) -> dict[str, float]:
    """Let everybody come and do nothing; what each costs, in memory, threads and CPU."""
    assert server.process is not None
    pid = server.process.pid
    before, threads = machine.resident_bytes(pid), machine.count_threads(pid)
    load.ask(step="arrive", at_once=AT_ONCE)
    told = load.ask(step="beat", seconds=scale.beats, asking=False)
    return {
        "idle kB": (machine.resident_bytes(pid) - before) / told["done"] / 1000,
        "threads": machine.count_threads(pid) - threads,
        "idle cpu %": 100 * told["server_cpu"] / told["seconds"],
        "away": told["away"],
    }


def _miss(load: sides.Load, scale: Scale) -> dict[str, Any]:
    load.ask(step="leave", seconds=scale.settle)
    return load.ask(step="say", count=scale.missed)


def _tell(connects: Rounds, resumes: Rounds, storms: Rounds) -> dict[str, float]:
    return {
        "connect ms": _spend(connects),
        "resume ms": _spend(resumes),
        "storm ms": _spend(storms),
        "storm s": median(one["seconds"] for one in storms),
        "storm load %": 100 * median(one["load_cpu"] / one["seconds"] for one in storms if one["seconds"]),
        "missing of each": max(one["missing"] for one in storms),
        "doubled": max(one["doubled"] for one in storms),
        "asked to wait": max(one["refused"] for one in storms),
        "deaf after": max(one["deaf"] + one["away"] for one in storms),
        "refused": 0,
    }


def _spend(rounds: Rounds) -> float:
    """Return the CPU of the server for each client, in milliseconds."""
    return median(1000 * one["server_cpu"] / one["done"] for one in rounds)


def _beside_polls(rows: list[Row]) -> list[Row]:
    """Add the ratio of the CPU of a storm to that of Socket.IO's polls."""
    base = next((row.facts["storm ms"] for row in rows if row.case == "Socket.IO, polls"), None)
    for row in rows if base else ():
        row.facts["x Socket.IO's polls"] = row.facts["storm ms"] / base
    return rows


def _fall_back(database: Database, case: Case, people: People, scale: Scale) -> Iterator[Row]:
    """Measure how soon clients are connected, one after the other, by what the network does with WebSockets."""
    with services.running(case.server(database.variables)) as server:
        for mode, name in BLOCKED.items():
            times = asyncio.run(_come_through(server.port, mode, people.keys(case)[: scale.returns]))
            spread = {"p50 ms": 1000 * median(times), "p99 ms": 1000 * max(times)}
            yield Row(f"the network {name}", [1 / one for one in times], facts=spread)


async def _come_through(port: int, mode: str, tokens: list[str]) -> list[float]:
    network, times = Hostile(port, mode), []
    listening = await network.start()
    for token in tokens:
        began = time.perf_counter()
        async with SessionClient.start(network.url + "api/", token=token) as client:
            times.append(time.perf_counter() - began)
            assert (client.stats().transport == "websocket") == (mode == "open")
    listening.close()
    await network.reset()
    return times


def _settings(database: Database, scale: Scale, left_out: str) -> dict[str, str]:
    return rivals.settings(database, left_out) | {
        "load": f"{scale.guests} clients of a user each, {AT_ONCE} of them on their way until ready; ours follow their"
        " session's own log and a topic, the others a room or a channel; requests of HTTP/1.1, kept alive",
        "resume": f"the same with {scale.missed} missed entries of 200 bytes, until all have come",
        "storm": f"all at once, with {scale.missed} missed entries",
        "idle": f"growth of a fresh server with all of them connected after {FIRST} others, and {scale.beats} s of"
        " beats or polls",
        "network": f"the Python client through a proxy, {scale.returns} times, from its start until it is"
        " connected; p99 is the longest",
        "rounds": f"{scale.rounds}; medians, and the most of what went wrong",
    }

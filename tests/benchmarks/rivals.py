"""Servers that are compared in storms: ours by each class for WebSockets, plain Channels, and Socket.IO."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests import programs, services
from tests.benchmarks import machine, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row
from tests.suites.packages import installed

PLAIN, RECORDED = "plain Channels", "plain Channels, with rows"
SOCKET_IO, OURS = "Socket.IO", "ours"
# Seconds of silence after which a server that loses nothing is given up; another one may have nothing more to give.
PATIENCE = 60.0
NODE = Path(__file__).resolve().parent / "node"
# The project's own class for uvicorn's option --ws.
OWN = "session_mgmt.uvicorn:WebSocketProtocol"


class SocketIoServer(sides.Server):
    """Server of tests/benchmarks/node; with a Redis it keeps what was sent in a stream there."""

    def __init__(self, redis_url: str = "") -> None:
        self._node, _ = programs.node()
        installed(NODE)
        super().__init__()
        self._redis_url = redis_url

    def command(self) -> list[str]:
        return [str(self._node), str(NODE / "server.mjs")]

    def popen_options(self) -> dict[str, object]:
        given = {"PORT": str(self.port), **({"REDIS_URL": self._redis_url} if self._redis_url else {})}
        return {**super().popen_options(), "cwd": NODE, "env": {"PATH": os.environ["PATH"], **given}}

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{services.HOST}:{self.port}/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class People:
    """Users. Each has a cookie for Django's sessions, and a token for ours; ``count`` of them for each case."""

    cookies: list[str]
    tokens: list[str]
    count: int

    def keys(self, case: Case) -> list[str]:
        """Return the keys of a case: servers of ours share a database, so their clients must not share sessions."""
        first = case.number * self.count
        return (self.tokens if case.is_ours else self.cookies)[first : first + self.count]


def invited(database: Database, count: int, cases_of_ours: int = 0) -> People:
    """Create the tables, and so many users for each case of ours."""
    command = [sys.executable, "-m", "tests.benchmarks.people", str(count * (cases_of_ours or len(ways())))]
    answer = subprocess.run(
        command, cwd=sides.ROOT, env=database.variables, check=True, stdout=subprocess.PIPE, text=True
    )
    cookies, tokens = zip(*json.loads(answer.stdout.splitlines()[-1]), strict=True)
    return People(list(cookies), list(tokens), count)


def ways() -> dict[str, str]:
    """Return the classes for WebSockets to measure, by the name of their case."""
    chosen = os.environ.get("BENCHMARK_WS")
    if chosen:
        return {f"{OURS}, --ws {chosen}": chosen}
    found = {f"{OURS}, portable": sides.PORTABLE}
    with contextlib.suppress(ModuleNotFoundError):
        if find_spec(OWN.partition(":")[0]):
            found[f"{OURS}, own class"] = OWN
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """Server that is measured, by the language that its clients speak."""

    name: str
    dialect: str
    way: str = sides.PORTABLE
    redis_url: str = ""
    number: int = 0

    def server(self, variables: Mapping[str, str]) -> sides.Server:
        if self.is_foreign:
            return SocketIoServer(self.redis_url)
        persistent = {"BENCHMARK_PERSISTENT": "1"} if self.dialect in ("plain", "recorded") else {}
        return sides.AppServer({**variables, **persistent}, self.way)

    @property
    def is_foreign(self) -> bool:
        return self.dialect.startswith("socket.io")

    @property
    def is_ours(self) -> bool:
        return self.dialect.startswith("ours")

    def room(self) -> str:
        return f"topic:room:{self.number}" if self.is_ours else "room"


def cases(recorded: bool = True) -> tuple[list[Case], str]:
    """Return all cases, the base of the ratios first, and why one is left out."""
    found = [Case(PLAIN, "plain"), *([Case(RECORDED, "recorded")] if recorded else [])]
    reason = ""
    try:
        programs.node()
        installed(NODE)
        found.append(Case(SOCKET_IO, "socket.io"))
    except programs.Unavailable as error:
        reason = str(error)
    ours = [Case(name, "ours", way, number=number) for number, (name, way) in enumerate(ways().items())]
    return [*found, *ours], reason


def with_streams(found: list[Case], redis_url: str) -> list[Case]:
    """Add Socket.IO with its packets in Redis streams, if it is there at all."""
    more = [replace(one, name=f"{one.name}, Redis streams", redis_url=redis_url) for one in found if one.is_foreign]
    return found + more


@contextlib.contextmanager
def crowd(
    servers: sides.Server | Sequence[sides.Server], case: Case, keys: Sequence[str], rooms: Iterable[str], **plan: Any
) -> Iterator[sides.Load]:
    """Start the load of a case: the last key is the speaker's, each other one a guest's."""
    load = sides.Load(
        servers, "crowd", "", 0, [], dialect=case.dialect, credentials=keys[:-1], speaker=keys[-1], rooms=list(rooms),
        **plan,
    )  # fmt: skip
    try:
        yield load
    finally:
        load.close()


def started(
    stack: contextlib.ExitStack, database: Database, case: Case, people: People, rooms: Iterable[str], **plan: Any
) -> sides.Load:
    """Start the server of a case, and its load."""
    server = stack.enter_context(services.running(case.server(database.variables)))
    return stack.enter_context(crowd(server, case, people.keys(case), rooms, **plan))


def beside_socket_io(rows: list[Row]) -> list[Row]:
    """Add the ratio to Socket.IO, per second of the server's CPU and in time."""
    base = next((row for row in rows if SOCKET_IO in row.case and row.value and row.per_core), None)
    if base is None or not base.per_core:
        return rows
    for row in rows:
        row.facts["x Socket.IO"] = row.value / base.value
        row.facts["x Socket.IO, core"] = (row.per_core or 0.0) / base.per_core
    return rows


def settings(database: Database, left_out: str) -> dict[str, str]:
    """State what is the same in every benchmark of rivals."""
    pairs = zip(("servers", "load"), machine.cores(), strict=True)
    said = {
        "machine": machine.described(),
        "cores": ", ".join(f"{name} on {sorted(core)}" for name, core in pairs) + "; databases where they like",
        "database": database.settings,
        "server": "one process for each case; uvicorn with " + " ".join(sides.options()[4:] + sides.QUIET[:2]),
        "plain Channels": "AuthMiddlewareStack with a session cookie, in-memory layer, persistent database connections",
    }
    return said | ({"Socket.IO": f"left out: {left_out}"} if left_out else {"Socket.IO": "4.8, in memory"})

"""Outages of what the servers stand on: Redis, PostgreSQL with the connections that they hold to it, and SQLite's file
with its lock and its disk.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import redis as redis_client

from tests import services
from tests.faults.history import History
from tests.faults.hosts import WRONG_BY, HostedPostgres, volume_filled
from tests.faults.servers import AppServer
from tests.faults.shortages import connections_taken, disk_full, lock_held
from tests.services import ServerT

LONGEST = 0.5
# SQLite's own patience in servers that meet shortages: the lock is held for several times as long.
LOCK_SECONDS = 0.2
LONGER = 3
CUT_SECONDS = 0.2
# What comes in one turn. To forget everything costs nothing, so Redis does it twice.
REDIS = ("redis_kill", "redis_pause", "redis_flush", "redis_flush")
POSTGRES = ("postgres_kill", "postgres_restart", "postgres_pause", "postgres_cut", "postgres_deafen", "postgres_crowd")
SQLITE = ("sqlite_lock", "disk_full")
# Of a database's host (tests/faults/hosts.py). Each wrong time ends, which moves the clock the other way.
CLOCK = ("clock_back", "clock_ahead")
VOLUME = ("volume_full", "volume_full")
HOST_SECONDS = 4.0
CLIENTS = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
BELLS = f"{CLIENTS} AND application_name = 'session_mgmt doorbell'"


class Outages:
    """Takes one of the servers given away for a moment, or what it knows, or its connections: what is named by
    ``kinds``, in a random order, and each as often as it is named.
    """

    def __init__(
        self,
        history: History,
        chance: random.Random,
        kinds: Sequence[str],
        redis: services.Redis | None,
        postgres: services.Postgres | None,
        sqlite: Path,
        servers: Sequence[AppServer],
        place: Path,
    ) -> None:
        self._history, self._chance = history, chance
        self._left = chance.sample(kinds, len(kinds))
        self._redis, self._postgres, self._sqlite, self._servers = redis, postgres, sqlite, servers
        self._place = place

    def count_due(self, rounds: int) -> int:
        """Return how many are to come in the next one of so many rounds."""
        return -(-len(self._left) // max(1, rounds))

    async def cause(self, unanswered: int) -> None:
        """Cause the next one, with so many requests unanswered, and return when the server is back."""
        name = self._left.pop()
        seconds = self._chance.uniform(0.0, LONGEST)
        self._history.add("nemesis", "outage", what=name, unanswered=unanswered)
        await asyncio.to_thread(self._cause, name, seconds)
        self._history.add("nemesis", "restored", what=name)

    def _cause(self, name: str, seconds: float) -> None:
        kind, _, what = name.partition("_")
        server: services.Redis | services.Postgres | None = self._redis if kind == "redis" else self._postgres
        if kind == "clock":
            _move_clock(_given(self._postgres), WRONG_BY if what == "ahead" else -WRONG_BY)
        elif kind == "volume":
            _last(volume_filled(self._place), HOST_SECONDS)
        elif what == "lock":
            _last(lock_held(self._sqlite), LOCK_SECONDS + LONGER * seconds)
        elif what == "full":
            _last(disk_full(self._servers), seconds)
        elif what == "kill":
            _kill(_given(server), seconds)
        elif what == "pause":
            _pause(_given(server), seconds)
        elif what == "flush":
            redis_client.Redis.from_url(_given(server).url).flushall()
        elif what == "restart":
            _given(server).restart()
        elif what == "crowd":
            _last(connections_taken(_given(self._postgres)), LONGER * seconds)
        else:
            _end_connections(_given(self._postgres), CLIENTS if what == "cut" else BELLS, LONGER * seconds)


def _given(server: ServerT | None) -> ServerT:
    assert server is not None
    return server


def _move_clock(server: services.Postgres, seconds: int) -> None:
    assert isinstance(server, HostedPostgres) and server.clock is not None
    server.clock.set(seconds)
    time.sleep(HOST_SECONDS)
    server.clock.set(0)


def _kill(server: services.Server, seconds: float) -> None:
    server.kill()
    time.sleep(seconds)
    server.start()


def _pause(server: services.Server, seconds: float) -> None:
    server.pause()
    time.sleep(seconds)
    server.resume()


def _last(shortage: AbstractContextManager[None], seconds: float) -> None:
    with shortage:
        time.sleep(seconds)


def _end_connections(server: services.Postgres, which: str, seconds: float) -> None:
    """End connections again and again, for so long."""
    end = time.monotonic() + seconds
    with psycopg.connect(server.url, autocommit=True) as admin:
        while True:
            admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}")
            if time.monotonic() > end:
                break
            time.sleep(CUT_SECONDS)

"""Outages of what the servers stand on: Redis, PostgreSQL with the connections that they hold to it, and SQLite's file
with its lock and its disk.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import redis as redis_client

from tests import services
from tests.faults.history import History
from tests.faults.servers import AppServer
from tests.faults.shortages import connections_taken, disk_full, lock_held

LONGEST = 0.5
# SQLite's own patience in servers that meet shortages: the lock is held for several times as long.
LOCK_SECONDS = 0.2
LONGER = 3
CLIENTS = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
BELLS = f"{CLIENTS} AND application_name = 'session_mgmt doorbell'"


class Outages:
    """Takes one of the servers given away for a moment, or what it knows, or its connections."""

    def __init__(
        self,
        history: History,
        chance: random.Random,
        redis: services.Redis | None,
        postgres: services.Postgres | None,
        sqlite: Path | None,
        servers: Sequence[AppServer],
    ) -> None:
        self._history, self._chance = history, chance
        self._kinds: list[tuple[str, Callable[[float], object]]] = []
        if redis is not None:
            self._kinds += [
                ("redis_kill", lambda seconds: _kill(redis, seconds)),
                ("redis_pause", lambda seconds: _pause(redis, seconds)),
                ("redis_flush", lambda _: redis_client.Redis.from_url(redis.url).flushall()),
            ]
        if postgres is not None:
            self._kinds += [
                ("postgres_kill", lambda seconds: _kill(postgres, seconds)),
                ("postgres_restart", lambda _: postgres.restart()),
                ("postgres_pause", lambda seconds: _pause(postgres, seconds)),
                ("postgres_cut", lambda _: _end_connections(postgres, CLIENTS)),
                ("postgres_deafen", lambda _: _end_connections(postgres, BELLS)),
                ("postgres_crowd", lambda seconds: _last(connections_taken(postgres), LONGER * seconds)),
            ]
        if sqlite is not None:
            self._kinds += [
                ("sqlite_lock", lambda seconds: _last(lock_held(sqlite), LOCK_SECONDS + LONGER * seconds)),
                ("disk_full", lambda seconds: _last(disk_full(servers), seconds)),
            ]

    def __bool__(self) -> bool:
        return bool(self._kinds)

    async def cause(self) -> None:
        """Cause one of them, and return when the server is back."""
        name, work = self._chance.choice(self._kinds)
        seconds = self._chance.uniform(0.0, LONGEST)
        self._history.add("nemesis", "outage", what=name)
        await asyncio.to_thread(work, seconds)
        self._history.add("nemesis", "restored", what=name)


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


def _end_connections(server: services.Postgres, which: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}")

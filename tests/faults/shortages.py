"""Databases that are there and give nothing: each is short of something as long as a block lasts."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg

from tests import services
from tests.faults.servers import AppServer

OURS = "session_mgmt shortage"
OTHERS = f"backend_type = 'client backend' AND application_name <> '{OURS}'"
# Not one page of SQLite's goes into a file of this size.
FULL_AT = 4096
SQLITE_SECONDS = 60.0


@contextmanager
def lock_held(file: Path) -> Iterator[None]:
    """Hold the only writer's place of an SQLite database, as a tool that somebody runs beside the servers does."""
    with closing(sqlite3.connect(file, timeout=SQLITE_SECONDS, isolation_level=None)) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        yield
        foreign.execute("ROLLBACK")


@contextmanager
def disk_full(servers: Sequence[AppServer]) -> Iterator[None]:
    """Let these servers write no page of any file, as where the disk or a quota is used up."""
    pids = [server.process.pid for server in servers if server.process is not None]
    before = [(pid, resource.prlimit(pid, resource.RLIMIT_FSIZE)) for pid in pids]
    try:
        for pid, (_, hard) in before:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_AT, hard))
        yield
    finally:
        for pid, limits in before:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def writes_refused(server: services.Postgres) -> Iterator[None]:
    """Let PostgreSQL refuse every write, as one does that an operator has made read-only."""
    with psycopg.connect(server.url, autocommit=True, options="-c default_transaction_read_only=off") as admin:
        _set_read_only(server, admin, "on")
        try:
            yield
        finally:
            _set_read_only(server, admin, "off")


def _set_read_only(server: services.Postgres, admin: psycopg.Connection, value: str) -> None:
    admin.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
    # Back ends that are there hear of it at a time of their own; new ones begin with it.
    admin.execute("SELECT pg_reload_conf()")
    while True:
        with psycopg.connect(server.url) as new:
            if new.execute("SHOW default_transaction_read_only").fetchone() == (value,):
                break
        time.sleep(0.01)


@contextmanager
def connections_taken(server: services.Postgres) -> Iterator[None]:
    """Take every connection that PostgreSQL gives, also those that others had."""
    with ExitStack() as stack, psycopg.connect(server.url, autocommit=True, application_name=OURS) as admin:
        while True:
            with suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(psycopg.connect(server.url, application_name=OURS))
            ended = admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}").fetchall()
            if not ended:
                break
            # They are gone a moment later, and somebody takes their places.
            time.sleep(0.01)
        yield

"""Databases of a benchmark, all durable, and their own statement of it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests import programs, services
from tests.benchmarks import sides
from tests.sqlite_files import copy_file


@dataclass(frozen=True, slots=True)
class Database:
    """Database. ``variables`` point a process at it; ``settings`` states its durability."""

    name: str
    variables: dict[str, str]
    settings: str


@contextlib.contextmanager
def sqlite() -> Iterator[Database]:
    """Create a file in WAL mode with ``synchronous=FULL``, as project/databases.py opens it."""
    with tempfile.TemporaryDirectory(prefix="session-mgmt-benchmark-") as folder:
        file, model = Path(folder, "db.sqlite3"), os.environ.get("BENCHMARK_MIGRATED")
        if model:
            copy_file(Path(model), file)
        said = f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL"
        yield Database("SQLite", sides.environment("", file), said)


@contextlib.contextmanager
def postgres() -> Iterator[Database]:
    """Use DATABASE_URL if it is given, or start a server with fsync."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("DATABASE_URL") or stack.enter_context(services.postgres(durable=True)).url
        yield Database("PostgreSQL", sides.environment(url, Path("unused")), _told(url))


def _told(url: str) -> str:
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
    with psycopg.connect(url) as connection:
        values = {name: connection.execute(f"SHOW {name}").fetchone() for name in names}  # type: ignore[call-overload]
    return "PostgreSQL " + ", ".join(f"{name}={value[0]}" for name, value in values.items())


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Use REDIS_URL if it is given, or start a server."""
    with contextlib.ExitStack() as stack:
        yield os.environ.get("REDIS_URL") or stack.enter_context(services.redis()).url


def all_databases() -> Iterator[contextlib.AbstractContextManager[Database]]:
    """Open SQLite, and PostgreSQL if this machine has it; BENCHMARK_DATABASES selects some."""
    wanted = os.environ.get("BENCHMARK_DATABASES", "sqlite,postgres").split(",")
    if "sqlite" in wanted:
        yield sqlite()
    if "postgres" in wanted and _has_postgres():
        yield postgres()


def _has_postgres() -> bool:
    if os.environ.get("DATABASE_URL"):
        return True
    try:
        programs.postgres()
    except programs.Unavailable:
        return False
    return True

"""Cost of a piece of work: CPU of the server with its helper process, CPU and log bytes of the database, rows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks import machine, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.sides import AppServer


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds and bytes of ``done`` pieces of work. ``wal`` counts bytes of the database's write-ahead log."""

    done: int
    seconds: float
    server: float
    database: float
    load: float
    wal: int
    snapshots: int

    def facts(self) -> dict[str, float]:
        """Return the cost of each piece."""
        return {
            "server ms": 1000 * self.server / self.done,
            "database ms": 1000 * self.database / self.done,
            "wal bytes": self.wal / self.done,
            "snapshots": self.snapshots,
            "load cpu %": 100 * self.load / self.seconds,
        }


class Meter:
    """Reader of all counters of one server and its database."""

    def __init__(self, database: Database, server: AppServer) -> None:
        assert server.process is not None
        self._pid, self._url = server.process.pid, database.variables["DATABASE_URL"]
        self._path = Path(database.variables["SQLITE_PATH"])
        self._wal = self._path.with_name(self._path.name + "-wal")
        self._database = postmaster(self._url) if self._url else 0
        self._before = self._read()

    def start(self) -> None:
        self._before = self._read()

    def stop(self, done: int) -> Cost:
        seconds, server, database, load, wal, snapshots = (
            now - then for now, then in zip(self._read(), self._before, strict=True)
        )
        return Cost(done, seconds, server, database, load, int(wal), int(snapshots))

    def _read(self) -> tuple[float, ...]:
        return (
            time.perf_counter(),
            machine.family_seconds(self._pid),
            machine.family_seconds(self._database) if self._database else 0.0,
            time.process_time(),
            self._written(),
            self._snapshots(),
        )

    def _written(self) -> float:
        if not self._url:
            return self._wal.stat().st_size if self._wal.exists() else 0
        return float(asked(self._url, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))

    def _snapshots(self) -> int:
        """Return the number of snapshots ever taken, of any document."""
        sql = "SELECT COALESCE(MAX(id), 0) FROM session_mgmt_statesnapshot"
        if self._url:
            return int(asked(self._url, sql))
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            return int(connection.execute(sql).fetchone()[0])


def asked(url: str, sql: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(sql.encode()).fetchone()
    return row[0] if row else None


def postmaster(url: str) -> int:
    """Return the parent of all processes of a PostgreSQL on this machine; 0 if it runs on another machine."""
    with psycopg.connect(url) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat")
        if not stat.exists() or "postgres" not in stat.read_text():
            return 0
        return int(stat.read_text().rpartition(")")[2].split()[1])


class RowCounter:
    """Process that counts the written rows by triggers, for as long as the block lasts."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)

    def __enter__(self) -> RowCounter:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.counting"],
            cwd=sides.ROOT,
            env=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask("start")
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._ask("stop")

    def take(self) -> dict[str, int]:
        """Return the counts since the last time, by table and kind of write."""
        found: dict[str, int] = self._ask("take")["rows"]
        return found

    def _ask(self, verb: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(verb + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

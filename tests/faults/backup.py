"""Copy of the whole database, taken while the test runs and put back later, as an operator does after an accident."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

NAME = "session_mgmt_backup"


class SqliteBackup:
    """Copy made by the online backup API; the server goes on writing meanwhile."""

    online = True

    def __init__(self, database: Path) -> None:
        self._database = database
        self._copy = database.with_suffix(".backup")

    def take(self) -> None:
        with (
            contextlib.closing(sqlite3.connect(self._database, timeout=20)) as source,
            contextlib.closing(sqlite3.connect(self._copy)) as target,
        ):
            source.backup(target)

    def put_back(self) -> None:
        """Replace the database of a server that is down."""
        for suffix in ("-wal", "-shm"):
            Path(f"{self._database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(self._copy, self._database)


class PostgresBackup:
    """Copy by template, which PostgreSQL makes only of a database that nobody uses: the server must be down."""

    online = False

    def __init__(self, url: str) -> None:
        self._name = conninfo.conninfo_to_dict(url)["dbname"]
        # A server that is no database of ours: commands on a database are given from another one.
        self._admin = conninfo.make_conninfo(url, dbname="template1")

    def take(self) -> None:
        self._copy(self._name, NAME)

    def put_back(self) -> None:
        self._copy(NAME, self._name)

    def _copy(self, source: object, target: object) -> None:
        names = {"source": sql.Identifier(str(source)), "target": sql.Identifier(str(target))}
        with psycopg.connect(self._admin, autocommit=True) as admin:
            # What a killed server has left connected.
            admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [source])
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {target} WITH (FORCE)").format(**names))
            admin.execute(sql.SQL("CREATE DATABASE {target} TEMPLATE {source}").format(**names))


Backup = SqliteBackup | PostgresBackup


def make_backup(database_url: str, sqlite_path: Path) -> Backup:
    return PostgresBackup(database_url) if database_url else SqliteBackup(sqlite_path)

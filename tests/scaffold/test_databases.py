"""The project's databases: the embedded one belongs to its owner alone."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.databases import build_sqlite


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The mask under which other people of a machine may read new files."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def write_something(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (secret)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    return connection


def read_modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


PRIVATE = {name: 0o600 for name in ("db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm")}


def test_only_the_owner_may_read_a_new_embedded_database(tmp_path: Path) -> None:
    path = tmp_path / "var" / "db.sqlite3"
    assert build_sqlite(path)["NAME"] == path
    connection = write_something(path)
    assert read_modes(path.parent) == PRIVATE
    connection.close()


def test_an_embedded_database_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    connection = write_something(path)
    assert set(read_modes(tmp_path).values()) == {0o644}
    build_sqlite(path)
    assert read_modes(tmp_path) == PRIVATE
    connection.close()

"""Files that the processes of a run share."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.sqlite_files import make_once, migrating_once


def make_connection(file: Path) -> SimpleNamespace:
    """Return what is used of Django's connection, before its test database is made."""
    return SimpleNamespace(creation=SimpleNamespace(_create_test_db=lambda: file), settings_dict={"NAME": file})


def test_the_second_process_of_a_run_begins_with_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sqlite_files._find_folder", lambda: tmp_path)
    first, second = make_connection(tmp_path / "first"), make_connection(tmp_path / "second")
    with migrating_once(first):
        file = first.creation._create_test_db()
        assert not file.exists()
        with contextlib.closing(sqlite3.connect(file)) as made:
            made.execute("CREATE TABLE migrated (name)")
    with migrating_once(second), contextlib.closing(sqlite3.connect(second.creation._create_test_db())) as copied:
        assert copied.execute("SELECT * FROM migrated").fetchall() == []


def test_a_file_for_all_processes_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sqlite_files._find_folder", lambda: tmp_path)
    made: list[Path] = []

    def make(file: Path) -> None:
        made.append(file)
        with contextlib.closing(sqlite3.connect(file)) as new:
            new.execute("CREATE TABLE migrated (name)")

    for _ in range(2):
        with contextlib.closing(sqlite3.connect(make_once("all.sqlite3", make))) as found:
            assert found.execute("SELECT * FROM migrated").fetchall() == []
    assert len(made) == 1

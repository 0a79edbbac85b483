"""Commands whose database is away, or has no tables yet, say so in one line and end with 3."""

from __future__ import annotations

import contextlib
import sqlite3
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import load_command_class
from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError

from session_mgmt.management.base import NO_DATABASE, DatabaseCommand
from tests.docs.tables import COMMANDS

pytestmark = pytest.mark.sqlite
NAMES = sorted(path.stem for path in COMMANDS.glob("*.py") if path.stem not in ("__init__", "session_types"))


def fail(command: Any, error: Exception) -> None:
    def handle(*args: Any, **options: Any) -> None:
        raise error

    command.handle = handle
    given = {"skip_checks": True, "force_color": False, "no_color": True}
    command.execute(stdout=StringIO(), stderr=StringIO(), **given)


@pytest.mark.parametrize("name", NAMES)
def test_a_command_tells_a_missing_database_in_a_line(name: str) -> None:
    for error, told in (
        (OperationalError("unable to open database file\n"), "The database did not answer: unable to open"),
        (OperationalError("no such table: session_mgmt_token"), "run manage.py migrate"),
    ):
        with pytest.raises(CommandError, match=told) as raised:
            fail(load_command_class("session_mgmt", name), error)
        assert raised.value.returncode == NO_DATABASE


def test_a_file_that_is_no_database_is_told_in_a_line(tmp_path: Path) -> None:
    place = tmp_path / "shop.sqlite3"
    place.write_bytes(b"no database" * 100)
    with contextlib.closing(sqlite3.connect(place)) as connection, pytest.raises(sqlite3.DatabaseError) as found:
        connection.execute("SELECT 1 FROM sqlite_master")
    error = DatabaseError(str(found.value))
    error.__cause__ = found.value
    with pytest.raises(CommandError, match="cannot be read: file is not a database") as raised:
        fail(DatabaseCommand(), error)
    assert raised.value.returncode == NO_DATABASE


def test_an_error_of_a_statement_keeps_its_traceback() -> None:
    with pytest.raises(DatabaseError):
        fail(DatabaseCommand(), DatabaseError("syntax error"))

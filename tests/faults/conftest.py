"""Servers of the tests that run real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.servers import AppServer, environment, migrate
from tests.services import Postgres
from tests.settings import DATABASE


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """Start a PostgreSQL server for this test alone where the run is on PostgreSQL; nothing for SQLite."""
    if DATABASE == "sqlite":
        return ""
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.url


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "faults.sqlite3"


@pytest.fixture
def server(sqlite_file: Path) -> Iterator[AppServer]:
    """Start one server with a fresh SQLite database, for this test alone."""
    variables = environment("", "", sqlite_file, None)
    migrate(variables)
    server = AppServer("A", variables)
    server.start()
    yield server
    server.close()

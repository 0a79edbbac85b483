"""Servers of the tests that run real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.conftest import or_skip
from tests.faults.servers import AppServer, environment, migrate
from tests.services import Postgres
from tests.settings import DATABASE


@pytest.fixture(scope="session")
def migrated(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """A PostgreSQL server with the tables, stopped, to be copied."""
    with or_skip(pytestconfig), services.postgres() as server:
        migrate(environment(server.url, "", Path("unused"), None))
        server.stop()
        yield server


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Start a PostgreSQL server for this test alone where the run is on PostgreSQL; nothing for SQLite."""
    if DATABASE == "sqlite":
        yield ""
        return
    with services.running(Postgres(model=request.getfixturevalue("migrated"))) as server:
        yield server.url


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

"""Servers of the tests that run real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.conftest import or_skip
from tests.faults.final import Database
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
def database(database_url: str, sqlite_file: Path) -> Database:
    """Make the tables of a database for this test alone, on which servers started by `variables` work."""
    migrate(environment(database_url, "", sqlite_file, None))
    return Database(database_url, sqlite_file)


@pytest.fixture
def variables(database: Database, database_url: str, sqlite_file: Path) -> dict[str, str]:
    """Give the environment of servers on this test's database, without a broker."""
    return environment(database_url, "", sqlite_file, None)


@pytest.fixture
def server(variables: dict[str, str]) -> Iterator[AppServer]:
    """Start one server with a database of this test alone."""
    server = AppServer("A", variables)
    server.start()
    yield server
    server.close()

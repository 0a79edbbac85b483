"""Servers of the tests that run real processes."""

from __future__ import annotations

import pytest

from tests.services import Postgres
from tests.settings import DATABASE


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """Start a PostgreSQL server for this test alone where the run is on PostgreSQL; nothing for SQLite."""
    if DATABASE == "sqlite":
        return ""
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.url

"""Database clock. It alone decides about deadlines, because the clocks of servers differ."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connections

_SQL = {
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}


def read(using: str) -> datetime:
    """Return the database's current time: aware, in UTC."""
    connection = connections[using]
    with connection.cursor() as cursor:
        # Not the start of the transaction (`now()`): one that waited for a lock would judge by an old time.
        cursor.execute(_SQL.get(connection.vendor, "SELECT CURRENT_TIMESTAMP"))
        return make_aware(cursor.fetchone()[0])


def make_aware(value: Any) -> datetime:
    """Convert a moment as the database gives it: in UTC, whatever the project's ``USE_TZ``."""
    moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def as_text(moment: datetime) -> str:
    """Format a moment as RFC 3339 in UTC with microseconds: ``2026-11-23T12:05:00.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

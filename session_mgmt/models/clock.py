"""The database's clock, which decides all deadlines, because the clocks of servers differ."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import connections

_SQL = {
    # Read without a zone, so that neither `USE_TZ` nor the connection's zone can change the value.
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
_AS_FAR_AS_MICROSECONDS = len("2026-11-23T12:05:00.000000")


def read(using: str) -> datetime:
    """Return the database's current time: aware, in UTC."""
    connection = connections[using]
    with connection.cursor() as cursor:
        # Not `now()`, which is the start of the transaction: after a wait for a lock that time is old.
        cursor.execute(_SQL.get(connection.vendor, "SELECT CURRENT_TIMESTAMP"))
        return make_aware(cursor.fetchone()[0])


def make_aware(value: Any) -> datetime:
    """Convert a moment as the database gives it: in UTC, whatever the project's ``USE_TZ``."""
    moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def as_text(moment: datetime) -> str:
    """Format a moment as RFC 3339 in UTC with microseconds: ``2026-11-23T12:05:00.000000Z``."""
    # Nearly all are in UTC already, and converting takes longer than formatting.
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    # Cut off the offset by its known length; a search for its text costs a fifth more.
    return moment.isoformat(timespec="microseconds")[:_AS_FAR_AS_MICROSECONDS] + "Z"


def timestamp_as_text(timestamp: float) -> str:
    """Format seconds since 1970 as a moment. The seconds are cached, because many calls fall into the same second."""
    second = int(timestamp)
    return f"{_second_as_text(second)}.{int((timestamp - second) * 1_000_000):06d}Z"


@lru_cache(maxsize=4)
def _second_as_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")

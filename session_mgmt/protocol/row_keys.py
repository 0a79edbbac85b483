"""Keys of rows: values by which lists are ordered, as JSON that every client compares as the database does."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

from session_mgmt.protocol.position import MAX_OFFSET

_MICROSECOND = timedelta(microseconds=1)


def write_value(value: Any) -> Any:
    """Return a column's value as JSON. Raises ``TypeError`` for a value that orders nothing.

    Times become text that sorts as they do; numbers that JSON does not carry exactly, and decimals, become digits.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _write_number(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, datetime):
        return _write_moment(value)
    if isinstance(value, time):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        # Zero has no sign to a database; SQLite gives one all the same.
        return format(value if value else abs(value), "f")
    if isinstance(value, timedelta):
        return write_value(value // _MICROSECOND)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"A list cannot be ordered by a value of type {type(value).__name__}.")


def _write_number(value: float) -> Any:
    if isinstance(value, float) and (not isfinite(value) or abs(value) <= MAX_OFFSET):
        # What is not finite has no place in JSON, and is refused where it is published.
        return value
    # To JSON a large float is an integer like any other.
    return int(value) if -MAX_OFFSET <= value <= MAX_OFFSET else str(int(value))


def _write_moment(value: datetime) -> str:
    # Without USE_TZ a moment names no zone, and neither does its text.
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

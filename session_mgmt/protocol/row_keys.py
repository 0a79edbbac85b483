"""Keys of rows: the values by which a list is ordered, as JSON that every client can compare like the database."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

from session_mgmt.protocol.position import MAX_OFFSET

_MICROSECOND = timedelta(microseconds=1)


def write_value(value: Any) -> Any:
    """Return a column's value as JSON. Raises ``TypeError`` for a value that lists cannot be ordered by.

    Times become text with the same order. Decimals, and numbers that JSON cannot represent exactly, become digits.
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
        # For databases zero has no sign, but SQLite returns one.
        return format(value if value else abs(value), "f")
    if isinstance(value, timedelta):
        return write_value(value // _MICROSECOND)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"A list cannot be ordered by a value of type {type(value).__name__}.")


def _write_number(value: float) -> Any:
    if isinstance(value, float) and (not isfinite(value) or abs(value) <= MAX_OFFSET):
        # A value that is not finite is not valid JSON, and is refused when it is published.
        return value
    # In JSON a large float is written like an integer.
    return int(value) if -MAX_OFFSET <= value <= MAX_OFFSET else str(int(value))


def _write_moment(value: datetime) -> str:
    # Without USE_TZ a datetime has no time zone, so its text has none either.
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

"""Errors of the database, told apart: tables that nobody has made yet are no overload."""

from __future__ import annotations

from django.db import DatabaseError

from session_mgmt.exceptions import Unavailable

# SQLSTATE of a table and of a column that do not exist.
_UNDEFINED = ("42P01", "42703")
_MIGRATE = "The tables of session_mgmt are missing or older than the code: run manage.py migrate."


def is_unmigrated(error: BaseException) -> bool:
    """Return True for a statement about a table or a column that does not exist yet."""
    state = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, DatabaseError) and (
        state in _UNDEFINED or str(error).startswith(("no such table:", "no such column:"))
    )


def explain_outage(error: BaseException) -> Unavailable:
    """Return the refusal for an error of the database; it names the remedy where there is one."""
    return Unavailable(_MIGRATE if is_unmigrated(error) else None, retry_after=1.0)

"""Errors for a database that is away, as functions of a project meet them."""

from __future__ import annotations

import sqlite3
from typing import NoReturn

import psycopg
from django.db import OperationalError, utils


def fail_in_postgres(state: str) -> Exception:
    """Build psycopg's error for a SQLSTATE; it has none of its own where the connection was lost."""
    return psycopg.errors.lookup(state)("the server's text") if state else psycopg.OperationalError("connection lost")


def fail_in_sqlite(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> Exception:
    """Build the error of Python's ``sqlite3`` for a result code."""
    error = kind("SQLite's text")
    error.sqlite_errorcode = code  # type: ignore[attr-defined,unused-ignore]
    return error


def raise_as_django(cause: Exception) -> NoReturn:
    """Raise what Django makes of a driver's error."""
    names = [kind.__name__ for kind in type(cause).__mro__]
    kind = next(getattr(utils, name) for name in names if name.endswith("Error") and hasattr(utils, name))
    raise kind(*cause.args) from cause


def raise_away() -> NoReturn:
    """Raise what Django makes of a server that was told to stop."""
    raise OperationalError("terminating connection") from fail_in_postgres("57P01")

"""Errors of Django's for a database that is away, as functions of a project meet them."""

from __future__ import annotations

from typing import NoReturn

from django.db import OperationalError


class DriverError(Exception):
    """What a driver raised; PostgreSQL's ``sqlstate`` or SQLite's ``sqlite_errorcode``."""

    def __init__(self, sqlstate: str | None = None, sqlite_errorcode: int | None = None) -> None:
        super().__init__("the driver's text")
        self.sqlstate, self.sqlite_errorcode = sqlstate, sqlite_errorcode


def raise_away(cause: Exception | None = None) -> NoReturn:
    """Raise what Django makes of a driver's error, initially of a server that was told to stop."""
    raise OperationalError("terminating connection") from (cause or DriverError(sqlstate="57P01"))

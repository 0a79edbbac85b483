"""Classify errors of the database: a missing migration, for example, must not look like an overload."""

from __future__ import annotations

import logging
import threading
from time import monotonic

from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpResponse

from session_mgmt.exceptions import Unavailable

TELL_EVERY = 10.0
# SQLSTATE of a missing table and of a missing column.
_UNDEFINED = ("42P01", "42703")
# The server was demoted or set to read-only; psycopg calls this an internal error.
_READ_ONLY = "25006"
_NO_PRIVILEGE = "42501"
_DEADLOCK = "40P01"
_LOCK_TIMEOUT = "55P03"
# SQLite's codes if it did not get a lock within its `timeout`, of a damaged file, and of one that is no database.
_SQLITE_BUSY, _SQLITE_CORRUPT, _SQLITE_NOTADB = 5, 11, 26
_MIGRATE = "The tables of session_mgmt are missing or older than the code: run manage.py migrate."


class OutageLog:
    """Log failures of the database with at most one line every ten seconds, which also counts the failures since the
    last.

    Thousands of calls fail alike while the database is away, and a traceback of each would fill the disk.
    """

    def __init__(self, logger: logging.Logger, text: str) -> None:
        self._logger, self._text = logger, text
        self._lock = threading.Lock()
        self._silent_until = 0.0
        self._untold = 0

    def tell(self, error: BaseException, now: float | None = None) -> None:
        """Log a failure, or only count it if one was logged a moment ago."""
        now = monotonic() if now is None else now
        with self._lock:
            self._untold += 1
            if now < self._silent_until:
                return
            count, self._untold, self._silent_until = self._untold, 0, now + TELL_EVERY
        more = f" ({count} times since the last line)" if count > 1 else ""
        self._logger.warning("%s%s: %s", self._text, more, str(error).strip())


def keep_from_log(response: HttpResponse) -> None:
    """Keep Django from logging a planned refusal as an error: a crowd that is told to come again would fill the log.

    Django logs each response of 500 and more that does not have this mark, and has no setting for it.
    """
    response._has_been_logged = True  # type: ignore[attr-defined]


def is_outage(error: BaseException) -> bool:
    """Return True if the database is away or takes no writes now: the same statement may succeed later."""
    # This includes a lock that SQLite did not get, and a statement that was cancelled: both may succeed later.
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return is_read_only(error)


def is_unmigrated(error: BaseException) -> bool:
    """Return True for an error about a table or a column that does not exist yet."""
    state = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, DatabaseError) and (
        # SQLite has no error codes for these, only messages.
        state in _UNDEFINED or str(error).startswith(("no such table:", "no such column:"))
    )


def is_read_only(error: BaseException) -> bool:
    """Return True for a write to a read-only database."""
    state = getattr(error.__cause__, "sqlstate", None)
    # SQLite has no error code for this, only a message.
    return state == _READ_ONLY or str(error) == "attempt to write a readonly database"


def is_forbidden(error: BaseException) -> bool:
    """Return True for a statement that the privileges of the database's user do not allow."""
    return getattr(error.__cause__, "sqlstate", None) == _NO_PRIVILEGE


def is_damaged(error: BaseException) -> bool:
    """Return True if SQLite's file is damaged or is no database."""
    return getattr(error.__cause__, "sqlite_errorcode", None) in (_SQLITE_CORRUPT, _SQLITE_NOTADB)


def is_deadlock(error: BaseException) -> bool:
    """Return True for a transaction that the database aborted to resolve a deadlock."""
    return getattr(error.__cause__, "sqlstate", None) == _DEADLOCK


def is_lock_timeout(error: BaseException) -> bool:
    """Return True for a statement that waited too long for a lock of somebody else: on a row, or on SQLite's file."""
    state, code = getattr(error.__cause__, "sqlstate", None), getattr(error.__cause__, "sqlite_errorcode", None)
    return state == _LOCK_TIMEOUT or code == _SQLITE_BUSY


def explain_outage(error: BaseException) -> Unavailable:
    """Return the refusal for an error of the database; its message names the remedy if there is one."""
    return Unavailable(_MIGRATE if is_unmigrated(error) else None, retry_after=1.0)

"""Errors of the database, told apart: tables that nobody has made yet are no overload."""

from __future__ import annotations

import logging
import threading
from time import monotonic

from django.db import DatabaseError, InterfaceError, OperationalError

from session_mgmt.exceptions import Unavailable

TELL_EVERY = 10.0
# SQLSTATE of a table and of a column that do not exist.
_UNDEFINED = ("42P01", "42703")
# A primary that was demoted, or set to read only; psycopg calls it an internal error.
_READ_ONLY = "25006"
_NO_PRIVILEGE = "42501"
_DEADLOCK = "40P01"
_LOCK_TIMEOUT = "55P03"
# SQLite's code for a lock that it has waited for as long as its `timeout`.
_SQLITE_BUSY = 5
_MIGRATE = "The tables of session_mgmt are missing or older than the code: run manage.py migrate."


class OutageLog:
    """Log of failures of the database: a line every ten seconds at most, and how many failures it stands for.

    Thousands of calls fail alike while the database is away, and a traceback of each would fill the disk.
    """

    def __init__(self, logger: logging.Logger, text: str) -> None:
        self._logger, self._text = logger, text
        self._lock = threading.Lock()
        self._silent_until = 0.0
        self._untold = 0

    def tell(self, error: BaseException, now: float | None = None) -> None:
        """Log a failure, or count it where one was logged a moment ago."""
        now = monotonic() if now is None else now
        with self._lock:
            self._untold += 1
            if now < self._silent_until:
                return
            count, self._untold, self._silent_until = self._untold, 0, now + TELL_EVERY
        more = f" ({count} times since the last line)" if count > 1 else ""
        self._logger.warning("%s%s: %s", self._text, more, str(error).strip())


def is_outage(error: BaseException) -> bool:
    """Return True if the database is away or takes no writes now: the same statement may succeed later."""
    # Also for a lock that SQLite did not get and a statement that was cancelled: both may succeed later.
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return is_read_only(error)


def is_unmigrated(error: BaseException) -> bool:
    """Return True for a statement about a table or a column that does not exist yet."""
    state = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, DatabaseError) and (
        # SQLite has no codes for these, only texts.
        state in _UNDEFINED or str(error).startswith(("no such table:", "no such column:"))
    )


def is_read_only(error: BaseException) -> bool:
    """Return True for a write to a database that takes none."""
    state = getattr(error.__cause__, "sqlstate", None)
    # SQLite has no code for it, only a text.
    return state == _READ_ONLY or str(error) == "attempt to write a readonly database"


def is_forbidden(error: BaseException) -> bool:
    """Return True for a statement that the privileges of the database's user do not allow."""
    return getattr(error.__cause__, "sqlstate", None) == _NO_PRIVILEGE


def is_deadlock(error: BaseException) -> bool:
    """Return True for a transaction that was ended to let another one go on."""
    return getattr(error.__cause__, "sqlstate", None) == _DEADLOCK


def is_lock_timeout(error: BaseException) -> bool:
    """Return True for a statement that has waited as long as it may for a row, or SQLite's file, of somebody else."""
    state, code = getattr(error.__cause__, "sqlstate", None), getattr(error.__cause__, "sqlite_errorcode", None)
    return state == _LOCK_TIMEOUT or code == _SQLITE_BUSY


def explain_outage(error: BaseException) -> Unavailable:
    """Return the refusal for an error of the database; it names the remedy where there is one."""
    return Unavailable(_MIGRATE if is_unmigrated(error) else None, retry_after=1.0)

"""Find out whether anything was written to the database since a mark; this is cheaper than repeating the reads.

Renewed leases are left out: each process writes them every few seconds, and nobody who asks for a mark reads them.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, TypeAlias

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

Mark: TypeAlias = tuple[Any, ...]

# Own transactions that are remembered on PostgreSQL. To forget one only costs its readers a look for nothing.
_KEPT = 64
_left_out: deque[int] = deque(maxlen=_KEPT)
# Attribute of a connection to SQLite: the number of rows that it has changed and that are left out.
_UNCOUNTED = "_session_mgmt_uncounted"


class _Snapshot(NamedTuple):
    """Transactions of PostgreSQL as one server process sees them: ``running`` ones, all below ``end``, have not ended;
    nor have any from ``end`` on.
    """

    server: int
    end: int
    running: frozenset[int]


def read_mark(using: str) -> Mark | None:
    """Return a mark of the committed state, or ``None`` if the database offers none.

    As long as nothing ``has_changed`` since a mark, a query on this thread's connection returns the same rows, except
    for the writes that were left out.
    """
    connection = connections[using]
    # Inside a transaction the mark would describe the state at its beginning.
    if connection.in_atomic_block:
        return None
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Every writing transaction takes a number, and the snapshot lists those that are still running.
            cursor.execute("SELECT pg_backend_pid(), txid_current_snapshot()::text")
            server, text = cursor.fetchone()
            _, end, running = text.split(":")
            return _Snapshot(server, int(end), frozenset(map(int, running.split(",") if running else ())))
        if connection.vendor == "sqlite":
            # ``data_version`` counts the commits of other connections; the driver counts the changes of this one.
            cursor.execute("PRAGMA data_version")
            mine = connection.connection.total_changes - getattr(connection, _UNCOUNTED, 0)
            return connection.connection, cursor.fetchone()[0], mine
    return None


def has_changed(before: Mark | None, mark: Mark | None) -> bool:
    """Return whether anything may have been written between two marks, besides what was left out."""
    if before is None or mark is None:
        return True
    if isinstance(before, _Snapshot) and isinstance(mark, _Snapshot) and before.server == mark.server:
        return _has_ended_other(before, mark)
    return before != mark


def _has_ended_other(before: _Snapshot, after: _Snapshot) -> bool:
    # If that many have begun, one of them was not ours; this also bounds the set below.
    if after.end - before.end > len(after.running) + _KEPT:
        return True
    ended = (before.running | set(range(before.end, after.end))) - after.running
    return not ended <= set(_left_out)


def leave_out_transaction(number: int) -> None:
    """Let all marks of this process leave out a transaction of PostgreSQL, which must write nothing else."""
    _left_out.append(number)


def leave_out_rows(connection: BaseDatabaseWrapper, count: int) -> None:
    """Let the marks of this connection to SQLite leave out rows that it has just changed.

    Marks of another connection count them as every write, because it sees only that somebody has committed.
    """
    setattr(connection, _UNCOUNTED, getattr(connection, _UNCOUNTED, 0) + count)

"""Find out whether anything was written to the database since a mark; this is cheaper than repeating the reads."""

from __future__ import annotations

from typing import Any, TypeAlias

from django.db import connections

Mark: TypeAlias = tuple[Any, ...]


def read_mark(using: str) -> Mark | None:
    """Return a mark of the committed state, or ``None`` if the database offers none.

    As long as the mark is equal, a query on this thread's connection returns the same rows.
    """
    connection = connections[using]
    # Inside a transaction the mark would describe the state at its beginning.
    if connection.in_atomic_block:
        return None
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Every writing transaction takes a number, and the snapshot lists those that are still running.
            cursor.execute("SELECT pg_backend_pid(), txid_current_snapshot()::text")
            return tuple(cursor.fetchone())
        if connection.vendor == "sqlite":
            # ``data_version`` counts the commits of other connections; the driver counts the changes of this one.
            cursor.execute("PRAGMA data_version")
            return connection.connection, cursor.fetchone()[0], connection.connection.total_changes
    return None

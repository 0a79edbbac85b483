"""Tell whether anything has been written to a database meanwhile, by whomever; cheaper than to read what it was."""

from __future__ import annotations

from typing import Any, TypeAlias

from django.db import connections

Mark: TypeAlias = tuple[Any, ...]


def read_mark(using: str) -> Mark | None:
    """Return the mark of all that is committed; ``None`` where there is none.

    While it is the same, a query on this thread's connection returns the same rows.
    """
    connection = connections[using]
    # Inside a transaction the mark would be that of its beginning.
    if connection.in_atomic_block:
        return None
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Every transaction that writes takes a number, and the snapshot names those that are under way.
            cursor.execute("SELECT pg_backend_pid(), txid_current_snapshot()::text")
            return tuple(cursor.fetchone())
        if connection.vendor == "sqlite":
            # It counts the commits of all other connections; the driver counts the rows of this one.
            cursor.execute("PRAGMA data_version")
            return connection.connection, cursor.fetchone()[0], connection.connection.total_changes
    return None

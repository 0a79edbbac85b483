"""Isolation level of the app's own transactions: READ COMMITTED, whatever the project chose for its own.

The ledgers lock a row and then read its last committed values. Under REPEATABLE READ every such read fails with
a serialization error as soon as two processes write, and under SERIALIZABLE all of them do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connections, transaction

_READ_COMMITTED: Final = 2


@contextmanager
def read_committed(using: str) -> Iterator[None]:
    """Use the level for the transaction that the block begins; inside a transaction that one's level stays."""
    connection: Any = connections[using]
    # SQLite has one writer, and inside a transaction PostgreSQL takes no other level.
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield
        return
    connection.ensure_connection()
    before = connection.connection.isolation_level
    if before == _READ_COMMITTED:
        yield
        return
    # psycopg sends the level with each BEGIN, so that a default of the server does not count either.
    connection.connection.isolation_level = _READ_COMMITTED
    try:
        yield
    finally:
        # The block may have ended because the database went away.
        if connection.connection is not None and not connection.connection.closed:
            connection.connection.isolation_level = before


@contextmanager
def open_transaction(using: str) -> Iterator[None]:
    """Commit the block's writes together, or nothing of it if it raises; inside a transaction as a part of that."""
    with read_committed(using), transaction.atomic(using=using):
        yield

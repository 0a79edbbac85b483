"""Isolation levels of the app's own transactions: READ COMMITTED for writes, whatever level the project uses, and a
single snapshot for the reads of a page.

The ledgers lock a row and then read its last committed values. Under REPEATABLE READ every such read fails with
a serialization error as soon as two processes write, and under SERIALIZABLE all of them do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from time import monotonic
from typing import Any, Final

from django.db import DatabaseError, NotSupportedError, OperationalError, connections, transaction

from session_mgmt.models.outages import is_lock_timeout, is_read_only

_READ_COMMITTED: Final = 2
# Milliseconds in which SQLite tries to get its lock three times, at 0, 1 and 3.
LOOK_MILLISECONDS = 3


@contextmanager
def read_committed(using: str) -> Iterator[None]:
    """Use READ COMMITTED for the transaction that the block begins. Inside a transaction its level stays."""
    connection: Any = connections[using]
    # SQLite has only one writer, and PostgreSQL cannot change the level inside a transaction.
    if connection.vendor != "postgresql" or connection.in_atomic_block or not connection.get_autocommit():
        yield
        return
    connection.ensure_connection()
    before = connection.connection.isolation_level
    if before == _READ_COMMITTED:
        yield
        return
    # psycopg sends the level with each BEGIN, so the server's default does not matter either.
    connection.connection.isolation_level = _READ_COMMITTED
    try:
        yield
    finally:
        # The database may have gone away during the block.
        if connection.connection is not None and not connection.connection.closed:
            connection.connection.isolation_level = before


@contextmanager
def open_transaction(using: str) -> Iterator[None]:
    """Commit all writes of the block together, or none if it raises; inside a transaction, as a part of that."""
    with read_committed(using), _look_often(connections[using]), transaction.atomic(using=using):
        yield


@contextmanager
def _look_often(connection: Any) -> Iterator[None]:
    if connection.vendor != "sqlite" or connection.in_atomic_block or not connection.get_autocommit():
        yield
        return
    # An attribute of the instance hides the method with which atomic() begins a transaction.
    connection._start_transaction_under_autocommit = partial(begin_transaction, connection)
    try:
        yield
    finally:
        # A callback after the commit may have opened and finished a transaction of its own.
        vars(connection).pop("_start_transaction_under_autocommit", None)


def begin_transaction(connection: Any) -> None:
    """Begin a transaction of SQLite, and check often whether the lock is free.

    SQLite itself soon checks only ten times a second. If another process releases the lock only for a millisecond
    between two transactions, SQLite would miss these moments for seconds.
    """
    raw = connection.connection
    most = raw.execute("PRAGMA busy_timeout").fetchone()[0]
    until = monotonic() + most / 1000
    raw.execute(f"PRAGMA busy_timeout = {min(most, LOOK_MILLISECONDS)}")
    begin = partial(type(connection)._start_transaction_under_autocommit, connection)
    try:
        while not _has_begun(begin, until):
            # Not through Django, whose statement wrappers would run for every attempt.
            begin = partial(_begin_again, connection)
    finally:
        raw.execute(f"PRAGMA busy_timeout = {most}")


def _has_begun(begin: Callable[[], Any], until: float) -> bool:
    try:
        begin()
    except OperationalError as error:
        if not is_lock_timeout(error) or monotonic() >= until:
            raise
        return False
    return True


def _begin_again(connection: Any) -> None:
    with connection.wrap_database_errors:
        connection.connection.execute(f"BEGIN {connection.transaction_mode or ''}")


def call_after_commit(using: str, function: Callable[[], Any]) -> None:
    """Call a function after the caller's transaction has committed, or now if there is none; its failure is only
    logged.

    If the project has switched autocommit off, Django calls the function when it is switched on again.
    """
    connection: Any = connections[using]
    # Without autocommit, Django accepts callbacks only inside an atomic block. This block begins and commits nothing.
    is_manual = not connection.in_atomic_block and not connection.get_autocommit()
    with transaction.atomic(using=using, savepoint=False) if is_manual else nullcontext():
        transaction.on_commit(function, using=using, robust=True)


@contextmanager
def freeze_reads(using: str) -> Iterator[None]:
    """Let all reads of the block see the database at one moment; a write in it raises ``NotSupportedError``.

    Inside a transaction, as in a test, the block is an ordinary part of it.
    """
    connection: Any = connections[using]
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(using=using):
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            with connection.execute_wrapper(_explain_write):
                yield
    else:
        with _begin_reading(connection), _forbid_writes(connection), transaction.atomic(using=using):
            yield


@contextmanager
def _begin_reading(connection: Any) -> Iterator[None]:
    """Begin the transactions of the block without SQLite's write lock, even if the project uses ``BEGIN IMMEDIATE``."""
    # A new connection would read the mode from the settings.
    connection.ensure_connection()
    before, connection.transaction_mode = connection.transaction_mode, None
    try:
        yield
    finally:
        connection.transaction_mode = before


@contextmanager
def _forbid_writes(connection: Any) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
    try:
        with connection.execute_wrapper(_explain_write):
            yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = OFF")


def _explain_write(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Run a statement. If it tries to write, raise an error that names the fault in the code. The database's own error
    would look like a server that is read-only for now, and callers would retry forever.
    """
    try:
        return execute(sql, params, many, context)
    except DatabaseError as error:
        if not is_read_only(error):
            raise
    # ``from None``, because an error of the database in the chain would be taken for an outage.
    raise NotSupportedError(
        "This statement writes, and whoever reads one moment (open_snapshot(), snapshot= of a topic, a view with"
        f" LivePages) cannot: {sql}"
    )

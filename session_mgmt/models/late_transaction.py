"""Transaction for functions of the project, which may be slow: it takes no lock before the first write.

If Django begins transactions with ``BEGIN IMMEDIATE``, as it should on SQLite, ``atomic()`` takes the write lock at
once, and all other writers wait until the block ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from django.db import connections, transaction

from session_mgmt.models.isolation import begin_transaction, open_transaction

_READS = ("SELECT", "EXPLAIN", "PRAGMA")


class LateTransaction:
    """Open block, whose database transaction may not have begun yet."""

    def __init__(self, connection: Any, gate: AbstractContextManager[Any], after_commit: ExitStack) -> None:
        self._connection, self._gate, self._after_commit = connection, gate, after_commit
        self._has_begun = connection.vendor != "sqlite"

    def begin(self) -> None:
        """Begin now; for writes that do not go through Django's statement wrappers."""
        if not self._has_begun:
            self._has_begun = True
            # Enter the gate before the transaction begins, as the lane does, and hold it until the commit.
            self._after_commit.enter_context(self._gate)
            begin_transaction(self._connection)

    def begin_before_write(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Begin the transaction if the statement may write. This is a wrapper of ``execute``."""
        # Decide by a list of reading statements, so that any unknown one begins the transaction.
        if not sql.lstrip().upper().startswith(_READS):
            self.begin()
        return execute(sql, params, many, context)


@contextmanager
def open_late_transaction(using: str, gate: AbstractContextManager[Any]) -> Iterator[LateTransaction]:
    """Commit all writes of the block together, or none if it raises.

    On SQLite the transaction begins with the first write. A read before it sees what is committed at that moment.
    ``gate`` is entered before the transaction begins and left after it has ended.
    """
    connection: Any = connections[using]
    with ExitStack() as after_commit:
        late = LateTransaction(connection, gate, after_commit)
        # PostgreSQL locks rows and not the whole database, so an open transaction blocks nobody.
        if connection.vendor != "sqlite" or connection.in_atomic_block:
            late._has_begun = True
            with open_transaction(using):
                yield late
            return
        # An attribute of the instance hides the method, so atomic() begins no transaction.
        connection._start_transaction_under_autocommit = lambda: None
        try:
            block = transaction.atomic(using=using)
            block.__enter__()
        finally:
            del connection._start_transaction_under_autocommit
        # A separate stack, so that the transaction ends first and the gate is left afterwards.
        with ExitStack() as inside:
            inside.push(block)
            inside.enter_context(connection.execute_wrapper(late.begin_before_write))
            yield late

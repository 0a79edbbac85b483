"""Transaction for functions of the project, which may be slow: it locks nothing before somebody writes.

Where Django begins transactions with ``BEGIN IMMEDIATE``, as SQLite needs it, ``atomic()`` takes the only writer's
lock at once, and every write of everybody waits for the end of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from django.db import connections, transaction

from session_mgmt.models.isolation import begin_transaction, open_transaction

_READS = ("SELECT", "EXPLAIN", "PRAGMA")


class LateTransaction:
    """Open block whose database transaction has perhaps not begun."""

    def __init__(self, connection: Any, gate: AbstractContextManager[Any], after_commit: ExitStack) -> None:
        self._connection, self._gate, self._after_commit = connection, gate, after_commit
        self._has_begun = connection.vendor != "sqlite"

    def begin(self) -> None:
        """Begin now; for writes that pass Django's wrappers by."""
        if not self._has_begun:
            self._has_begun = True
            # The gate first, as the lane does, and until the commit.
            self._after_commit.enter_context(self._gate)
            begin_transaction(self._connection)

    def begin_before_write(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Begin if the statement may write; a wrapper of ``execute``."""
        # By what is known to read: a statement that nobody has thought of begins the transaction.
        if not sql.lstrip().upper().startswith(_READS):
            self.begin()
        return execute(sql, params, many, context)


@contextmanager
def open_late_transaction(using: str, gate: AbstractContextManager[Any]) -> Iterator[LateTransaction]:
    """Commit all writes of the block together, or none of them if it raises.

    On SQLite the transaction begins at the first write. Reads before that see the state committed at their moment.
    ``gate`` is entered before the transaction begins and left after it has ended.
    """
    connection: Any = connections[using]
    with ExitStack() as after_commit:
        late = LateTransaction(connection, gate, after_commit)
        # PostgreSQL locks rows and not the file: there an open transaction holds up nobody.
        if connection.vendor != "sqlite" or connection.in_atomic_block:
            late._has_begun = True
            with open_transaction(using):
                yield late
            return
        # An attribute of the instance hides the method, so that atomic() begins nothing.
        connection._start_transaction_under_autocommit = lambda: None
        try:
            block = transaction.atomic(using=using)
            block.__enter__()
        finally:
            del connection._start_transaction_under_autocommit
        # A stack of its own: the transaction ends here, and only then the gate is left.
        with ExitStack() as inside:
            inside.push(block)
            inside.enter_context(connection.execute_wrapper(late.begin_before_write))
            yield late

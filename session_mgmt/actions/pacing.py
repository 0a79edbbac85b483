"""Pace of work in chunks: each takes milliseconds, and leaves time for others before the next one.

A transaction on SQLite holds up every writer of the database, and one that waits asks again only now and then: without
rests in between it could be unlucky for seconds. The pauses between its questions grow to 100 ms, and are never longer
than it has waited already, but for the first few milliseconds; so a rest as long as the chunk lets it in. On PostgreSQL
only writers of the same rows wait.

A chunk changes so many pages that SQLite soon wants them written back to the file of the database, and leaves that to
whoever commits next. So the chunk's own thread writes them back before it rests; nobody waits for the lock meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from django.db import OperationalError, connections

R = TypeVar("R")

# Seconds of one chunk. On SQLite all writers wait for it, and then for its commit. With half of that on SQLite a purge
# took a quarter more CPU than with 15 ms, because each chunk has its fixed statements (measured).
GOAL, SQLITE_GOAL = 0.015, 0.010
# Of the time that a chunk worked. One that waited for the disk or the processor rests at least as long as it took.
REST = 2.0
LEAST, FIRST = 8, 64


def make_pace(using: str, most: int = 1) -> Pace:
    """Return the pace of work on a database, with chunks of at most so many rows."""
    connection: Any = connections[using]
    # Inside somebody's transaction a rest would only make that longer. None has begun where nothing is connected yet.
    is_manual = connection.connection is not None and not connection.autocommit
    is_sqlite = connection.vendor == "sqlite" and not connection.in_atomic_block and not is_manual
    return Pace(most, is_sqlite=is_sqlite, write_back=partial(_write_back, connection))


def _write_back(connection: Any) -> None:
    """Write all committed pages from SQLite's write-ahead log to the file of the database."""
    connection.ensure_connection()
    # Not through Django, because this is no query of the work. A failure harms nobody: the next chunk tries again.
    with suppress(OperationalError), connection.wrap_database_errors:
        # Whoever has switched SQLite's own checkpoints off, as tools for replication do, decides alone when to do it.
        if connection.connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0]:
            connection.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


class Pace:
    """Number of rows for the next chunk, found by how long the last ones took. ``most`` bounds it."""

    def __init__(
        self,
        most: int,
        *,
        is_sqlite: bool,
        write_back: Callable[[], None] = lambda: None,
        timer: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # A commit of PostgreSQL may take longer than its work, and holds up nobody: fewer rows would cost more commits.
        self._most, self._least = most, min(LEAST if is_sqlite else FIRST, most)
        self._is_sqlite, self._goal = is_sqlite, SQLITE_GOAL if is_sqlite else GOAL
        # SQLite works on this thread, and its waits for the lock are no reason for smaller chunks.
        self._timer = timer or (time.thread_time if is_sqlite else time.perf_counter)
        self._write_back, self._clock, self._sleep = write_back, clock, sleep
        self.size = min(FIRST, most)

    def run(self, chunk: Callable[[int], int]) -> tuple[int, bool]:
        """Carry out ``chunk(size)`` and rest; return its number of rows, and whether there may be more."""
        size = self.size
        rows = self.take(lambda: chunk(size))
        return rows, rows >= size

    def take(self, piece: Callable[[], R]) -> R:
        """Carry out a piece of work and rest. On SQLite its pages are written back in between."""
        started, began = self._clock(), self._timer()
        done = piece()
        worked = self._timer() - began
        self._adapt(worked)
        if self._is_sqlite:
            self._write_back()
            self._sleep(max(worked * REST, self._clock() - started))
        return done

    def _adapt(self, worked: float) -> None:
        # In steps of two at most: one chunk that a busy moment made slow must not decide about all that follow.
        factor = min(2.0, max(0.5, self._goal / worked)) if worked > 0 else 2.0
        self.size = max(self._least, min(self._most, int(self.size * factor)))

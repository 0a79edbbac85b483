"""Pace of work in chunks: each takes milliseconds, and leaves time for others before the next one.

A transaction on SQLite holds up every writer of the database, and one that waits asks again only now and then: without
rests in between it could be unlucky for seconds. The pauses between its questions grow to 100 ms, and are never longer
than it has waited already, but for the first few milliseconds; so a rest as long as the chunk lets it in. On PostgreSQL
only writers of the same rows wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

R = TypeVar("R")

# Seconds of one chunk.
GOAL = 0.015
# Of the time that a chunk worked. One that waited for the disk or the processor rests at least as long as it took.
REST = 2.0
LEAST, FIRST = 8, 64


def make_pace(using: str, most: int = 1) -> Pace:
    """Return the pace of work on a database, with chunks of at most so many rows."""
    connection = connections[using]
    # Inside somebody's transaction a rest would only make that longer.
    return Pace(most, is_sqlite=connection.vendor == "sqlite" and not connection.in_atomic_block)


class Pace:
    """Number of rows for the next chunk, found by how long the last ones took. ``most`` bounds it."""

    def __init__(
        self,
        most: int,
        *,
        is_sqlite: bool,
        timer: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # A commit of PostgreSQL may take longer than its work, and holds up nobody: fewer rows would cost more commits.
        self._most, self._least = most, min(LEAST if is_sqlite else FIRST, most)
        self._is_sqlite = is_sqlite
        # SQLite works on this thread, and its waits for the lock are no reason for smaller chunks.
        self._timer = timer or (time.thread_time if is_sqlite else time.perf_counter)
        self._clock, self._sleep = clock, sleep
        self.size = min(FIRST, most)

    def run(self, chunk: Callable[[int], int]) -> tuple[int, bool]:
        """Carry out ``chunk(size)`` and rest; return its number of rows, and whether there may be more."""
        size = self.size
        rows = self.take(lambda: chunk(size))
        return rows, rows >= size

    def take(self, piece: Callable[[], R]) -> R:
        """Carry out a piece of work and rest."""
        started, began = self._clock(), self._timer()
        done = piece()
        worked = self._timer() - began
        self._adapt(worked)
        if self._is_sqlite:
            self._sleep(max(worked * REST, self._clock() - started))
        return done

    def _adapt(self, worked: float) -> None:
        # In steps of two at most: one chunk that a busy moment made slow must not decide about all that follow.
        factor = min(2.0, max(0.5, GOAL / worked)) if worked > 0 else 2.0
        self.size = max(self._least, min(self._most, int(self.size * factor)))

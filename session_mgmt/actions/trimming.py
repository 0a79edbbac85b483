"""Trim many logs by portions: how many are locked for one portion, and when a log is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TypeVar

from session_mgmt.models.sql import Row

K = TypeVar("K")

# To look at a log costs as much as to delete so many of its rows.
_ROWS_OF_LOG = 8


def take_logs(waiting: deque[K], limit: int) -> list[K]:
    """Return the logs in front that are looked at for a portion of ``limit`` rows; they stay where they are."""
    # Rounded up: even the smallest portion looks at one log.
    return list(islice(waiting, -(-limit // _ROWS_OF_LOG)))


def trim_locked(waiting: deque[K], rows: Mapping[K, Row], trim: Callable[[Row, int], int], *, limit: int) -> int:
    """Trim up to ``limit`` rows off the locked logs in front, and return their number.

    ``trim`` is told how many rows it may take at most. Logs that are done, or gone, are taken off ``waiting``.
    """
    gone = 0
    for log in take_logs(waiting, limit):
        room = limit - gone
        found = trim(rows[log], room) if log in rows and room else 0
        gone += found
        # A full portion: this log may have more, and stays in front.
        if found == room:
            break
        waiting.popleft()
    return gone

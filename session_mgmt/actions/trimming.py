"""Trim many logs in portions: decide how many logs one portion locks, how many rows of each it deletes, and when a log
is finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from session_mgmt.models.sql import Statements

K = TypeVar("K")

# Cost of reading the front of a log, in deleted rows.
_ROWS_OF_LOG = 8
# Rows that are read at the front of a log, as a multiple of the average of the last logs. With more, many would be read
# in vain when the portion is full.
_GROWTH = 4


class Bounds(NamedTuple):
    """Limits of one log: its first number; the first number within the limit of rows; the first number that is never
    deleted; and the moment after which rows are young enough to stay.
    """

    oldest: int
    fitting: int
    beyond: int
    cutoff: Any


class Front(NamedTuple):
    """First row that a log has, and how many rows from there on may be deleted."""

    begun: int
    rows: int


_NOTHING = Front(0, 0)


@dataclass(slots=True)
class Queue(Generic[K]):
    """Logs that wait to be trimmed. ``share`` is the average number of rows that the last logs had to lose."""

    logs: deque[K]
    share: int = field(default=_ROWS_OF_LOG, init=False)

    @classmethod
    def of(cls, logs: Iterable[K]) -> Queue[K]:
        return cls(deque(logs))

    def take(self, limit: int) -> list[K]:
        """Return the next logs for a portion of ``limit`` rows, without taking them off the queue."""
        # Rounded up, so that even the smallest portion has one log.
        return list(islice(self.logs, -(-limit // self.share)))

    def find_most(self, limit: int) -> int:
        """Return how many rows are read at the front of each log for a portion of ``limit`` rows."""
        return min(limit, self.share * _GROWTH)

    def settle(self, found: Mapping[K, Front], *, limit: int) -> dict[K, Front]:
        """Return the rows to delete from each log, at most ``limit`` in all, given the rows found at its front.

        Logs that are finished, or that no longer exist, are taken off the queue.
        """
        going: dict[K, Front] = {}
        more, most, room, looked = [], self.find_most(limit), limit, 0
        for log in self.take(limit):
            if not room:
                break
            looked += 1
            self.logs.popleft()
            front = found.get(log, _NOTHING)
            rows = min(front.rows, room)
            room -= rows
            if rows:
                going[log] = Front(front.begun, rows)
            # If all rows that were read go, or the portion is full, this log may have more.
            if rows == most or (rows and not room):
                more.append(log)
        self.logs.extendleft(reversed(more))
        self.share = max(_ROWS_OF_LOG, -(-(limit - room) // max(looked, 1)))
        return going


def find_fronts(
    statements: Statements,
    table: str,
    key: Mapping[str, str],
    bounds: Mapping[Any, Bounds],
    *,
    most: int,
    kept: str = "1 = 0",
) -> dict[Any, Front]:
    """Find up to ``most`` rows at the front of each log that may be deleted, with one query for all logs.

    ``key`` maps the names of the log's and the number's column to their types. Rows that match ``kept`` always stay.
    """
    (log, kind), (number, _) = key.items()
    # Only rows before the first one that stays, because a log with a hole could not be replayed.
    first = (
        f'SELECT r."{number}" FROM {table} r WHERE r."{log}" = begun.log AND r."{number}" >= begun.first'
        f' AND r."{number}" < begun.first + {int(most)} AND r."{number}" < begun.beyond'
        f' AND ({kept} OR (r."{number}" >= begun.fitting AND r.at >= begun.cutoff)) ORDER BY r."{number}" LIMIT 1'
    )
    begin = f'SELECT MIN(r."{number}") FROM {table} r WHERE r."{log}" = wanted.log AND r."{number}" >= wanted.oldest'
    rows = statements.select_wanted(
        f"SELECT begun.log, begun.first, begun.beyond, ({first})"
        f" FROM (SELECT wanted.*, ({begin}) AS first FROM wanted) begun WHERE begun.first < begun.beyond",
        {"log": kind, "oldest": "bigint", "fitting": "bigint", "beyond": "bigint", "cutoff": "timestamptz"},
        [(name, *of) for name, of in bounds.items()],
    )
    return {
        name: Front(begun, (min(begun + most, beyond) if stays is None else stays) - begun)
        for name, begun, beyond, stays in rows
    }

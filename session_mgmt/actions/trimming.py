"""Trim many logs by portions: how many are locked for one portion, how much of each goes, and when a log is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from session_mgmt.models.sql import Statements

K = TypeVar("K")

# To look at a log costs as much as to delete so many of its rows.
_ROWS_OF_LOG = 8
# Of a log so many times as many rows are looked at as the last ones had: more would be looked at in vain, where the
# portion is full before.
_GROWTH = 4


class Bounds(NamedTuple):
    """Where a log begins, the first of its rows that are not too many, the first that never goes, and since when a row
    is young enough.
    """

    oldest: int
    fitting: int
    beyond: int
    cutoff: Any


class Front(NamedTuple):
    """First row that a log has, and the number of those from it on that may go."""

    begun: int
    rows: int


_NOTHING = Front(0, 0)


@dataclass(slots=True)
class Queue(Generic[K]):
    """Logs that wait to be trimmed. ``share`` is how many rows the last ones had to lose, on average."""

    logs: deque[K]
    share: int = field(default=_ROWS_OF_LOG, init=False)

    @classmethod
    def of(cls, logs: Iterable[K]) -> Queue[K]:
        return cls(deque(logs))

    def take(self, limit: int) -> list[K]:
        """Return the logs in front that are looked at for a portion of ``limit`` rows; they stay where they are."""
        # Rounded up: even the smallest portion looks at one log.
        return list(islice(self.logs, -(-limit // self.share)))

    def find_most(self, limit: int) -> int:
        """Return how many rows of each log are looked at for a portion of ``limit`` rows."""
        return min(limit, self.share * _GROWTH)

    def settle(self, found: Mapping[K, Front], *, limit: int) -> dict[K, Front]:
        """Return what goes of each log, up to ``limit`` rows together, by what was found at the front of each.

        Logs that are done, or gone, are taken off the queue.
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
            # As many as were looked at, or as there was room for: this log may have more.
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
    """Find up to ``most`` rows at the front of each log that may go, by one query for all.

    ``key`` names the log's and the number's column. Rows for which ``kept`` holds stay in any case.
    """
    (log, kind), (number, _) = key.items()
    # From the front on, up to the first that stays: a log with a hole could not be replayed.
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

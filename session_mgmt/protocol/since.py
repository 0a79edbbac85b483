"""Beginning for a reader without a position: ``since`` of PROTOCOL section 7."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from session_mgmt.exceptions import InvalidField

MOST_LAST: Final = 1000
_TIME_LIMIT = 40


@dataclass(frozen=True, slots=True)
class Since:
    """Exactly one of: a position that is not parsed yet, a moment in UTC, a number of entries."""

    position: Any = None
    time: datetime | None = None
    last: int | None = None


def read(value: Any) -> Since:
    """Read ``since`` from a frame. Raises ``InvalidField``."""
    given = {} if not isinstance(value, dict) else {k: v for k, v in value.items() if v is not None}
    match given:
        # The position is judged later, like every position.
        case {"position": position} if len(given) == 1:
            return Since(position=position)
        case {"time": str() as text} if len(given) == 1 and len(text) <= _TIME_LIMIT:
            return Since(time=_read_time(text))
        case {"last": int() as last} if len(given) == 1 and not isinstance(last, bool) and 0 < last <= MOST_LAST:
            return Since(last=last)
    raise InvalidField(f"since has one of position, time, and last from 1 to {MOST_LAST}.", field="since")


def _read_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidField("time of since is ISO 8601 with a zone.", field="since")

"""Read the history of topics: pages of their publications, backwards from a position in the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from django.db import connections

from session_mgmt.actions.topics import reading
from session_mgmt.exceptions import UnknownPosition
from session_mgmt.models import clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window


class Published(NamedTuple):
    """Publication with its position and the moment at which it was published."""

    position: Position
    data: Any
    at: datetime


@dataclass(frozen=True, slots=True)
class PastPage:
    """Page of a topic's history, oldest publication first; ``more`` is whether older ones are stored.

    Each of ``rows`` is a tuple of offset, tag, stored data, and moment.
    """

    epoch: str
    rows: Sequence[tuple[int, str, bytes, datetime]]
    more: bool

    @property
    def entries(self) -> list[Published]:
        """Return the publications with decoded data."""
        return [
            Published(Position(self.epoch, offset, tag), orjson.loads(data), at) for offset, tag, data, at in self.rows
        ]

    def as_json(self) -> dict[str, Any]:
        """Build the page as it is sent to clients, without decoding any data."""
        rows = [[offset, tag, orjson.Fragment(data), clock.as_text(at)] for offset, tag, data, at in self.rows]
        return {"epoch": self.epoch, "entries": rows, "more": self.more}


def read_page_before(using: str, topic: str, before: Position | None, limit: int) -> PastPage:
    """Return a page of the newest publications before a position, or of all; it is limited by number and by bytes.

    It runs at most three statements. Raises ``UnknownPosition`` for a position of another history.
    """
    asked = None if before is None else before.offset
    windows = reading.read_windows(Statements(connections[using]), [(topic, asked)])
    window = windows[topic, asked]
    epoch = window.head.epoch
    if before is not None and not _has_entries_before(before, window):
        return PastPage(epoch, [], more=False)
    rows = reading.read_dated_page(using, topic, window.head.offset + 1 if before is None else before.offset, limit)
    return PastPage(epoch, rows, more=bool(rows) and rows[0][0] > window.oldest)


def _has_entries_before(before: Position, window: Window) -> bool:
    """Return whether entries before a position of this log are stored. Raises ``UnknownPosition`` for any other
    position.
    """
    head = window.head
    if before.epoch != head.epoch or before.offset > head.offset:
        raise UnknownPosition()
    if before.offset == 0:
        return False
    tag = head.tag if before.offset == head.offset else window.tag_at_asked
    # Without a tag, the entry at this position was removed with all entries before it, possibly a moment ago.
    if tag is not None and tag != before.tag:
        raise UnknownPosition()
    return tag is not None and before.offset > window.oldest

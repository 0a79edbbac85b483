"""Past of topics: pages of their publications, backwards from a place in the log."""

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
    """Publication with its place, and the moment at which it got it."""

    position: Position
    data: Any
    at: datetime


@dataclass(frozen=True, slots=True)
class PastPage:
    """Page of a topic's past, the newest publication last; ``more`` tells whether older ones are kept.

    ``rows`` have offset, tag, stored data and moment of each.
    """

    epoch: str
    rows: Sequence[tuple[int, str, bytes, datetime]]
    more: bool

    @property
    def entries(self) -> list[Published]:
        """Return the publications as values."""
        return [
            Published(Position(self.epoch, offset, tag), orjson.loads(data), at) for offset, tag, data, at in self.rows
        ]

    def as_json(self) -> dict[str, Any]:
        """Build the form of the wire, without decoding any data."""
        rows = [[offset, tag, orjson.Fragment(data), clock.as_text(at)] for offset, tag, data, at in self.rows]
        return {"epoch": self.epoch, "entries": rows, "more": self.more}


def read_page_before(using: str, topic: str, before: Position | None, limit: int) -> PastPage:
    """Return the newest publications before a place, or of all: one page by number and by bytes.

    At most three statements. Raises ``UnknownPosition`` for a place of another history.
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
    """Tell whether entries before a place of this log are kept. Raises ``UnknownPosition`` for any other place."""
    head = window.head
    if before.epoch != head.epoch or before.offset > head.offset:
        raise UnknownPosition()
    if before.offset == 0:
        return False
    tag = head.tag if before.offset == head.offset else window.tag_at_asked
    # Without a tag the entry there was removed, and all before it with it, maybe a moment ago.
    if tag is not None and tag != before.tag:
        raise UnknownPosition()
    return tag is not None and before.offset > window.oldest

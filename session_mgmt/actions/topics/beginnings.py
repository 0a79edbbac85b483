"""Positions before the first publication of a topic. They need no stream, so following an invented topic name stores no
row.

The epoch of such a position is derived from the topic's name, and the first publication creates the stream with this
epoch. The epoch cannot show whether the stream was created and deleted again between the moment at which a client got
the position and now. Therefore the position has that moment in the place of its tag.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from session_mgmt.conf import settings
from session_mgmt.models import Subscription
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position

_START = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = 16


def derive_epoch(topic: str) -> str:
    """Return the epoch of a topic's log, which depends only on the topic's name."""
    return hashlib.sha256(b"topic\0" + topic.encode()).hexdigest()[:_DIGITS]


def make_beginning(topic: str) -> Position:
    """Return the position before the first publication of a topic, without a mark."""
    return Position(derive_epoch(topic), 0, "")


def make_mark(at: datetime) -> str:
    """Return the tag of a position before the first publication that a client gets at this moment: the moment in
    microseconds, in hexadecimal digits.
    """
    return f"{(at - _START) // timedelta(microseconds=1):0{_DIGITS}x}"


def prove_beginnings(
    statements: Statements, asked: Iterable[tuple[uuid.UUID, str, Position]], now: datetime
) -> dict[tuple[uuid.UUID, str, Position], Position]:
    """Find the positions before the first publication that are still valid, because nothing can have been missed since;
    return them mapped to copies without their marks.

    Nothing was missed if the mark is younger than the retention of sessions, because a stream is never deleted earlier,
    or if the session has followed the topic since that moment, because a followed stream is not deleted. A position
    without such a proof is left out.
    """
    found = {}
    for session, topic, place in asked:
        at = _read_mark(place.tag)
        if at is not None and (now - at < settings().retention or _has_followed(statements, session, topic, at)):
            found[session, topic, place] = replace(place, tag="")
    return found


def _read_mark(tag: str) -> datetime | None:
    try:
        return _START + timedelta(microseconds=int(tag, 16))
    except (ValueError, OverflowError):
        return None


def _has_followed(statements: Statements, session: uuid.UUID, topic: str, since: datetime) -> bool:
    mine = Subscription.objects.using(statements.connection.alias).filter(session=session, topic=topic)
    return mine.filter(created_at__lte=since).exists()

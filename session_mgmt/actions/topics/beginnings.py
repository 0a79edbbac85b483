"""Places before the first publication of a topic: they need no stream, so that following a made-up name leaves no row.

Its epoch follows from the topic's name, and the first publication makes the stream with this epoch. What the epoch does
not tell is whether a whole life of the stream, from its first publication to its deletion, lies between the moment at
which a client was given the place and now. Therefore the place carries that moment where others have their tag.
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
    """Return the epoch of a topic's log."""
    return hashlib.sha256(b"topic\0" + topic.encode()).hexdigest()[:_DIGITS]


def make_beginning(topic: str) -> Position:
    """Return where the log of a topic without a stream stands."""
    return Position(derive_epoch(topic), 0, "")


def make_mark(at: datetime) -> str:
    """Return the tag of a place before the first publication that a client is given at this moment."""
    return f"{(at - _START) // timedelta(microseconds=1):0{_DIGITS}x}"


def prove_beginnings(
    statements: Statements, asked: Iterable[tuple[uuid.UUID, str, Position]], now: datetime
) -> dict[tuple[uuid.UUID, str, Position], Position]:
    """Return the places before the first publication, without their marks where these prove that nothing was missed.

    Nothing was if the mark is too young for a life of the stream in between, or if the session has followed the topic
    ever since, because then no stream of it was deleted.
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

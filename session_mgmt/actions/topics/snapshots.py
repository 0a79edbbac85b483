"""Snapshots: positions of topics that match all data that the project reads at the same moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from django.db import connections

from session_mgmt.actions import checking
from session_mgmt.actions.encoding import encode_python
from session_mgmt.actions.topics.beginnings import make_mark
from session_mgmt.actions.topics.reading import read_places
from session_mgmt.conf import settings
from session_mgmt.documents import strict
from session_mgmt.exceptions import Busy, DocumentTooLarge, HandlerFailed, InvalidField, TemporaryError
from session_mgmt.models import ClientSession, Outbox, clock
from session_mgmt.models.isolation import freeze_reads
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position
from session_mgmt.registry import registry
from session_mgmt.user_code import call_sync

logger = logging.getLogger(__name__)

# If the outbox has a new entry of the topic at each attempt, entries are published faster than they can be applied.
_MOST_ATTEMPTS = 5
# The value has one container around it: its frame.
_AROUND_VALUE: Final = 1


@contextmanager
def open_snapshot(using: str, topics: Iterable[str], drain: Callable[[], int]) -> Iterator[dict[str, Position]]:
    """Run the block in a snapshot of the database, with the positions of these topics at the moment of the snapshot.

    A publication that waits in the outbox is part of the project's data, but has no position yet. In this case
    ``drain`` is called, which applies it, and a new snapshot is tried. Raises ``Busy`` if publications wait at every
    attempt.
    """
    wanted = set(topics)
    for _ in range(_MOST_ATTEMPTS):
        with freeze_reads(using):
            if not _is_waited_for(using, wanted):
                yield find_places(using, wanted)
                return
        drain()
    raise Busy(retry_after=1.0)


@dataclass(frozen=True, slots=True)
class Value:
    """Value of a topic as compact JSON, and the position of the topic at which the value was read; later entries change
    it.
    """

    position: Position
    body: bytes

    @property
    def data(self) -> Any:
        """Return the decoded value."""
        return orjson.loads(self.body)

    def as_json(self) -> dict[str, Any]:
        """Build the value as it is sent to clients, without decoding it."""
        return {"position": self.position.as_json(), "data": orjson.Fragment(self.body)}


def read_value(using: str, session: ClientSession, topic: str, drain: Callable[[], int]) -> Value:
    """Read the value of a topic at one moment. This runs the project's code.

    Raises ``InvalidField`` for a topic without a value, ``HandlerFailed`` if the project's function fails,
    ``Unavailable`` if it cannot reach a database, or ``Busy``.
    """
    found = registry.find_topic(topic)
    if found is None or found[0].snapshot is None:
        raise InvalidField("This topic has no value: declare it with snapshot=.", field="log")
    declared, parts = found
    assert declared.snapshot is not None
    with open_snapshot(using, [topic], drain) as places:
        try:
            # Encode inside the block, because a lazy result, such as a query set, is read only here.
            given = call_sync(encode_python, call_sync(declared.snapshot, session, **parts))
            body = strict.dump_json(checking.check_value(given, _AROUND_VALUE))
            if len(body) > settings().max_document_bytes:
                raise DocumentTooLarge(size=len(body), limit=settings().max_document_bytes)
        except TemporaryError:
            # An unavailable database is no fault of the function.
            raise
        except Exception as error:
            logger.exception("snapshot of topic %r failed", declared.pattern.text)
            raise HandlerFailed() from error
    return Value(places[topic], body)


def _is_waited_for(using: str, topics: set[str]) -> bool:
    waiting = Outbox.objects.using(using).filter(refused="")
    return waiting.filter(kind=Outbox.Kind.PUBLISH, target__in=topics).exists()


def find_places(using: str, topics: set[str]) -> dict[str, Position]:
    """Return the current positions of these topics, without entries that wait in the outbox."""
    now = clock.read(using)
    found = {}
    for topic, at in read_places(Statements(connections[using]), topics):
        place = Position(*at)
        # Before a topic's first publication the tag is the moment, as in all positions that clients get.
        found[topic] = place if place.offset else replace(place, tag=make_mark(now))
    return found

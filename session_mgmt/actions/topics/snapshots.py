"""Snapshots: places of topics that agree with all that the project reads at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.db import connections

from session_mgmt.actions.topics.beginnings import make_mark
from session_mgmt.actions.topics.reading import read_places
from session_mgmt.exceptions import Busy
from session_mgmt.models import Outbox, clock
from session_mgmt.models.isolation import freeze_reads
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position

# A topic to which something is committed each time is published to faster than its outbox can be applied.
_MOST_ATTEMPTS = 5


@contextmanager
def open_snapshot(using: str, topics: Iterable[str], drain: Callable[[], int]) -> Iterator[dict[str, Position]]:
    """Read in the block what was committed when these topics were at the places that are given.

    What waits in the outbox is in the data and has no place yet: ``drain`` gives it one, and another moment is chosen.
    Raises ``Busy`` where something waits at every moment.
    """
    wanted = set(topics)
    for _ in range(_MOST_ATTEMPTS):
        with freeze_reads(using):
            if not _is_waited_for(using, wanted):
                yield find_places(using, wanted)
                return
        drain()
    raise Busy(retry_after=1.0)


def _is_waited_for(using: str, topics: set[str]) -> bool:
    waiting = Outbox.objects.using(using).filter(refused="")
    return waiting.filter(kind=Outbox.Kind.PUBLISH, target__in=topics).exists()


def find_places(using: str, topics: set[str]) -> dict[str, Position]:
    """Return where these topics are now, what waits in the outbox not counted."""
    now = clock.read(using)
    found = {}
    for topic, at in read_places(Statements(connections[using]), topics):
        place = Position(*at)
        # Before a topic's first publication the moment stands for the tag, as with every reader.
        found[topic] = place if place.offset else replace(place, tag=make_mark(now))
    return found

"""Rows that are about one person without a key that says so: topics whose declaration names the part that holds the
user's key, and entries of the outbox.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Q, QuerySet

from session_mgmt.models import Outbox, Stream
from session_mgmt.registry import registry

PAGE = 1000


def find_streams(using: str, user: Any) -> Iterator[Stream]:
    """Yield the streams of a user's personal topics, by ascending key."""
    if not any(declared.personal for declared in registry.topics):
        return
    after = 0
    while page := list(Stream.objects.using(using).filter(pk__gt=after).order_by("pk")[:PAGE]):
        yield from (stream for stream in page if _is_about(stream.topic, user))
        after = page[-1].pk


def find_waiting(using: str, sessions: Iterable[uuid.UUID]) -> QuerySet[Outbox]:
    """Find writes to sessions in the outbox: those that wait, and those that were refused and are kept for a while."""
    mine = Q(pk__in=[])
    for session in sessions:
        mine |= Q(target=str(session)) | Q(target__startswith=f"{session}/")
    return Outbox.objects.using(using).exclude(kind=Outbox.Kind.PUBLISH).filter(mine)


def _is_about(topic: str, user: Any) -> bool:
    found = registry.find_topic(topic)
    if found is None or found[0].personal is None:
        return False
    return str(found[1][found[0].personal]) == str(user.pk)

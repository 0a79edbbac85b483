"""Rows that are about one person without a key that says so: topics whose declaration names the part that holds the
user's key, and entries of the outbox and of the audit trail.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Q, QuerySet

from session_mgmt.models import AuditEntry, Outbox, Stream
from session_mgmt.registry import registry

PAGE = 1000


def find_streams(using: str, user: Any) -> Iterator[Stream]:
    """Yield the streams of a user's personal topics, by ascending key."""
    if not _has_personal_topics():
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


def find_waiting_publications(using: str, user: Any) -> QuerySet[Outbox]:
    """Find publications to a user's personal topics in the outbox. The topic of the first one has no stream yet."""
    rows = Outbox.objects.using(using).filter(kind=Outbox.Kind.PUBLISH)
    if not _has_personal_topics():
        return rows.none()
    topics = rows.order_by().values_list("target", flat=True).distinct()
    return rows.filter(target__in=[topic for topic in topics if _is_about(topic, user)])


def find_entries(using: str, user: Any, sessions: Any) -> QuerySet[AuditEntry]:
    """Find entries of the audit trail that a user has made, or that are about the user or one of these sessions."""
    theirs = Q(actor=user.pk) | Q(data__user_id=str(user.pk)) | Q(session__in=sessions)
    return AuditEntry.objects.using(using).filter(theirs)


def _has_personal_topics() -> bool:
    return any(declared.personal for declared in registry.topics)


def _is_about(topic: str, user: Any) -> bool:
    found = registry.find_topic(topic)
    if found is None or found[0].personal is None:
        return False
    return str(found[1][found[0].personal]) == str(user.pk)

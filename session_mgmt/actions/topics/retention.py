"""Trim the old ends of topics' logs, and delete streams that nobody uses.

A reader that comes for removed entries gets the verdict ``trimmed``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import Exists, F, Max, OuterRef, QuerySet

from session_mgmt.conf import settings
from session_mgmt.models import Publication, Stream, Subscription
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import STREAM
from session_mgmt.registry import registry


def find_due_streams(now: datetime, *, after: int, limit: int) -> list[int]:
    """Return streams with a row that may be past its retention, by id after ``after``."""
    using = settings().database
    shortest, fewest = _find_bounds()
    old = Publication.objects.using(using).filter(at__lt=now - shortest, stream_id__gt=after)
    long = Stream.objects.using(using).filter(pk__gt=after, head__gte=F("oldest") + fewest)
    found = set(old.order_by("stream_id").values_list("stream_id", flat=True).distinct()[:limit])
    found |= set(long.order_by("pk").values_list("pk", flat=True)[:limit])
    return sorted(found)[:limit]


def _find_bounds() -> tuple[timedelta, int]:
    """Return the shortest time and the smallest number that any topic keeps."""
    times = [topic.retain for topic in registry.topics if topic.retain is not None]
    numbers = [topic.entries for topic in registry.topics if topic.entries is not None]
    return min([settings().stream_retention, *times]), min([settings().stream_entries, *numbers])


def read_limits(topic: str) -> tuple[timedelta, int]:
    """Return how long and how many entries a topic keeps."""
    declared = registry.find_topic(topic)
    retain = declared[0].retain if declared else None
    entries = declared[0].entries if declared else None
    return retain or settings().stream_retention, entries or settings().stream_entries


def trim_stream(stream: int, now: datetime, *, limit: int) -> int:
    """Delete up to ``limit`` old publications of a stream, store where its log begins now, and return their number."""
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        # Publishers of this topic wait from here on, so at most `limit` rows go in one transaction.
        rows = statements.select_locked("topic, head, head_tag, oldest", STREAM, [stream], wait=True)
        if not rows:
            return 0
        topic, head, head_tag, oldest = rows[0]
        first = min(_find_first(using, stream, topic, head, now), oldest + limit)
        if first <= oldest:
            return 0
        mine = Publication.objects.using(using).filter(stream=stream)
        tags = mine.filter(offset=first - 1).values_list("tag", flat=True)
        # The tag of the last deleted entry is kept: a reader that stands there has missed nothing.
        tag = head_tag if first - 1 == head else tags.get()
        Stream.objects.using(using).filter(pk=stream).update(oldest=first, oldest_tag=tag)
        mine.filter(offset__lt=first).delete()
        return int(first - oldest)


def _find_first(using: str, stream: int, topic: str, head: int, now: datetime) -> int:
    retain, entries = read_limits(topic)
    old = Publication.objects.using(using).filter(stream=stream, at__lt=now - retain).aggregate(last=Max("offset"))
    return max((old["last"] or 0) + 1, head - entries + 1)


def delete_unused_streams(now: datetime, *, limit: int) -> int:
    """Delete up to ``limit`` streams that hold nothing and that no session follows, and return their number.

    Each stays for the retention of sessions: a reader that comes back with a position of it is told the truth.
    """
    using = settings().database
    return _delete_streams(using, _find_unused(using).filter(created_at__lt=now - settings().retention), limit=limit)


def leave_stream(topic: str, *, since: datetime, is_only_client: bool, now: datetime) -> None:
    """Delete the stream that a session leaves if nothing was ever published and nobody else can hold a position of it.

    A stream that is kept is as old as the last leave. So one that is as old as this subscription (``since``) was made
    by it, and nobody has left it meanwhile; whoever follows it still has a subscription.
    """
    using = settings().database
    if is_only_client:
        _delete_streams(using, _find_unused(using).filter(topic=topic, head=0, created_at=since), limit=1)
    Stream.objects.using(using).filter(topic=topic, head=0).update(created_at=now)


def _find_unused(using: str) -> QuerySet[Stream]:
    has_entries = Exists(Publication.objects.filter(stream=OuterRef("pk")))
    has_followers = Exists(Subscription.objects.filter(topic=OuterRef("topic")))
    return Stream.objects.using(using).filter(~has_entries, ~has_followers)


def _delete_streams(using: str, due: QuerySet[Stream], *, limit: int) -> int:
    streams = list(due.order_by("pk").values_list("pk", flat=True)[:limit])
    if not streams:
        return 0
    with open_transaction(using):
        rows = Stream.objects.using(using).filter(pk__in=streams).order_by("pk")
        skips = transaction.get_connection(using).features.has_select_for_update_skip_locked
        locked = list(rows.select_for_update(skip_locked=skips).values_list("pk", flat=True))
        # Asked again by a statement of its own, which sees everything committed before the lock was had.
        return due.filter(pk__in=locked).delete()[0]

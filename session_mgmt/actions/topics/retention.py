"""Trim the old ends of topics' logs, and delete streams that nobody uses.

A reader that comes for removed entries gets the verdict ``trimmed``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery

from session_mgmt.actions import trimming
from session_mgmt.conf import settings
from session_mgmt.models import Member, Publication, Stream, Subscription
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import PUBLICATION, STREAM
from session_mgmt.registry import registry

_LOG = "id, topic, head, oldest"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows that are due among those of one page, and the last row that was looked at; ``None`` after the last page."""

    due: list[int]
    last: int | None


def find_due_streams(now: datetime, *, after: int, limit: int) -> Page:
    """Return the streams with an entry past its retention, among the next ``limit`` by id.

    It costs one probe for each stream, however many publications there are: by their time one would meet again and
    again those that a topic keeps for longer.
    """
    held = Publication.objects.filter(stream=OuterRef("pk"), offset__gte=OuterRef("oldest")).order_by("offset")
    streams = Stream.objects.using(settings().database).filter(pk__gt=after).order_by("pk")
    rows = streams.annotate(begun=Subquery(held.values("at")[:1])).values_list("pk", "topic", "head", "oldest", "begun")
    listed = list(rows[:limit])
    due = [stream for stream, topic, head, oldest, begun in listed if _is_due(topic, head - oldest + 1, begun, now)]
    return Page(due, listed[-1][0] if listed else None)


def _is_due(topic: str, held: int, begun: datetime | None, now: datetime) -> bool:
    retain, entries = read_limits(topic)
    return held > entries or (begun is not None and begun < now - retain)


def read_limits(topic: str) -> tuple[timedelta, int]:
    """Return how long and how many entries a topic keeps."""
    declared = registry.find_topic(topic)
    retain = declared[0].retain if declared else None
    entries = declared[0].entries if declared else None
    return retain or settings().stream_retention, entries or settings().stream_entries


def trim_streams(streams: deque[int], now: datetime, *, limit: int) -> int:
    """Delete up to ``limit`` old publications in one transaction, and return their number.

    Streams that are done are taken off the front of ``streams``. It is stored where each log begins now.
    """
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        # Publishers of these topics wait from here on.
        taken = trimming.take_logs(streams, limit)
        rows = {row[0]: row for row in statements.select_locked(_LOG, STREAM, taken, wait=True)}
        return trimming.trim_locked(streams, rows, partial(_trim_stream, statements, now), limit=limit)


def _trim_stream(statements: Statements, now: datetime, row: Row, room: int) -> int:
    stream, topic, head, oldest = row
    retain, entries = read_limits(topic)
    mine = Publication.objects.using(statements.connection.alias).filter(stream=stream, offset__gte=oldest)
    page = list(mine.order_by("offset").values_list("offset", "tag", "at")[:room])
    over = head - entries
    # From the front on, up to the first that stays: a log with a hole could not be replayed.
    gone = list(takewhile(lambda entry: entry[0] <= over or entry[2] < now - retain, page))
    if not gone:
        return 0
    _delete_front(statements, stream, *gone[-1][:2])
    return len(gone)


def _delete_front(statements: Statements, stream: int, last: int, tag: str) -> None:
    """Delete the entries up to the last one given; its tag is kept: a reader that stands there has missed nothing."""
    statements.run(f"UPDATE {STREAM} SET oldest = %s, oldest_tag = %s WHERE id = %s", [last + 1, tag, stream])
    statements.run(f'DELETE FROM {PUBLICATION} WHERE stream_id = %s AND "offset" <= %s', [stream, last])


def cut_front(using: str, stream: int, *, limit: int) -> int:
    """Delete the oldest up to ``limit`` publications of a log, whatever it is to keep, and return their number."""
    statements = Statements(connections[using])
    with open_transaction(using):
        if not statements.select_locked("id", STREAM, [stream], wait=True):
            return 0
        mine = Publication.objects.using(using).filter(stream=stream).order_by("offset")
        gone = list(mine.values_list("offset", "tag")[:limit])
        if gone:
            _delete_front(statements, stream, *gone[-1])
    return len(gone)


def delete_unused_streams(now: datetime, *, after: int = 0, limit: int) -> Page:
    """Delete the next up to ``limit`` streams by id that hold nothing and that no session follows, with nobody there.

    Each stays for the retention of sessions after its first publication: so no stream has come and gone behind a place
    that is younger than that (``beginnings.prove_beginnings``).
    """
    using = settings().database
    due = _find_unused(using).filter(created_at__lt=now - settings().retention)
    found = list(due.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:limit])
    return Page(_delete_streams(using, due, found), found[-1] if found else None)


def _find_unused(using: str) -> QuerySet[Stream]:
    has_entries = Exists(Publication.objects.filter(stream=OuterRef("pk")))
    has_followers = Exists(Subscription.objects.filter(topic=OuterRef("topic")))
    has_members = Exists(Member.objects.filter(stream=OuterRef("pk")))
    return Stream.objects.using(using).filter(~has_entries, ~has_followers, ~has_members, oldest__gt=F("head"))


def _delete_streams(using: str, due: QuerySet[Stream], streams: list[int]) -> list[int]:
    """Delete those of these streams that are still due once they are locked, and return them."""
    if not streams:
        return []
    with open_transaction(using):
        rows = Stream.objects.using(using).filter(pk__in=streams).order_by("pk")
        skips = transaction.get_connection(using).features.has_select_for_update_skip_locked
        # Rows that somebody publishes to are skipped: they are in use after all.
        locked = list(rows.select_for_update(skip_locked=skips).values_list("pk", flat=True))
        # Asked again by a statement of its own, which sees everything committed before the lock was had.
        still = list(due.filter(pk__in=locked).values_list("pk", flat=True))
        Stream.objects.using(using).filter(pk__in=still).delete()
    return still

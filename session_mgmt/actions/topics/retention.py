"""Trim the oldest entries of topics' logs, and delete streams that are not used.

A reader that asks for removed entries gets the verdict ``trimmed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery

from session_mgmt.actions import trimming
from session_mgmt.actions.trimming import Bounds, Queue
from session_mgmt.conf import settings
from session_mgmt.models import Member, Publication, Stream, Subscription
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import PUBLICATION, STREAM
from session_mgmt.registry import registry

_LOG = "id, topic, head, oldest"
_KEY = {"stream_id": "bigint", "offset": "bigint"}


@dataclass(frozen=True, slots=True)
class Page:
    """Rows to trim or delete among the rows of one page, and the last row that was checked; ``None`` after the last
    page.
    """

    due: list[int]
    last: int | None


def find_due_streams(now: datetime, *, after: int, limit: int) -> Page:
    """Return the streams that exceed their retention, by age or by number of entries, among the next ``limit`` by id.

    This costs one lookup for each stream, however many publications it has. A search by the time of publications would
    find again and again those that a topic keeps for longer.
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
    """Return for how long a topic keeps its entries, and how many of them."""
    declared = registry.find_topic(topic)
    retain = declared[0].retain if declared else None
    entries = declared[0].entries if declared else None
    return retain or settings().stream_retention, entries or settings().stream_entries


def trim_streams(streams: Queue[int], now: datetime, *, limit: int) -> int:
    """Delete up to ``limit`` old publications in one transaction, and return their number.

    The new beginning of each log is stored with it.
    """
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        # Publishers to these topics wait from here on.
        rows = statements.select_locked(_LOG, STREAM, streams.take(limit), wait=True)
        bounds = {stream: _find_bounds(statements, now, *log) for stream, *log in rows}
        found = trimming.find_fronts(statements, PUBLICATION, _KEY, bounds, most=streams.find_most(limit))
        going = streams.settle(found, limit=limit)
        _delete_fronts(statements, {stream: front.begun + front.rows for stream, front in going.items()})
    return sum(front.rows for front in going.values())


def _find_bounds(statements: Statements, now: datetime, topic: str, head: int, oldest: int) -> Bounds:
    retain, entries = read_limits(topic)
    return Bounds(oldest, head - entries + 1, head + 1, statements.moment(now - retain))


def _delete_fronts(statements: Statements, going: Mapping[int, int]) -> None:
    """Delete the entries before these offsets. The tag of the last one is kept, because a reader at its position has
    missed nothing.
    """
    last = f'SELECT MAX(q."offset") FROM {PUBLICATION} q WHERE q.stream_id = wanted.log AND q."offset" < wanted.after'
    rows = statements.select_placed(
        f'SELECT p.stream_id, p."offset", p.tag FROM wanted CROSS JOIN {PUBLICATION} p'
        f' WHERE p.stream_id = wanted.log AND p."offset" = ({last})',
        sorted(going.items()),
        kind="bigint",
    )
    began = [(stream, offset + 1, tag) for stream, offset, tag in rows]
    statements.update(STREAM, {"id": "bigint", "oldest": "bigint", "oldest_tag": "text"}, began)
    statements.delete_up_to(PUBLICATION, _KEY, [row[:2] for row in rows])


def cut_front(using: str, stream: int, *, limit: int) -> int:
    """Delete up to ``limit`` of the oldest publications of a log, even if its retention keeps them, and return their
    number.
    """
    statements = Statements(connections[using])
    with open_transaction(using):
        if not statements.select_locked("id", STREAM, [stream], wait=True):
            return 0
        mine = Publication.objects.using(using).filter(stream=stream).order_by("offset")
        gone = list(mine.values_list("offset", flat=True)[:limit])
        if gone:
            _delete_fronts(statements, {stream: gone[-1] + 1})
    return len(gone)


def delete_unused_streams(now: datetime, *, after: int = 0, limit: int) -> Page:
    """Delete streams that have no entries, no followers and no members, at most ``limit`` of them, by id after
    ``after``.

    A stream is kept for at least the retention of sessions after its creation. ``beginnings.prove_beginnings`` relies
    on this: since a younger position was given, no stream can have been created and deleted.
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
    """Lock these streams, delete those that are still unused, and return them."""
    if not streams:
        return []
    with open_transaction(using):
        rows = Stream.objects.using(using).filter(pk__in=streams).order_by("pk")
        skips = transaction.get_connection(using).features.has_select_for_update_skip_locked
        # Skip rows that a publisher has locked, because these streams are in use.
        locked = list(rows.select_for_update(skip_locked=skips).values_list("pk", flat=True))
        # Check again with a separate statement, which sees everything that was committed before the lock was taken.
        still = list(due.filter(pk__in=locked).values_list("pk", flat=True))
        Stream.objects.using(using).filter(pk__in=still).delete()
    return still

"""Trim the old ends of sessions' logs. A reader that comes for removed entries gets the verdict ``trimmed``."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connections
from django.db.models import Exists, F, Max, Min, OuterRef, Q

from session_mgmt.conf import settings
from session_mgmt.models import SessionActivity, SessionEvent
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY


def find_due_timelines(now: datetime, *, after: UUID | None, limit: int) -> list[UUID]:
    """Return sessions whose log is longer or older than it is kept, by id after ``after``."""
    rows = SessionActivity.objects.using(settings().database).filter(event_seq__gt=F("oldest_event"))
    first = SessionEvent.objects.filter(session=OuterRef("pk"), seq=OuterRef("oldest_event"))
    is_old = Exists(first.filter(at__lt=now - settings().event_retention, pending=False))
    is_long = Q(event_seq__gte=F("oldest_event") + settings().event_entries)
    due = rows.filter(is_long | is_old)
    if after is not None:
        due = due.filter(pk__gt=after)
    return list(due.order_by("pk").values_list("pk", flat=True)[:limit])


def trim_timeline(session: UUID, now: datetime, *, limit: int) -> int:
    """Take up to ``limit`` old entries off a session's log, store where it begins now, and return their number."""
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        key = statements.uuid(session)
        rows = statements.select_locked("event_seq, oldest_event", ACTIVITY, [key], key="session_id", wait=True)
        if not rows:
            return 0
        head, oldest = rows[0]
        first = min(_find_first(using, session, head, now), oldest + limit)
        if first <= oldest:
            return 0
        SessionActivity.objects.using(using).filter(pk=session).update(oldest_event=first)
        # The entry before the first stays for its tag: a client that stands there has missed nothing that is gone.
        SessionEvent.objects.using(using).filter(session=session, seq__lt=first - 1).delete()
        return int(first - oldest)


def _find_first(using: str, session: UUID, head: int, now: datetime) -> int:
    """Return the first entry to keep: never past the newest one, nor past one that a handler has still to see."""
    mine = SessionEvent.objects.using(using).filter(session=session)
    found = mine.aggregate(
        old=Max("seq", filter=Q(at__lt=now - settings().event_retention)), pending=Min("seq", filter=Q(pending=True))
    )
    first = max((found["old"] or 0) + 1, head - settings().event_entries + 1)
    return min(first, head, found["pending"] or head)

"""Trim the oldest entries of sessions' logs. A reader that asks for removed entries gets the verdict ``trimmed``."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connections
from django.db.models import Exists, F, OuterRef, Q

from session_mgmt.actions import trimming
from session_mgmt.actions.trimming import Bounds, Queue
from session_mgmt.conf import settings
from session_mgmt.models import SessionActivity, SessionEvent
from session_mgmt.models.identifiers import begin_uuid7
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY, EVENT

_LOG = "session_id, event_seq, oldest_event"
_KEY = {"session_id": "uuid", "seq": "bigint"}
# The keys of sessions contain the time of a server's clock, and entries have times of the database's clock.
_CLOCKS_APART = timedelta(days=1)


def find_due_timelines(now: datetime, *, after: UUID | None, limit: int) -> list[UUID]:
    """Return sessions whose log exceeds its retention, by number or age of entries, by id after ``after``."""
    cutoff = now - settings().event_retention
    rows = SessionActivity.objects.using(settings().database).filter(event_seq__gt=F("oldest_event"))
    first = SessionEvent.objects.filter(session=OuterRef("pk"), seq=OuterRef("oldest_event"))
    # Ids grow with time, so a younger session has no older entry and needs no lookup.
    is_old = Q(pk__lt=begin_uuid7(cutoff + _CLOCKS_APART)) & Exists(first.filter(at__lt=cutoff, pending=False))
    is_long = Q(event_seq__gte=F("oldest_event") + settings().event_entries)
    due = rows.filter(is_long | is_old)
    if after is not None:
        due = due.filter(pk__gt=after)
    return list(due.order_by("pk").values_list("pk", flat=True)[:limit])


def trim_timelines(sessions: Queue[UUID], now: datetime, *, limit: int) -> int:
    """Delete up to ``limit`` old entries from the logs, in one transaction, and return their number.

    The new beginning of each log is stored with it.
    """
    using = settings().database
    statements = Statements(connections[using])
    cutoff = statements.moment(now - settings().event_retention)
    with open_transaction(using):
        taken = [statements.uuid(session) for session in sessions.take(limit)]
        rows = statements.select_locked(_LOG, ACTIVITY, taken, key="session_id", wait=True)
        # Never delete the newest entry, nor one that still waits for a handler.
        bounds = {
            session: Bounds(oldest, head - settings().event_entries + 1, head, cutoff) for session, head, oldest in rows
        }
        most = sessions.find_most(limit)
        found = trimming.find_fronts(statements, EVENT, _KEY, bounds, most=most, kept="r.pending")
        going = sessions.settle({statements.as_uuid(session): front for session, front in found.items()}, limit=limit)
        firsts = [(statements.uuid(session), front.begun + front.rows) for session, front in going.items()]
        statements.update(ACTIVITY, {"session_id": "uuid", "oldest_event": "bigint"}, firsts)
        # The entry before the first is kept for its tag: a client at that position has missed nothing.
        statements.delete_up_to(EVENT, _KEY, [(session, first - 2) for session, first in firsts])
    return sum(front.rows for front in going.values())

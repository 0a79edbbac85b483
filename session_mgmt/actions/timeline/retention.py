"""Trim the old ends of sessions' logs. A reader that comes for removed entries gets the verdict ``trimmed``."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from uuid import UUID

from django.db import connections
from django.db.models import Exists, F, OuterRef, Q

from session_mgmt.actions import trimming
from session_mgmt.conf import settings
from session_mgmt.models import SessionActivity, SessionEvent
from session_mgmt.models.identifiers import begin_uuid7
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import ACTIVITY, EVENT

# Sessions get their keys by the clock of a server, and entries their times by that of the database.
_CLOCKS_APART = timedelta(days=1)


def find_due_timelines(now: datetime, *, after: UUID | None, limit: int) -> list[UUID]:
    """Return sessions whose log is longer or older than it is kept, by id after ``after``."""
    cutoff = now - settings().event_retention
    rows = SessionActivity.objects.using(settings().database).filter(event_seq__gt=F("oldest_event"))
    first = SessionEvent.objects.filter(session=OuterRef("pk"), seq=OuterRef("oldest_event"))
    # Ids grow with time: a younger session holds no older entry, and is not asked for one.
    is_old = Q(pk__lt=begin_uuid7(cutoff + _CLOCKS_APART)) & Exists(first.filter(at__lt=cutoff, pending=False))
    is_long = Q(event_seq__gte=F("oldest_event") + settings().event_entries)
    due = rows.filter(is_long | is_old)
    if after is not None:
        due = due.filter(pk__gt=after)
    return list(due.order_by("pk").values_list("pk", flat=True)[:limit])


def trim_timelines(sessions: deque[UUID], now: datetime, *, limit: int) -> int:
    """Take up to ``limit`` old entries off the logs, in one transaction, and return their number.

    Sessions that are done are taken off the front of ``sessions``. It is stored where each log begins now.
    """
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        rows = {
            statements.as_uuid(row[0]): row
            for row in statements.select_locked(
                "session_id, event_seq, oldest_event",
                ACTIVITY,
                [statements.uuid(session) for session in trimming.take_logs(sessions, limit)],
                key="session_id",
                wait=True,
            )
        }
        return trimming.trim_locked(sessions, rows, partial(_trim_timeline, statements, now), limit=limit)


def _trim_timeline(statements: Statements, now: datetime, row: Row, room: int) -> int:
    session, head, oldest = row
    mine = SessionEvent.objects.using(statements.connection.alias).filter(
        session=statements.as_uuid(session), seq__gte=oldest
    )
    over, cutoff = head - settings().event_entries, now - settings().event_retention
    # Never the newest one, nor one that a handler has still to see.
    page = mine.filter(seq__lt=head).order_by("seq").values_list("seq", "at", "pending")[:room]
    # From the front on, up to the first that stays: a log with a hole could not be replayed.
    gone = list(takewhile(lambda entry: not entry[2] and (entry[0] <= over or entry[1] < cutoff), page))
    if not gone:
        return 0
    first = gone[-1][0] + 1
    statements.run(f"UPDATE {ACTIVITY} SET oldest_event = %s WHERE session_id = %s", [first, session])
    # The entry before the first stays for its tag: a client that stands there has missed nothing that is gone.
    statements.run(f"DELETE FROM {EVENT} WHERE session_id = %s AND seq < %s", [session, first - 1])
    return len(gone)

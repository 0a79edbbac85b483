"""End sessions: close their rows, fence their clients and tell their logs; the reason goes wherever the end is told."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import F, QuerySet

from session_mgmt.actions import audit, notify
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.models import Client, ClientSession, Connection, SessionActivity
from session_mgmt.protocol import events as names
from session_mgmt.protocol.codes import Close

State = ClientSession.State
_EVENTS = {State.EXPIRED: names.SESSION_EXPIRED, State.TERMINATED: names.SESSION_TERMINATED}
_CODES = {State.EXPIRED: Close.SESSION_EXPIRED, State.TERMINATED: Close.SESSION_TERMINATED}


def end_session(using: str, session: uuid.UUID, state: State, reason: str, now: datetime) -> bool:
    """End the session unless it has ended; only the one who changes ``live`` does, everybody else returns false."""
    # One conditional UPDATE, so that of two who end a session one wins and tells it (promises L1 and L2).
    if not SessionActivity.objects.using(using).filter(pk=session, live=True).update(live=False):
        return False
    finish_sessions(using, [session], state, reason, now)
    return True


def lock_in_order(using: str, rows: QuerySet[Any]) -> None:
    """Lock rows by ascending key, as the lane and the lease flushes do: an UPDATE alone takes any order."""
    if connections[using].features.has_select_for_update:
        list(rows.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))


def finish_sessions(using: str, sessions: list[uuid.UUID], state: State, reason: str, now: datetime) -> None:
    """Carry out the end of sessions that the caller has claimed."""
    ClientSession.objects.using(using).filter(pk__in=sessions).update(state=state, ended_at=now, end_reason=reason[:60])
    detach_clients(using, sessions, _CODES[state], now)
    entries = [make_record(session, _EVENTS[state], {"reason": reason}) for session in sessions]
    record_entries(using, entries, at=now, orders=notify.order_close(sessions, _CODES[state], reason))
    for session in sessions:
        audit.log_committed(using, _EVENTS[state], session=session, reason=reason[:60])


def detach_clients(using: str, sessions: list[uuid.UUID], code: Close, now: datetime) -> None:
    """Fence the clients of sessions, and close the rows of their connections."""
    # Fenced first: a raised generation refuses whatever was on its way.
    clients = Client.objects.using(using).filter(session__in=sessions)
    lock_in_order(using, clients)
    clients.update(generation=F("generation") + 1)
    # Their rows are closed here, because a process that died will never do it.
    left = Connection.objects.using(using).filter(session__in=sessions, closed_at__isnull=True)
    lock_in_order(using, left)
    left.update(closed_at=now, close_code=code, closed_by="server")

"""End a session: close its row, fence its clients and tell its log."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime

from django.db import connections
from django.db.models import F

from session_mgmt.actions import notify
from session_mgmt.actions.timeline import events
from session_mgmt.actions.timeline.events import Record, record
from session_mgmt.models import (
    Client,
    ClientSession,
    Connection,
    SessionActivity,
)
from session_mgmt.models.sql import Statements


def end_session(using: str, session: uuid.UUID, state: str, event: str, reason: str, now: datetime) -> bool:
    """Whoever changes ``live`` ends the session; everybody else finds nothing to do."""
    if not SessionActivity.objects.using(using).filter(pk=session, live=True).update(live=False):
        return False
    ClientSession.objects.using(using).filter(pk=session).update(state=state, ended_at=now, end_reason=reason[:60])
    detach_clients(using, [session], now)
    record_and_notify(using, [record(session, event, {"reason": reason})], now, ended=[session])
    return True


def detach_clients(using: str, sessions: list[uuid.UUID], now: datetime) -> None:
    """Fence every client: a raised generation refuses all that was on its way."""
    Client.objects.using(using).filter(session__in=sessions).update(generation=F("generation") + 1)
    Connection.objects.using(using).filter(session__in=sessions, closed_at__isnull=True).update(
        closed_at=now, closed_by="server"
    )


def record_and_notify(using: str, entries: list[Record], now: datetime, *, ended: Iterable[uuid.UUID] = ()) -> None:
    ledger = events.append(Statements(connections[using]), entries, at=now)
    notify.after_commit(using, rings=ledger.heads(), facts=ledger.facts(), ended=list(ended))

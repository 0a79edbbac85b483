"""End a session: close its row, fence its clients and tell its log."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db.models import F

from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.models import (
    Client,
    ClientSession,
    Connection,
    SessionActivity,
)


def end_session(using: str, session: uuid.UUID, state: str, event: str, reason: str, now: datetime) -> bool:
    """End the session unless it has ended; only the one who changes ``live`` does, everybody else returns false."""
    if not SessionActivity.objects.using(using).filter(pk=session, live=True).update(live=False):
        return False
    ClientSession.objects.using(using).filter(pk=session).update(state=state, ended_at=now, end_reason=reason[:60])
    detach_clients(using, [session], now)
    record_entries(using, [make_record(session, event, {"reason": reason})], at=now, ended=[session])
    return True


def detach_clients(using: str, sessions: list[uuid.UUID], now: datetime) -> None:
    """Fence every client: a raised generation refuses whatever was on its way."""
    Client.objects.using(using).filter(session__in=sessions).update(generation=F("generation") + 1)
    Connection.objects.using(using).filter(session__in=sessions, closed_at__isnull=True).update(
        closed_at=now, closed_by="server"
    )

"""Expire sessions whose deadline has passed."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import connections, transaction

from session_mgmt.actions.sessions import ending
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.conf import settings
from session_mgmt.models import (
    ClientSession,
    SessionActivity,
    clock,
)
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY
from session_mgmt.protocol import events as names


def expire_due(*, limit: int, now: datetime | None = None) -> list[uuid.UUID]:
    """End up to ``limit`` sessions whose deadline has passed, in one transaction, and return them.

    The claim is a conditional UPDATE on the row on which resume competes, so that two sweeps, or a sweep and a
    resume, cannot both win. Activity that is still waiting to be flushed is waited for.
    """
    using = settings().database
    with transaction.atomic(using=using):
        now = now or clock.read(using)
        due = now - timedelta(seconds=2 * settings().lease_flush_interval)
        claimed = _claim_due(using, due, limit)
        if not claimed:
            return []
        ClientSession.objects.using(using).filter(pk__in=claimed).update(
            state=ClientSession.State.EXPIRED, ended_at=now, end_reason="timeout"
        )
        ending.detach_clients(using, claimed, now)
        entries = [make_record(key, names.SESSION_EXPIRED, {"reason": "timeout"}) for key in claimed]
        record_entries(using, entries, at=now, ended=claimed)
    return claimed


def _claim_due(using: str, due: datetime, limit: int) -> list[uuid.UUID]:
    statements = Statements(connections[using])
    locked = " FOR UPDATE SKIP LOCKED" if statements.postgres else ""
    # Materialised: in a nested loop PostgreSQL runs a plain subquery again for each row, past the LIMIT.
    rows = statements.fetch(
        f"WITH due AS MATERIALIZED (SELECT session_id FROM {ACTIVITY}"
        " WHERE live AND expires_at <= %s"
        f" ORDER BY expires_at LIMIT %s{locked})"
        f" UPDATE {ACTIVITY} SET live = false"
        " WHERE session_id IN (SELECT session_id FROM due) AND live RETURNING session_id",
        [statements.moment(due), limit],
    )
    return [statements.as_uuid(row[0]) for row in rows]


def count_due(*, now: datetime | None = None) -> int:
    """Count the sessions that a sweep would end now."""
    using = settings().database
    due = (now or clock.read(using)) - timedelta(seconds=2 * settings().lease_flush_interval)
    return SessionActivity.objects.using(using).filter(live=True, expires_at__lte=due).count()

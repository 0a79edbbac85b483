"""Expire sessions whose deadline has passed."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import connections

from session_mgmt.actions import ends
from session_mgmt.actions.sessions import ending
from session_mgmt.conf import settings
from session_mgmt.models import (
    ClientSession,
    SessionActivity,
    clock,
)
from session_mgmt.models.deadlines import filter_over, render_over
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY


def expire_due(*, limit: int, now: datetime | None = None) -> list[uuid.UUID]:
    """End up to ``limit`` sessions whose deadline has passed, in one transaction, and return them.

    They are claimed by a conditional UPDATE on the row that a resume also locks, so that only one of two cleanups, or
    of a cleanup and a resume, can win. Before a session ends, activity that waits to be flushed gets the time to be
    written.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        claimed = _claim_due(using, now, limit)
        for group in ending.split_groups(claimed):
            ending.finish_sessions(using, group, ClientSession.State.EXPIRED, ends.TIMEOUT, now)
    return claimed


def _claim_due(using: str, now: datetime, limit: int) -> list[uuid.UUID]:
    statements = Statements(connections[using])
    over, moments = render_over(statements, now)
    # Skip locked rows and do not wait: their sessions are in use, and the next cleanup checks them again.
    locked = " FOR UPDATE SKIP LOCKED" if statements.postgres else ""
    # `expires_at` is never later than the absolute deadline, so this condition only serves the index.
    # Materialised, because in a nested loop PostgreSQL runs a plain subquery again for each row, beyond the LIMIT.
    rows = statements.fetch(
        f"WITH due AS MATERIALIZED (SELECT session_id FROM {ACTIVITY}"
        f" WHERE live AND expires_at <= %s AND {over} ORDER BY expires_at LIMIT %s{locked})"
        f" UPDATE {ACTIVITY} SET live = false"
        " WHERE session_id IN (SELECT session_id FROM due) AND live RETURNING session_id",
        [statements.moment(now), *moments, limit],
    )
    return [statements.as_uuid(row[0]) for row in rows]


def count_due(*, now: datetime | None = None) -> int:
    """Return the number of sessions that a cleanup would end now."""
    using = settings().database
    now = now or clock.read(using)
    return SessionActivity.objects.using(using).filter(filter_over(now), live=True, expires_at__lte=now).count()

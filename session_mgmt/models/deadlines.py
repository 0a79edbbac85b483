"""Deadlines of sessions, acted on only when no activity can still be on its way to the database."""

from __future__ import annotations

from datetime import datetime, timedelta

from session_mgmt.conf import settings


def find_due_time(now: datetime) -> datetime:
    """Return the time up to which a deadline is over: activity waits for two flushes at most."""
    return now - timedelta(seconds=2 * settings().lease_flush_interval)

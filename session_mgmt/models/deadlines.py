"""The rule for the deadlines of sessions, as an ORM condition, as SQL and in Python.

Activity moves the idle deadline of a session, but reaches the database only with a later flush. So the idle time is
over only when no activity can still be on its way to the database. Activity does not move the absolute deadline, which
is over at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from session_mgmt.conf import settings
from session_mgmt.models.sql import Statements


def find_due_time(now: datetime) -> datetime:
    """Return the latest idle deadline that counts as over now: activity waits for two flushes at most."""
    return now - timedelta(seconds=2 * settings().lease_flush_interval)


def is_over(expires_at: datetime, absolute_deadline: datetime, now: datetime) -> bool:
    """Return whether the time of a session is over, judged by the columns of its activity."""
    return expires_at <= find_due_time(now) or absolute_deadline <= now


def filter_over(now: datetime) -> Q:
    """Return the ORM condition that selects rows of ``SessionActivity`` whose time is over."""
    return Q(expires_at__lte=find_due_time(now)) | Q(absolute_deadline__lte=now)


def render_over(statements: Statements, now: datetime, prefix: str = "") -> tuple[str, list[Any]]:
    """Return the same condition as SQL with its parameters; ``prefix`` names the table."""
    moments = [statements.moment(find_due_time(now)), statements.moment(now)]
    return f"({prefix}expires_at <= %s OR {prefix}absolute_deadline <= %s)", moments

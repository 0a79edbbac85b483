"""Ends of sessions as callers are told them: one error for each kind, with the reason in one word."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from session_mgmt.exceptions import SessionEnded, SessionExpired, SessionTerminated
from session_mgmt.models import ClientSession
from session_mgmt.models.deadlines import is_over
from session_mgmt.protocol.codes import read_reason

# A deadline has passed, whether or not a sweep has come by since.
TIMEOUT = "timeout"


def explain_state(state: str, reason: str) -> SessionEnded | None:
    """Return the error of a session that has ended so, or ``None`` for one that is active.

    A reason that is no word, which an operator may have written, is for the people of the site only.
    """
    facts: dict[str, Any] = {"reason": word} if (word := read_reason(reason)) else {}
    if state == ClientSession.State.TERMINATED:
        return SessionTerminated(**facts)
    return SessionExpired(**facts) if state == ClientSession.State.EXPIRED else None


def explain_end(
    state: str, reason: str, expires_at: datetime, absolute_deadline: datetime, *, now: datetime
) -> SessionEnded | None:
    """Return the error that says how a session has ended, or ``None``; time that is over counts, swept or not."""
    ended = explain_state(state, reason)
    if ended is None and is_over(expires_at, absolute_deadline, now):
        return explain_state(ClientSession.State.EXPIRED, TIMEOUT)
    return ended


def find_reason(error: Exception | None) -> str:
    """Return the reason of an end, or ""."""
    return str(error.facts.get("reason", "")) if isinstance(error, SessionEnded) else ""

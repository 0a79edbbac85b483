"""Control the sessions that a process serves: check for many of them, with one query, whether they may go on."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections

from session_mgmt.actions import ends
from session_mgmt.actions.sessions import fingerprints, standing, users
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionEnded, SessionExpired, SessionTerminated
from session_mgmt.models import SessionActivity, clock
from session_mgmt.models.changes import Mark, has_changed, read_mark
from session_mgmt.models.deadlines import render_over
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import ACTIVITY, LOGIN, SESSION
from session_mgmt.protocol.codes import Close, read_reason

# Seconds for which a process serves sessions on the last answer of the database about them.
UNANSWERED_LIMIT = 5.0

_ENDS: dict[Close | None, type[SessionEnded]] = {
    Close.SESSION_EXPIRED: SessionExpired,
    Close.SESSION_TERMINATED: SessionTerminated,
}


class Known(NamedTuple):
    """Session as a process knows it: the versions of its tokens and of its user's permissions, and its mark."""

    auth_version: int
    access_version: int
    mark: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """Current state of a session. ``code`` is the reason why it may not go on, and ``reason`` one word for how it
    ended; with ``has_fault``, the session must still be ended or its login must be checked.

    The process replaces its knowledge of the session by ``known``.
    """

    code: Close | None
    known: Known | None = None
    has_fault: bool = False
    reason: str = ""

    def judge_connection(self, auth_version: int) -> Close | None:
        """Return the close code for a connection that was authenticated with this version, or ``None`` if it
        may go on.
        """
        is_current = self.known is None or self.known.auth_version == auth_version
        return self.code or (None if is_current else Close.LOGIN_CHECK)


def find_controls(known: Mapping[uuid.UUID, Known], *, now: datetime | None = None) -> dict[uuid.UUID, Control]:
    """Return the controls of sessions that may not go on, or that differ from what is known here."""
    using = settings().database
    now = now or clock.read(using)
    if users.asks_instances():
        # Only instances of the user model can show how users stand.
        found = read_controls(known, now=now)
        return {key: control for key, control in found.items() if control.code or control.known != known[key]}
    statements = Statements(connections[using])
    marks = [row.mark if statements.postgres else row.mark.hex() for row in known.values()]
    asked = [
        (statements.uuid(key), row.auth_version, row.access_version, mark)
        for (key, row), mark in zip(known.items(), marks, strict=True)
    ]
    # This runs every few seconds for all sessions, and nearly always all may go on. Reading a row of each would take
    # longer than finding it.
    if sum(row[0] for row in _ask_good(statements, "COUNT(*)", asked, now)) == len(asked):
        return {}
    good = {statements.as_uuid(row[0]) for row in _ask_good(statements, "a.session_id", asked, now)}
    return read_controls(known.keys() - good, now=now)


def _ask_good(statements: Statements, columns: str, asked: Sequence[tuple[Any, ...]], now: datetime) -> list[Row]:
    """Select from the sessions that may certainly go on and are as they are known here, as far as columns show."""
    over, moments = render_over(statements, now, "a.")
    join, stands, params = users.render_standing(statements, "wanted.mark")
    # Begin with `wanted`, and join in this order, so that each session is found by its key.
    return statements.select_wanted(
        f"SELECT {columns} FROM wanted CROSS JOIN {ACTIVITY} a JOIN {SESSION} s ON s.id = a.session_id {join}"
        f" LEFT JOIN {LOGIN} l ON l.id = s.login_id"
        " WHERE a.session_id = wanted.session AND s.auth_version = wanted.auth AND s.access_version = wanted.access"
        f" AND a.live AND NOT {over} AND l.ended_at IS NULL"
        f" AND (s.user_id IS NULL OR ({stands}))",
        {"session": "uuid", "auth": "bigint", "access": "bigint", "mark": "bytea"},
        asked,
        params=[*moments, *params],
    )


def find_change(before: Mark | None) -> tuple[bool, Mark | None]:
    """Return whether sessions and their clients may have changed, by a write or by a deadline, since the database had
    the mark ``before``; and return the current mark.
    """
    using = settings().database
    mark = read_mark(using)
    if has_changed(before, mark) or not users.changes_by_writes_only():
        return True, mark
    # By an index, and without the ORM, which would take longer to compile the query.
    statements, now = Statements(connections[using]), clock.read(using)
    over = f"SELECT 1 FROM {ACTIVITY} WHERE live AND expires_at <= %s LIMIT 1"
    return bool(statements.fetch(over, [statements.moment(now)])), mark


def read_controls(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> dict[uuid.UUID, Control]:
    """Return the control of each session, with one SELECT, and one more for a filter of the project's own."""
    using = settings().database
    wanted = list(sessions)
    now = now or clock.read(using)
    rows = SessionActivity.objects.using(using).filter(session__in=wanted)
    rows = rows.select_related("session__user", "session__login")
    rows = rows.defer("session__metadata", "session__config", "session__scopes")
    # A missing session was deleted.
    found = dict.fromkeys(wanted, Control(Close.SESSION_TERMINATED))
    return found | {row.session_id: _judge_row(row, now) for row in rows}


def find_ends(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> dict[uuid.UUID, SessionEnded]:
    """Return how sessions have ended, for those that have ended or do not exist.

    The end of a session fences its clients, and its deletion removes its rows. Code that misses a row or finds a
    fenced client calls this function before it reports another error.
    """
    ended: dict[uuid.UUID, SessionEnded] = {}
    for session, control in read_controls(sessions, now=now).items():
        facts: dict[str, Any] = {"reason": control.reason} if control.reason else {}
        if control.code in _ENDS:
            ended[session] = _ENDS[control.code](**facts)
    return ended


def _judge_row(row: SessionActivity, now: datetime) -> Control:
    session = row.session
    mark = fingerprints.make_mark(session.auth_fingerprint, users.find_password(session.user))
    known = Known(session.auth_version, session.access_version, mark)
    ended = ends.explain_end(session.state, session.end_reason, row.expires_at, row.absolute_deadline, now=now)
    if ended is not None and ended.close is not None:
        return Control(Close(ended.close), known, reason=ends.find_reason(ended))
    if not row.live:
        # Its end is just being written.
        return Control(Close.SESSION_TERMINATED, known)
    fault = standing.find_fault(session)
    if fault is None:
        return Control(None, known)
    is_check = fault == standing.CREDENTIALS_CHANGED and session.login is not None
    if is_check:
        return Control(Close.LOGIN_CHECK, known, has_fault=True)
    return Control(Close.SESSION_TERMINATED, known, has_fault=True, reason=read_reason(fault))

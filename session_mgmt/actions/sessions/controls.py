"""Control of the sessions that a process serves: whether they may go on, by one query for many of them."""

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
from session_mgmt.models.changes import Mark, read_mark
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
    """Session as a process has found it: the version of its tokens and of its user's rights, and its mark."""

    auth_version: int
    access_version: int
    mark: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """How a session stands. ``code`` tells why it may not go on, and ``reason`` in one word how it ended; ``has_fault``
    that something is to be done about it.

    Its process goes by ``known`` from now on.
    """

    code: Close | None
    known: Known | None = None
    has_fault: bool = False
    reason: str = ""

    def judge_connection(self, auth_version: int) -> Close | None:
        """Return why a connection may not go on that was proved by a token of this version."""
        is_current = self.known is None or self.known.auth_version == auth_version
        return self.code or (None if is_current else Close.LOGIN_CHECK)


def find_controls(known: Mapping[uuid.UUID, Known], *, now: datetime | None = None) -> dict[uuid.UUID, Control]:
    """Return how those sessions stand that may not go on, or of which anything is not as it is known here."""
    using = settings().database
    now = now or clock.read(using)
    if users.asks_instances():
        # Only the users themselves can tell.
        found = read_controls(known, now=now)
        return {key: control for key, control in found.items() if control.code or control.known != known[key]}
    statements = Statements(connections[using])
    marks = [row.mark if statements.postgres else row.mark.hex() for row in known.values()]
    asked = [
        (statements.uuid(key), row.auth_version, row.access_version, mark)
        for (key, row), mark in zip(known.items(), marks, strict=True)
    ]
    # Asked every few seconds for everybody, and nearly always all may go on. To read a row of each would take longer
    # than to find it.
    if sum(row[0] for row in _ask_good(statements, "COUNT(*)", asked, now)) == len(asked):
        return {}
    good = {statements.as_uuid(row[0]) for row in _ask_good(statements, "a.session_id", asked, now)}
    return read_controls(known.keys() - good, now=now)


def _ask_good(statements: Statements, columns: str, asked: Sequence[tuple[Any, ...]], now: datetime) -> list[Row]:
    """Select from the sessions that may go on as they are known for sure, as far as columns can tell."""
    over, moments = render_over(statements, now, "a.")
    join, stands, params = users.render_standing(statements, "wanted.mark")
    # Wanted first, and one after the other: each is found by its key.
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
    """Return whether anything may have changed about sessions and their clients since the database had the mark
    ``before``: by a write, or by a deadline. Return the mark now, too.
    """
    using = settings().database
    mark = read_mark(using)
    if before is None or mark != before or not users.changes_by_writes_only():
        return True, mark
    # By its index, and not by the ORM, which would take longer to compile it.
    statements, now = Statements(connections[using]), clock.read(using)
    over = f"SELECT 1 FROM {ACTIVITY} WHERE live AND expires_at <= %s LIMIT 1"
    return bool(statements.fetch(over, [statements.moment(now)])), mark


def read_controls(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> dict[uuid.UUID, Control]:
    """Return how each of the sessions stands; one SELECT, and one more for a filter of the project's own."""
    using = settings().database
    wanted = list(sessions)
    now = now or clock.read(using)
    rows = SessionActivity.objects.using(using).filter(session__in=wanted)
    rows = rows.select_related("session__user", "session__login")
    rows = rows.defer("session__metadata", "session__config", "session__scopes")
    # A session that is missing was deleted.
    found = dict.fromkeys(wanted, Control(Close.SESSION_TERMINATED))
    return found | {row.session_id: _judge_row(row, now) for row in rows}


def find_ends(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> dict[uuid.UUID, SessionEnded]:
    """Return the ends of those of the sessions that have ended or are gone.

    A session takes its rows along: whoever misses one of them, or finds its clients fenced, asks this first.
    """
    ended: dict[uuid.UUID, SessionEnded] = {}
    for session, control in read_controls(sessions, now=now).items():
        told: dict[str, Any] = {"reason": control.reason} if control.reason else {}
        if control.code in _ENDS:
            ended[session] = _ENDS[control.code](**told)
    return ended


def _judge_row(row: SessionActivity, now: datetime) -> Control:
    session = row.session
    mark = fingerprints.make_mark(session.auth_fingerprint, users.find_password(session.user))
    known = Known(session.auth_version, session.access_version, mark)
    ended = ends.explain_end(session.state, session.end_reason, row.expires_at, row.absolute_deadline, now=now)
    if ended is not None and ended.close is not None:
        return Control(Close(ended.close), known, reason=ends.find_reason(ended))
    if not row.live:
        # It is being ended just now.
        return Control(Close.SESSION_TERMINATED, known)
    fault = standing.find_fault(session)
    if fault is None:
        return Control(None, known)
    is_check = fault == standing.CREDENTIALS_CHANGED and session.login is not None
    if is_check:
        return Control(Close.LOGIN_CHECK, known, has_fault=True)
    return Control(Close.SESSION_TERMINATED, known, has_fault=True, reason=read_reason(fault))

"""Read a session's own log: its position, and pages of its entries."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from django.db import connections

from session_mgmt.actions.timeline.ledger import encode_body
from session_mgmt.conf import settings
from session_mgmt.models import SessionActivity, SessionEvent, clock
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import ACTIVITY, EVENT
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window

# Session, and the number that a client asks about.
Asked: TypeAlias = tuple[uuid.UUID, int | None]


def read_windows(statements: Statements, asked: Iterable[Asked]) -> dict[Asked, Window]:
    """Return the windows of the logs of those sessions that exist, with two queries for any number."""
    wanted = set(asked)
    rows = statements.select_rows(
        "session_id, epoch, event_seq, event_tag, oldest_event",
        ACTIVITY,
        {statements.uuid(session) for session, _ in wanted},
        key="session_id",
    )
    heads = {statements.as_uuid(row[0]): row[1:] for row in rows}
    places = {
        (statements.uuid(session), seq)
        for session, seq in wanted
        if session in heads and seq is not None and 0 < seq < heads[session][1]
    }
    key = {"session_id": "uuid", "seq": "bigint"}
    found = statements.select_pairs("session_id, seq, tag", EVENT, key, places)
    tags = {(statements.as_uuid(session), seq): tag for session, seq, tag in found}
    return {
        (session, seq): Window(Position(*heads[session][:3]), heads[session][3], tags.get((session, seq or 0)))
        for session, seq in wanted
        if session in heads
    }


def read_window(using: str, session: uuid.UUID, asked: int | None) -> Window | None:
    """Return the log's window, or ``None`` without a session, with one query, or two if a client names an older
    position.
    """
    mine = SessionActivity.objects.using(using).filter(pk=session)
    row = mine.values_list("epoch", "event_seq", "event_tag", "oldest_event").first()
    if row is None:
        return None
    epoch, head, tag, oldest = row
    return Window(Position(epoch, head, tag), oldest, _read_tag(using, session, asked, head))


def _read_tag(using: str, session: uuid.UUID, asked: int | None, head: int) -> str | None:
    if asked is None or not 0 < asked < head:
        return None
    mine = SessionEvent.objects.using(using).filter(session=session, seq=asked)
    return mine.values_list("tag", flat=True).first()


def read_pages(using: str, places: Sequence[tuple[uuid.UUID, int]], limit: int) -> dict[uuid.UUID, list[Entry]]:
    """Return a page of entries after a number for each of many sessions, with one query; sessions without entries are
    left out.
    """
    statements = Statements(connections[using])
    found = statements.fetch_pages(
        f"SELECT e.session_id AS log, e.seq AS number, e.tag, e.type, e.data, {statements.as_utc('e.at')} AS at"
        f" FROM wanted CROSS JOIN {EVENT} e WHERE e.session_id = wanted.log AND e.seq > wanted.after"
        f" AND e.seq <= wanted.after + {int(limit)}",
        [(statements.uuid(session), after) for session, after in places],
        kind="uuid",
        body="data",
        most_bytes=settings().replay_page_bytes,
    )
    return {statements.as_uuid(session): [_make_entry(row) for row in rows] for session, rows in found.items()}


def read_page(using: str, session: uuid.UUID, after: int, limit: int) -> list[Entry]:
    """Return a page of the entries after a number, oldest first; it is limited by number and by bytes."""
    statements = Statements(connections[using])
    # Each client that comes back has missed at least the entries about its own connection, so this runs often. The ORM
    # would take longer to build the query than the query takes.
    rows = statements.fetch_page(
        f"SELECT seq AS number, tag, type, data, {statements.as_utc('at')} AS at FROM {EVENT}"
        " WHERE session_id = %s AND seq > %s ORDER BY seq LIMIT %s",
        [statements.uuid(session), after, limit],
        number="number",
        body="data",
        most_bytes=settings().replay_page_bytes,
    )
    return [_make_entry(row) for row in rows]


def _make_entry(row: Row) -> Entry:
    seq, tag, type_, data, at = row[:5]
    return Entry(seq, tag, encode_body(type_, bytes(data), clock.make_aware(at)))

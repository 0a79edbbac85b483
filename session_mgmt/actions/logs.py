"""The three kinds of logs read alike: pages of entries, and where they stand."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connections

from session_mgmt.actions.state import entries
from session_mgmt.actions.timeline import events
from session_mgmt.actions.topics import streams
from session_mgmt.conf import settings
from session_mgmt.documents import chain
from session_mgmt.models.sql import Statements, marks
from session_mgmt.protocol.logs import DOCUMENT_KEY, STREAM_KEY, TIMELINE_KEY, Entry
from session_mgmt.protocol.position import Position


@dataclass(frozen=True, slots=True)
class LogRow:
    """Where a log is stored. ``key`` is its name among processes; ``name`` what clients call it."""

    key: str
    name: str

    @property
    def number(self) -> int:
        return int(self.key[2:])

    @property
    def session(self) -> uuid.UUID:
        return uuid.UUID(self.key[2:])


def read(row: LogRow, after: int, limit: int) -> list[Entry]:
    """Entries after an offset, oldest first."""
    statements = Statements(connections[settings().database])
    if row.key.startswith(DOCUMENT_KEY):
        return entries.read(statements, row.number, after, limit)
    if row.key.startswith(STREAM_KEY):
        return streams.read(statements, row.number, after, limit)
    return events.read(statements, row.session, after, limit)


def head(row: LogRow) -> Position | None:
    """Where one log stands."""
    return heads([row.key]).get(row.key)


def heads(keys: Iterable[str]) -> dict[str, Position]:
    """Where many logs stand: one query for each kind, by key (10,000 heads cost 55 ms by integer id)."""
    statements = Statements(connections[settings().database])
    found: dict[str, Position] = {}
    by_kind: dict[str, list[str]] = {DOCUMENT_KEY: [], STREAM_KEY: [], TIMELINE_KEY: []}
    for key in keys:
        by_kind[key[:2]].append(key[2:])
    found |= _document_heads(statements, [int(number) for number in by_kind[DOCUMENT_KEY]])
    found |= _stream_heads(statements, [int(number) for number in by_kind[STREAM_KEY]])
    found |= _timeline_heads(statements, [uuid.UUID(session) for session in by_kind[TIMELINE_KEY]])
    return found


def _document_heads(statements: Statements, ids: list[int]) -> dict[str, Position]:
    if not ids:
        return {}
    rows = statements.fetch(
        f"SELECT id, epoch, version, chain FROM session_mgmt_statedocument WHERE id IN ({marks(len(ids))})", ids
    )
    return {
        f"{DOCUMENT_KEY}{row[0]}": Position(row[1], row[2], chain.tag(bytes(row[3])) if row[2] else "") for row in rows
    }


def _stream_heads(statements: Statements, ids: list[int]) -> dict[str, Position]:
    if not ids:
        return {}
    rows = statements.fetch(
        f"SELECT id, epoch, head, head_tag FROM session_mgmt_stream WHERE id IN ({marks(len(ids))})", ids
    )
    return {f"{STREAM_KEY}{row[0]}": Position(*row[1:]) for row in rows}


def _timeline_heads(statements: Statements, sessions: list[uuid.UUID]) -> dict[str, Position]:
    if not sessions:
        return {}
    rows = statements.fetch(
        "SELECT session_id, epoch, event_seq, event_tag FROM session_mgmt_sessionactivity"
        f" WHERE session_id IN ({marks(len(sessions))})",
        [statements.uuid(session) for session in sessions],
    )
    return {f"{TIMELINE_KEY}{statements.as_uuid(row[0]).hex}": Position(*row[1:]) for row in rows}

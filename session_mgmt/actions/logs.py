"""Read the three kinds of logs alike: pages of entries, and where they stand."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, ProgrammingError, connections

from session_mgmt.actions.state import entries, stored_rows
from session_mgmt.actions.timeline import reading as timelines
from session_mgmt.actions.topics import reading as topics
from session_mgmt.conf import settings
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY, DOCUMENT, STREAM
from session_mgmt.protocol.logs import (
    DOCUMENT_KEY,
    STREAM_KEY,
    TIMELINE_KEY,
    Entry,
    document_key,
    stream_key,
    timeline_key,
)
from session_mgmt.protocol.position import Position


@dataclass(frozen=True, slots=True)
class LogRow:
    """Row of a log: ``key`` is its name among processes, ``name`` the one that clients use."""

    key: str
    name: str

    @property
    def number(self) -> int:
        return int(self.key[2:])

    @property
    def session(self) -> uuid.UUID:
        return uuid.UUID(self.key[2:])


def read_page(row: LogRow, after: int, limit: int) -> list[Entry]:
    """Return the entries after an offset, oldest first."""
    using = settings().database
    if row.key.startswith(DOCUMENT_KEY):
        return entries.read_entries(Statements(connections[using]), row.number, after, limit)
    if row.key.startswith(STREAM_KEY):
        return topics.read_page(using, row.number, after, limit)
    return timelines.read_page(using, row.session, after, limit)


def read_pages(asked: Sequence[tuple[LogRow, int]], limit: int) -> list[list[Entry] | Exception]:
    """Return a page for each log and offset, or the error of one that cannot be read: it touches no other."""
    ready = _read_together(asked, limit) if len(asked) > 1 else {}
    return [ready.get(row.key) or _read_or_fail(row, after, limit) for row, after in asked]


def _read_together(asked: Sequence[tuple[LogRow, int]], limit: int) -> dict[str, list[Entry]]:
    """Return pages of documents and sessions, by key, as far as one query for each kind can read them."""
    using = settings().database
    documents = [(row.number, after) for row, after in asked if row.key.startswith(DOCUMENT_KEY)]
    sessions = [(row.session, after) for row, after in asked if row.key.startswith(TIMELINE_KEY)]
    found = entries.read_plain_pages(Statements(connections[using]), documents, limit)
    ready = {document_key(document): page for document, page in found.items()}
    return ready | {timeline_key(key): page for key, page in timelines.read_pages(using, sessions, limit).items()}


def _read_or_fail(row: LogRow, after: int, limit: int) -> list[Entry] | Exception:
    try:
        return read_page(row, after, limit)
    except (OperationalError, InterfaceError, ProgrammingError):
        # Not of this log: the database cannot be reached, or has no tables.
        raise
    except Exception as error:
        return error


def read_head(row: LogRow) -> Position | None:
    """Return where one log stands."""
    return read_heads([row.key]).get(row.key)


def read_heads(keys: Iterable[str]) -> dict[str, Position]:
    """Return where many logs stand, by key: one query for each kind (10,000 heads cost 55 ms by integer id)."""
    statements = Statements(connections[settings().database])
    # Every feed of a process is asked for at once when a doorbell may have been missed.
    by_kind: dict[str, list[str]] = {DOCUMENT_KEY: [], STREAM_KEY: [], TIMELINE_KEY: []}
    for key in keys:
        by_kind[key[:2]].append(key[2:])
    found = _read_document_heads(statements, [int(number) for number in by_kind[DOCUMENT_KEY]])
    found |= _read_stream_heads(statements, [int(number) for number in by_kind[STREAM_KEY]])
    return found | _read_timeline_heads(statements, [uuid.UUID(session) for session in by_kind[TIMELINE_KEY]])


def _read_document_heads(statements: Statements, ids: list[int]) -> dict[str, Position]:
    rows = statements.select_rows("id, epoch, version, chain", DOCUMENT, ids)
    return {document_key(key): stored_rows.make_position(epoch, version, link) for key, epoch, version, link in rows}


def _read_stream_heads(statements: Statements, ids: list[int]) -> dict[str, Position]:
    rows = statements.select_rows("id, epoch, head, head_tag", STREAM, ids)
    return {stream_key(key): Position(*head) for key, *head in rows}


def _read_timeline_heads(statements: Statements, sessions: list[uuid.UUID]) -> dict[str, Position]:
    keys = [statements.uuid(session) for session in sessions]
    rows = statements.select_rows("session_id, epoch, event_seq, event_tag", ACTIVITY, keys, key="session_id")
    return {timeline_key(statements.as_uuid(key)): Position(*head) for key, *head in rows}

"""Read the three kinds of logs alike: pages of entries, and where they stand."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from django.db import InterfaceError, OperationalError, ProgrammingError, connections

from session_mgmt.actions.state import entries, stored_rows
from session_mgmt.actions.timeline import reading as timelines
from session_mgmt.actions.topics import reading as topics
from session_mgmt.conf import settings
from session_mgmt.models.changes import Mark, has_changed, read_mark
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY, DOCUMENT
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

# Epoch, offset and tag of a position.
Place: TypeAlias = tuple[str, int, str]


class LogRow(NamedTuple):
    """Log with its row: ``key`` is its name between processes, ``name`` the name that clients use."""

    key: str
    name: str

    @property
    def number(self) -> int:
        return int(self.key[2:])

    @property
    def topic(self) -> str:
        return self.key[2:]

    @property
    def session(self) -> uuid.UUID:
        return uuid.UUID(self.key[2:])


def read_page(row: LogRow, after: int, limit: int) -> list[Entry]:
    """Return the entries after an offset, oldest first."""
    using = settings().database
    if row.key.startswith(DOCUMENT_KEY):
        return entries.read_entries(Statements(connections[using]), row.number, after, limit)
    if row.key.startswith(STREAM_KEY):
        return topics.read_page(using, row.topic, after, limit)
    return timelines.read_page(using, row.session, after, limit)


def read_pages(asked: Sequence[tuple[LogRow, int]], limit: int) -> list[list[Entry] | Exception]:
    """Return a page for each log and offset, or the error of one that cannot be read: it touches no other."""
    ready = _read_together(asked, limit) if len(asked) > 1 else {}
    # Logs that the common query left out are read separately, so that each has its own error.
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


def read_newest(row: LogRow, limit: int) -> list[Entry]:
    """Return the newest entries of a topic's log, oldest first, as many as one page has."""
    return topics.read_newest(settings().database, row.topic, limit)


def read_head(row: LogRow) -> Position | None:
    """Return where one log stands."""
    found = dict(_read_places([row.key]))
    return Position(*found[row.key]) if found else None


def find_write(before: Mark | None) -> tuple[bool, Mark | None]:
    """Return whether a log may have moved since the database had the mark ``before``; and return the current mark."""
    mark = read_mark(settings().database)
    return has_changed(before, mark), mark


def find_moved(known: Mapping[str, Place]) -> dict[str, Position | None]:
    """Return where those logs stand that stand elsewhere than known, by key; ``None`` for one that was deleted.

    Every log of a process is asked for every few seconds, because a doorbell may have been missed. Nearly none has
    moved, so only those that have are made objects of.
    """
    found = dict(_read_places(known))
    moved = {key: Position(*place) for key, place in found.items() if place != known[key]}
    return moved | dict.fromkeys(known.keys() - found.keys())


def _read_places(keys: Iterable[str]) -> Iterator[tuple[str, Place]]:
    """Read where many logs stand: one query for each kind."""
    statements = Statements(connections[settings().database])
    by_kind: dict[str, list[str]] = {DOCUMENT_KEY: [], STREAM_KEY: [], TIMELINE_KEY: []}
    for key in keys:
        by_kind[key[:2]].append(key[2:])
    documents = map(int, by_kind[DOCUMENT_KEY])
    for number, epoch, version, link in statements.select_rows("id, epoch, version, chain", DOCUMENT, documents):
        position = stored_rows.make_position(epoch, version, link)
        yield document_key(number), (epoch, version, position.tag)
    for topic, place in topics.read_places(statements, by_kind[STREAM_KEY]):
        yield stream_key(topic), place
    sessions = map(statements.uuid_by_hex, by_kind[TIMELINE_KEY])
    columns = "session_id, epoch, event_seq, event_tag"
    for session, epoch, seq, tag in statements.select_rows(columns, ACTIVITY, sessions, key="session_id"):
        yield TIMELINE_KEY + statements.as_hex(session), (epoch, seq, tag)

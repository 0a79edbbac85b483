"""Read the logs of topics: their positions, and pages of their publications."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from django.db import connections

from session_mgmt.actions.topics.beginnings import derive_epoch, make_beginning
from session_mgmt.conf import settings
from session_mgmt.models import clock
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import PUBLICATION, STREAM
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window

# Topic, and the offset that a client asks about.
Asked: TypeAlias = tuple[str, int | None]


def read_windows(statements: Statements, asked: Iterable[Asked]) -> dict[Asked, Window]:
    """Return the windows of the logs of these topics, with two queries for any number; the log of a topic without a
    stream is empty.
    """
    wanted = set(asked)
    columns = "topic, id, epoch, head, head_tag, oldest, oldest_tag"
    rows = {row[0]: row for row in statements.select_rows(columns, STREAM, {topic for topic, _ in wanted}, key="topic")}
    places = {
        (row[1], offset)
        for topic, offset in wanted
        if (row := rows.get(topic)) is not None and offset is not None and 0 < offset < row[3]
    }
    tags = read_tags(statements, places)
    return {
        ask: _make_window(rows[ask[0]], ask[1], tags) if ask[0] in rows else Window(make_beginning(ask[0]))
        for ask in wanted
    }


def read_places(statements: Statements, topics: Iterable[str]) -> Iterator[tuple[str, tuple[str, int, str]]]:
    """Read the current position of each topic: its epoch, offset and tag."""
    missing = set(topics)
    for topic, epoch, head, tag in statements.select_rows("topic, epoch, head, head_tag", STREAM, missing, key="topic"):
        missing.discard(topic)
        yield topic, (epoch, head, tag)
    for topic in missing:
        yield topic, (derive_epoch(topic), 0, "")


def _make_window(row: Row, asked: int | None, tags: dict[tuple[int, int], str]) -> Window:
    _, stream, epoch, head, tag, oldest, oldest_tag = row
    at_asked = oldest_tag if asked == oldest - 1 else tags.get((stream, asked or 0))
    return Window(Position(epoch, head, tag), oldest, at_asked)


def read_tags(statements: Statements, places: set[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Return the tags at these places, which are pairs of a stream's id and an offset, with one query."""
    key = {"stream_id": "bigint", "offset": "bigint"}
    rows = statements.select_pairs('stream_id, "offset", tag', PUBLICATION, key, places)
    return {(row[0], row[1]): row[2] for row in rows}


def read_newest(using: str, topic: str, limit: int) -> list[Entry]:
    """Return a page of the newest publications, oldest first; it is limited by number and by bytes."""
    rows = Statements(connections[using]).fetch_page(
        f'SELECT -"offset" AS number, tag, data FROM {PUBLICATION}'
        f' WHERE stream_id = (SELECT id FROM {STREAM} WHERE topic = %s) ORDER BY "offset" DESC LIMIT %s',
        [topic, limit],
        number="number",
        body="data",
        most_bytes=settings().replay_page_bytes,
    )
    return [Entry(-number, tag, bytes(data)) for number, tag, data, _ in reversed(rows)]


def read_dated_page(using: str, topic: str, before: int, limit: int) -> list[tuple[int, str, bytes, datetime]]:
    """Return a page of the newest publications before an offset, with their moments, oldest first; it is limited by
    number and by bytes.
    """
    statements = Statements(connections[using])
    rows = statements.fetch_page(
        f'SELECT -"offset" AS number, tag, data, {statements.as_utc("at")} AS at FROM {PUBLICATION}'
        f' WHERE stream_id = (SELECT id FROM {STREAM} WHERE topic = %s) AND "offset" < %s'
        ' ORDER BY "offset" DESC LIMIT %s',
        [topic, before, limit],
        number="number",
        body="data",
        most_bytes=settings().replay_page_bytes,
    )
    return [(-number, tag, bytes(data), clock.make_aware(at)) for number, tag, data, at, _ in reversed(rows)]


def read_page(using: str, topic: str, after: int, limit: int) -> list[Entry]:
    """Return a page of the publications after an offset, oldest first; it is limited by number and by bytes."""
    rows = Statements(connections[using]).fetch_page(
        f'SELECT "offset" AS number, tag, data FROM {PUBLICATION}'
        # By topic and not by a remembered id: the stream may have been deleted and created again, with the same epoch.
        f' WHERE stream_id = (SELECT id FROM {STREAM} WHERE topic = %s) AND "offset" > %s ORDER BY "offset" LIMIT %s',
        [topic, after, limit],
        number="number",
        body="data",
        most_bytes=settings().replay_page_bytes,
    )
    return [Entry(offset, tag, bytes(data)) for offset, tag, data, _ in rows]

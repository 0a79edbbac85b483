"""Read topics' logs: how far they reach, and pages of their publications."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from django.db import connections

from session_mgmt.conf import settings
from session_mgmt.models import Stream
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import PUBLICATION, STREAM
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """Row of a stream, and the window of its log."""

    id: int
    window: Window


def find_stream(using: str, topic: str) -> int | None:
    """Return the row of a topic's stream, if there is one."""
    return Stream.objects.using(using).filter(topic=topic).values_list("pk", flat=True).first()


# Topic, and the offset that somebody asks about.
Asked: TypeAlias = tuple[str, int | None]


def read_windows(statements: Statements, asked: Iterable[Asked]) -> dict[Asked, StreamWindow]:
    """Return the windows of these topics' logs, in two queries for any number."""
    wanted = set(asked)
    columns = "topic, id, epoch, head, head_tag, oldest, oldest_tag"
    rows = {row[0]: row for row in statements.select_rows(columns, STREAM, {topic for topic, _ in wanted}, key="topic")}
    places = {
        (row[1], offset)
        for topic, offset in wanted
        if (row := rows.get(topic)) is not None and offset is not None and 0 < offset < row[3]
    }
    tags = _read_tags(statements, places)
    return {ask: _make_window(rows[ask[0]], ask[1], tags) for ask in wanted if ask[0] in rows}


def _make_window(row: Row, asked: int | None, tags: dict[tuple[int, int], str]) -> StreamWindow:
    _, stream, epoch, head, tag, oldest, oldest_tag = row
    at_asked = oldest_tag if asked == oldest - 1 else tags.get((stream, asked or 0))
    return StreamWindow(stream, Window(Position(epoch, head, tag), oldest, at_asked))


def _read_tags(statements: Statements, places: set[tuple[int, int]]) -> dict[tuple[int, int], str]:
    key = {"stream_id": "bigint", "offset": "bigint"}
    rows = statements.select_pairs('stream_id, "offset", tag', PUBLICATION, key, places)
    return {(row[0], row[1]): row[2] for row in rows}


def read_page(using: str, stream: int, after: int, limit: int) -> list[Entry]:
    """Return the publications after an offset, oldest first: one page by number and by bytes."""
    rows = Statements(connections[using]).fetch_page(
        f'SELECT "offset" AS number, tag, data FROM {PUBLICATION}'
        ' WHERE stream_id = %s AND "offset" > %s ORDER BY "offset" LIMIT %s',
        [stream, after, limit],
        number="number",
        body="data",
        most_bytes=settings().replay_page_bytes,
    )
    return [Entry(offset, tag, bytes(data)) for offset, tag, data, _ in rows]

"""Topics: publishing is an INSERT; reading is a page of a log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from session_mgmt.actions.outcome import Appended, Outcome, accepted
from session_mgmt.models.identifiers import new_epoch, new_tag
from session_mgmt.models.sql import Row, Statements, marks
from session_mgmt.protocol.logs import Entry, stream_key
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window

_STREAM = "session_mgmt_stream"
_PUBLICATION = "session_mgmt_publication"
_PUBLICATION_COLUMNS = {
    "stream_id": "bigint",
    "offset": "bigint",
    "tag": "text",
    "data": "bytea",
    "key": "text",
    "at": "timestamptz",
}
_STREAM_DEFAULTS = "head, head_tag, oldest, oldest_tag, created_at"


@dataclass(frozen=True, slots=True)
class Publication:
    """One entry to be written; ``data`` is compact JSON."""

    topic: str
    data: bytes
    key: str | None = None


@dataclass(slots=True)
class _Stream:
    id: int
    epoch: str
    head: int
    tag: str
    moved: bool = False


class StreamLedger:
    """The topics of one group of writes."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        self._streams: dict[str, _Stream] = {}
        self._known: dict[tuple[str, str], Position] = {}
        self._rows: list[tuple[_Stream, Publication, int, str]] = []
        self.locked: set[str] = set()

    def load(self, publications: Iterable[Publication], *, at: datetime, wait: bool) -> None:
        """Lock the streams, making those that are new."""
        listed = list(publications)
        wanted = {publication.topic for publication in listed}
        self._lock(wanted, wait=wait)
        missing = wanted - self._streams.keys()
        if missing:
            ensure(self._sql, missing, at=at)
            self._lock(missing, wait=wait)
        self.locked = wanted - self._streams.keys()
        self._find_keys({(p.topic, p.key) for p in listed if p.key})

    def decide(self, publication: Publication) -> Outcome:
        stream = self._streams[publication.topic]
        log = stream_key(stream.id)
        known = self._known.get((publication.topic, publication.key)) if publication.key else None
        if known is not None:
            return accepted(known, log=log)
        stream.head += 1
        stream.tag, stream.moved = new_tag(), True
        self._rows.append((stream, publication, stream.head, stream.tag))
        position = Position(stream.epoch, stream.head, stream.tag)
        if publication.key:
            self._known[publication.topic, publication.key] = position
        return accepted(position, log=log)

    def write(self, at: datetime) -> None:
        moment = self._sql.moment(at)
        self._sql.insert(
            _PUBLICATION,
            _PUBLICATION_COLUMNS,
            [(stream.id, offset, tag, p.data, p.key, moment) for stream, p, offset, tag in self._rows],
        )
        self._sql.update(
            _STREAM,
            {"id": "bigint", "head": "bigint", "head_tag": "text"},
            [(stream.id, stream.head, stream.tag) for stream in self._streams.values() if stream.moved],
        )

    def appended(self) -> dict[str, Appended]:
        """What was written, by log key."""
        logs: dict[str, Appended] = {}
        for stream, publication, offset, tag in self._rows:
            log = logs.setdefault(stream_key(stream.id), Appended(stream.epoch, []))
            log.entries.append(Entry(offset, tag, publication.data))
        return logs

    def _lock(self, topics: set[str], *, wait: bool) -> None:
        if not topics:
            return
        ordered = sorted(topics)
        rows = self._sql.fetch(
            f"SELECT topic, id, epoch, head, head_tag FROM {_STREAM} WHERE topic IN ({marks(len(ordered))}) ORDER BY id"
            + self._sql.lock_clause(wait=wait),
            ordered,
        )
        self._streams.update({row[0]: _Stream(*row[1:]) for row in rows})

    def _find_keys(self, wanted: set[tuple[str, str | None]]) -> None:
        for topic, key in wanted:
            stream = self._streams.get(topic)
            if stream is None or key is None:
                continue
            rows = self._sql.fetch(
                f'SELECT "offset", tag FROM {_PUBLICATION} WHERE stream_id = %s AND "key" = %s', [stream.id, key]
            )
            if rows:
                self._known[topic, key] = Position(stream.epoch, *rows[0])


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """A stream's row and what its log holds."""

    id: int
    window: Window


def ensure(statements: Statements, topics: Iterable[str], *, at: datetime) -> None:
    """Make the streams that do not exist; two at once make one."""
    moment = statements.moment(at)
    ordered = sorted(set(topics))
    if not ordered:
        return
    rows = ", ".join(["(%s, %s, 0, '', 1, '', %s)"] * len(ordered))
    params = [value for topic in ordered for value in (topic, new_epoch(), moment)]
    statements.run(
        f"INSERT INTO {_STREAM} (topic, epoch, {_STREAM_DEFAULTS}) VALUES {rows} ON CONFLICT (topic) DO NOTHING", params
    )


def windows(statements: Statements, asked: dict[str, int | None]) -> dict[str, StreamWindow]:
    """What the logs of these topics hold, in two queries whatever their number."""
    if not asked:
        return {}
    topics = sorted(asked)
    rows = statements.fetch(
        f"SELECT topic, id, epoch, head, head_tag, oldest, oldest_tag FROM {_STREAM}"
        f" WHERE topic IN ({marks(len(topics))})",
        topics,
    )
    places = [(row[1], asked[row[0]]) for row in rows if _is_inside(asked[row[0]], row[3])]
    tags = _tags(statements, places)
    return {row[0]: _window(row, asked[row[0]], tags) for row in rows}


def _is_inside(offset: int | None, head: int) -> bool:
    return offset is not None and 0 < offset < head


def _window(row: Row, asked: int | None, tags: dict[tuple[int, int], str]) -> StreamWindow:
    _, stream, epoch, head, tag, oldest, oldest_tag = row
    at_asked = oldest_tag if asked == oldest - 1 else tags.get((stream, asked or 0))
    return StreamWindow(stream, Window(Position(epoch, head, tag), oldest, at_asked))


def _tags(statements: Statements, places: list[tuple[int, int | None]]) -> dict[tuple[int, int], str]:
    if not places:
        return {}
    rows = statements.fetch(
        f'SELECT stream_id, "offset", tag FROM {_PUBLICATION} WHERE (stream_id, "offset") IN (VALUES '
        + ", ".join(["(%s, %s)"] * len(places))
        + ")",
        [value for place in places for value in place],
    )
    return {(row[0], row[1]): row[2] for row in rows}


def read(statements: Statements, stream: int, after: int, limit: int) -> list[Entry]:
    """Publications after an offset, oldest first."""
    rows = statements.fetch(
        f'SELECT "offset", tag, data FROM {_PUBLICATION}'
        ' WHERE stream_id = %s AND "offset" > %s ORDER BY "offset" LIMIT %s',
        [stream, after, limit],
    )
    return [Entry(row[0], row[1], bytes(row[2])) for row in rows]


def digest(topic: str, data: bytes, key: str | None) -> bytes:
    """What a repeated publish must equal."""
    return hashlib.sha256(b"\0".join((b"publish", topic.encode(), data, (key or "").encode()))).digest()

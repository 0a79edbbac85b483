"""Write topics: number each publication, and append it to the log of its topic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from session_mgmt.actions.access import Proof
from session_mgmt.actions.outcome import Appended, Outcome, accept_write
from session_mgmt.actions.topics.beginnings import derive_epoch
from session_mgmt.models.identifiers import new_tag
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import PUBLICATION, STREAM
from session_mgmt.protocol.logs import Entry, stream_key
from session_mgmt.protocol.position import Position

_PUBLICATION_COLUMNS = {
    "stream_id": "bigint",
    "offset": "bigint",
    "tag": "text",
    "data": "bytea",
    "key": "text",
    "at": "timestamptz",
}
_DEFAULTS = "head, head_tag, oldest, oldest_tag, created_at"


class Publication(NamedTuple):
    """Entry to write; ``data`` is compact JSON. ``proof`` is the token that permitted a write without a fence."""

    topic: str
    data: bytes
    key: str | None = None
    proof: Proof | None = None


@dataclass(slots=True)
class _Stream:
    id: int
    epoch: str
    head: int
    tag: str
    moved: bool = False


class StreamLedger:
    """Topics of one group of writes."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        self._streams: dict[str, _Stream] = {}
        self._known: dict[tuple[str, str], Position] = {}
        self._rows: list[tuple[_Stream, Publication, int, str]] = []
        self._locked: set[str] = set()

    def load(self, items: Iterable[Publication], *, at: datetime, wait: bool) -> None:
        """Lock the streams, and create those that do not exist."""
        listed = list(items)
        wanted = {publication.topic for publication in listed}
        self._lock_streams(wanted, wait=wait)
        missing = wanted - self._streams.keys()
        if missing:
            # Another process may insert the same streams. Only one insert succeeds, and both processes lock the same
            # row.
            ensure_streams(self._sql, missing, at=at)
            self._lock_streams(missing, wait=wait)
        # All streams exist now, so another transaction holds each row that the lock has skipped.
        self._locked = wanted - self._streams.keys()
        # Under the lock, so that the second of two publications with the same key finds the first.
        self._find_keys(listed)

    def has_locked(self) -> bool:
        return bool(self._locked)

    def is_locked(self, item: Publication) -> bool:
        return item.topic in self._locked

    def decide(self, publication: Publication) -> Outcome:
        stream = self._streams[publication.topic]
        log = stream_key(publication.topic)
        # The content is not compared, because a publisher that tries again may have built its data anew.
        known = self._known.get((publication.topic, publication.key)) if publication.key else None
        if known is not None:
            return accept_write(known, log=log)
        stream.head += 1
        # Random, because after a backup was restored the same offset is used again: the tags differ.
        stream.tag, stream.moved = new_tag(), True
        self._rows.append((stream, publication, stream.head, stream.tag))
        position = Position(stream.epoch, stream.head, stream.tag)
        if publication.key:
            # A second publication with this key in the same group must find the first, which is in no table yet.
            self._known[publication.topic, publication.key] = position
        return accept_write(position, log=log)

    def write(self, at: datetime) -> None:
        moment = self._sql.moment(at)
        self._sql.insert(
            PUBLICATION,
            _PUBLICATION_COLUMNS,
            [(stream.id, offset, tag, p.data, p.key, moment) for stream, p, offset, tag in self._rows],
        )
        self._sql.update(
            STREAM,
            {"id": "bigint", "head": "bigint", "head_tag": "text"},
            [(stream.id, stream.head, stream.tag) for stream in self._streams.values() if stream.moved],
        )

    def list_appended(self, at: datetime) -> dict[str, Appended]:
        """Return the written entries by log key."""
        logs: dict[str, Appended] = {}
        for stream, publication, offset, tag in self._rows:
            log = logs.setdefault(stream_key(publication.topic), Appended(stream.epoch, []))
            log.entries.append(Entry(offset, tag, publication.data))
        return logs

    def _lock_streams(self, topics: set[str], *, wait: bool) -> None:
        if not topics:
            return
        among, params = self._sql.among("topic", sorted(topics))
        rows = self._sql.fetch(
            f"SELECT topic, id, epoch, head, head_tag FROM {STREAM} WHERE {among} ORDER BY id"
            + self._sql.lock_clause(wait=wait),
            params,
        )
        self._streams.update({row[0]: _Stream(*row[1:]) for row in rows})

    def _find_keys(self, items: Iterable[Publication]) -> None:
        """Find the keys that were used before, with one query."""
        keyed = [item for item in items if item.key and item.topic in self._streams]
        streams = {(stream := self._streams[item.topic]).id: (item.topic, stream.epoch) for item in keyed}
        wanted = {(self._streams[item.topic].id, item.key) for item in keyed}
        columns = {"stream_id": "bigint", "key": "text"}
        rows = self._sql.select_pairs('stream_id, "key", "offset", tag', PUBLICATION, columns, wanted)
        for id_, key, offset, tag in rows:
            topic, epoch = streams[id_]
            self._known[topic, key] = Position(epoch, offset, tag)


def hold_streams(statements: Statements, topics: Iterable[str]) -> None:
    """Prevent the deletion of these streams until the end of this transaction, because its new subscriptions are not
    visible to others yet.
    """
    wanted = sorted(set(topics))
    if wanted and statements.postgres:
        among, params = statements.among("topic", wanted)
        # A shared lock: followers do not wait for each other, and publishers do not need the stronger lock of the key.
        statements.fetch(f"SELECT topic FROM {STREAM} WHERE {among} ORDER BY id FOR KEY SHARE", params)


def ensure_streams(statements: Statements, topics: Iterable[str], *, at: datetime) -> None:
    """Insert the streams that do not exist. If two transactions do this at once, only one row is stored."""
    moment = statements.moment(at)
    # Two transactions that insert the same topics in different orders would wait for each other.
    ordered = sorted(set(topics))
    if not ordered:
        return
    rows = ", ".join(["(%s, %s, 0, '', 1, '', %s)"] * len(ordered))
    params = [value for topic in ordered for value in (topic, derive_epoch(topic), moment)]
    statements.run(
        f"INSERT INTO {STREAM} (topic, epoch, {_DEFAULTS}) VALUES {rows} ON CONFLICT (topic) DO NOTHING", params
    )


def hash_publication(topic: str, data: bytes, key: str | None) -> bytes:
    """Return the digest of a publication, which a repetition under the same number must have too."""
    return hashlib.sha256(b"\0".join((b"publish", topic.encode(), data, (key or "").encode()))).digest()

"""Bodies of documents: adding the log up, keeping snapshots so that adding up stays short, and finding what a client
missed.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db import IntegrityError, connections, transaction

from session_mgmt.documents import canonical, chain, codec, operations, strict
from session_mgmt.documents.errors import DocumentError
from session_mgmt.exceptions import DocumentLimit, DocumentNotFound, StateUnreadable
from session_mgmt.models import StateDocument, StateSnapshot
from session_mgmt.models.identifiers import new_epoch
from session_mgmt.models.sql import Row, Statements, marks
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window

_DOCUMENT = "session_mgmt_statedocument"
_REVISION = "session_mgmt_staterevision"
_SNAPSHOT = "session_mgmt_statesnapshot"
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Body:
    """A document as it was at ``position``. ``bound`` is the size bound that the head held then."""

    document: int
    name: str
    position: Position
    data: Any
    bound: int
    snapshot_version: int
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class DocumentWindow:
    """A document's row and what its log holds."""

    id: int
    window: Window
    size: int


def ensure(using: str, session: uuid.UUID, name: str, *, most: int, at: datetime) -> int:
    """The row of a named document, made at first use. Raises ``DocumentLimit``."""
    found = StateDocument.objects.using(using).filter(session_id=session, name=name).values_list("id", flat=True)
    if found:
        return found[0]
    if StateDocument.objects.using(using).filter(session_id=session).count() >= most:
        raise DocumentLimit(limit=most)
    fresh = StateDocument(session_id=session, name=name, epoch=new_epoch(), chain=chain.GENESIS, last_modified=at)
    try:
        with transaction.atomic(using=using):
            fresh.save(using=using, force_insert=True)
    except IntegrityError:
        return StateDocument.objects.using(using).values_list("id", flat=True).get(session_id=session, name=name)
    return fresh.pk


def find(using: str, session: uuid.UUID, name: str) -> int | None:
    """The row of a named document, if it was ever used."""
    return StateDocument.objects.using(using).filter(session_id=session, name=name).values_list("id", flat=True).first()


def bound(using: str, document: int) -> int:
    """Upper bound of the size in bytes; exact if a snapshot was just taken."""
    return StateDocument.objects.using(using).values_list("size", flat=True).get(pk=document)


def load(using: str, document: int, *, limit: int) -> Body:
    """Read a document: the newest snapshot, then the revisions after it. ``limit`` bounds decompression, in bytes."""
    statements = Statements(connections[using])
    for _ in range(ATTEMPTS):
        body = _load_once(statements, document, limit)
        if body is not None:
            return body
    raise StateUnreadable()


def _load_once(statements: Statements, document: int, limit: int) -> Body | None:
    """``None`` when a compaction ran between two of the reads."""
    heads = statements.fetch(
        f"SELECT name, epoch, version, chain, size, last_modified FROM {_DOCUMENT} WHERE id = %s", [document]
    )
    if not heads:
        raise DocumentNotFound()
    name, epoch, version, link, bound, modified = heads[0]
    snapshot_version, data = _snapshot(statements, document, version, limit)
    rows = statements.fetch(
        f"SELECT version, ops FROM {_REVISION}"
        " WHERE document_id = %s AND version > %s AND version <= %s ORDER BY version",
        [document, snapshot_version, version],
    )
    if len(rows) != version - snapshot_version:
        return None
    position = Position(epoch, version, chain.tag(bytes(link)) if version else "")
    return Body(document, name, position, _replay(data, rows), bound, snapshot_version, modified)


def _snapshot(statements: Statements, document: int, version: int, limit: int) -> tuple[int, Any]:
    rows = statements.fetch(
        f"SELECT version, codec, body, digest FROM {_SNAPSHOT} WHERE document_id = %s AND version <= %s"
        " ORDER BY version DESC LIMIT 1",
        [document, version],
    )
    if not rows:
        return 0, {}
    found, stored_codec, stored, digest = rows[0]
    try:
        raw = codec.decode(stored_codec, bytes(stored), limit)
    except DocumentError as error:
        raise StateUnreadable() from error
    if hashlib.sha256(raw).digest() != bytes(digest):
        # Served as it is, or as {}, a damaged body would be synchronised back as the truth.
        raise StateUnreadable()
    return found, orjson.loads(raw)


def _replay(data: Any, rows: Iterable[Row]) -> Any:
    for _, ops in rows:
        data = operations.apply(data, operations.decode(bytes(ops)))
    return data


def materialise(using: str, document: int, *, at: datetime, threshold: int, limit: int) -> Body:
    """Keep a snapshot of the head and make its size exact. Running it twice, or being killed in it, costs only space."""
    body = load(using, document, limit=limit)
    if body.position.offset == body.snapshot_version:
        return body
    raw = strict.dumps(body.data)
    packed = codec.encode(raw, threshold=threshold)
    version = body.position.offset
    with transaction.atomic(using=using):
        StateSnapshot.objects.using(using).bulk_create(
            [
                StateSnapshot(
                    document_id=document,
                    version=version,
                    codec=packed.codec,
                    body=packed.data,
                    digest=hashlib.sha256(raw).digest(),
                    created_at=at,
                )
            ],
            ignore_conflicts=True,
        )
        # Relative, because writes went on meanwhile and have grown the bound.
        Statements(connections[using]).run(
            f"UPDATE {_DOCUMENT} SET snapshot_version = %s, size = size - %s, compressed = %s, checksum = %s,"
            " checksum_version = %s WHERE id = %s AND snapshot_version < %s",
            [
                version,
                body.bound - len(raw),
                bool(packed.codec),
                canonical.checksum(body.data),
                version,
                document,
                version,
            ],
        )
    return body


def windows(statements: Statements, session: uuid.UUID, asked: dict[str, int | None]) -> dict[str, DocumentWindow]:
    """What the logs of these documents hold, in two queries whatever their number."""
    if not asked:
        return {}
    names = sorted(asked)
    rows = statements.fetch(
        f"SELECT name, id, epoch, version, chain, oldest_revision, size FROM {_DOCUMENT}"
        f" WHERE session_id = %s AND name IN ({marks(len(names))})",
        [statements.uuid(session), *names],
    )
    places = [(row[1], offset) for row in rows if (offset := asked[row[0]]) is not None and 0 < offset < row[3]]
    tags = _tags(statements, places)
    found = {}
    for name, key, epoch, version, link, oldest, size in rows:
        head = Position(epoch, version, chain.tag(bytes(link)) if version else "")
        found[name] = DocumentWindow(key, Window(head, oldest, tags.get((key, asked[name] or 0))), size)
    return found


def _tags(statements: Statements, places: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
    if not places:
        return {}
    rows = statements.fetch(
        f"SELECT document_id, version, chain FROM {_REVISION} WHERE (document_id, version) IN (VALUES "
        + ", ".join(["(%s, %s)"] * len(places))
        + ")",
        [value for place in places for value in place],
    )
    return {(row[0], row[1]): chain.tag(bytes(row[2])) for row in rows}

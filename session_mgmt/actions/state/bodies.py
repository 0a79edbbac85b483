"""Bodies of documents: read them, keep snapshots so that reading stays short, and find the revisions that a client
missed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connections

from session_mgmt.actions import access, vaults
from session_mgmt.actions.state import stored_rows, unreadable
from session_mgmt.actions.state.stored_rows import Runner, StoredHead, run_inline
from session_mgmt.conf import settings
from session_mgmt.documents import chain, rebuild
from session_mgmt.documents.rebuild import Packed, Parts
from session_mgmt.exceptions import DocumentLimit, NotFound, SessionNotFound, StateUnreadable
from session_mgmt.models import StateDocument, tables
from session_mgmt.models.identifiers import new_epoch
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Body:
    """Document as it was at ``position``. ``bound`` is the size bound that the head held then."""

    document: int
    name: str
    position: Position
    data: Any
    bound: int
    snapshot_version: int
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class DocumentWindow:
    """Row of a document and the extent of its log."""

    id: int
    window: Window
    size: int
    encrypted: bool


@dataclass(frozen=True, slots=True)
class VersionSource:
    """Everything that a version is built from."""

    head: StoredHead
    position: Position
    parts: Parts
    snapshot_version: int


def ensure_document(using: str, session: uuid.UUID, name: str, *, most: int, at: datetime) -> int:
    """Return the row of a named document; make it at first use.

    Raises ``DocumentLimit``, ``SessionNotFound``, or ``InvalidField`` for an invalid name.
    """
    access.check_document_name(name)
    found = StateDocument.objects.using(using).filter(session_id=session, name=name).values_list("id", flat=True)
    if found:
        return found[0]
    with open_transaction(using):
        if not Statements(connections[using]).hold_row(tables.ACTIVITY, "session_id", session):
            # Foreign keys are checked at COMMIT, where one bad wish would fail everybody's writes again and again.
            raise SessionNotFound()
        if StateDocument.objects.using(using).filter(session_id=session).count() >= most:
            raise DocumentLimit(limit=most)
        return _insert_document(using, session, name, at)


def _insert_document(using: str, session: uuid.UUID, name: str, at: datetime) -> int:
    key_id, secret = vaults.new_secret(session, name) if vaults.is_encrypted_name(name) else ("", b"")
    fresh = StateDocument(
        session_id=session,
        name=name,
        epoch=new_epoch(),
        chain=chain.GENESIS,
        last_modified=at,
        encrypted=bool(key_id),
        key_id=key_id,
        secret=secret,
    )
    try:
        with open_transaction(using):
            fresh.save(using=using, force_insert=True)
    except IntegrityError:
        # Somebody else made it between our look and our insert; the unique constraint let one win.
        return StateDocument.objects.using(using).values_list("id", flat=True).get(session_id=session, name=name)
    return fresh.pk


def find_document(using: str, session: uuid.UUID, name: str) -> int | None:
    """Return the row of a named document, if it was ever used."""
    if not access.is_document(name):
        return None
    return StateDocument.objects.using(using).filter(session_id=session, name=name).values_list("id", flat=True).first()


def read_size_bound(using: str, document: int) -> int:
    """Return an upper bound of the size in bytes; it is exact if a snapshot was just taken."""
    return StateDocument.objects.using(using).values_list("size", flat=True).get(pk=document)


def load_body(using: str, document: int) -> Body:
    """Read a document: the newest snapshot, then the revisions after it.

    Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, None)
        return _make_body(past.head, rebuild.build_value(past.parts), past.snapshot_version)


def _make_body(head: StoredHead, data: Any, snapshot_version: int) -> Body:
    return Body(head.document, head.name, head.position, data, head.bound, snapshot_version, head.last_modified)


def load_body_at(using: str, document: int, version: int) -> Body:
    """Read a version that the log still reaches, or that was kept under a label; the tag of the latter may be unknown.

    Raises ``NotFound``, ``DocumentNotFound`` or ``StateUnreadable``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, version)
        body = _make_body(past.head, rebuild.build_value(past.parts), past.snapshot_version)
    return replace(body, position=past.position)


def load_raw(
    using: str, document: int, version: int | None = None, *, run: Runner = run_inline
) -> tuple[Position, str, bytes]:
    """Return position, name and compact JSON of a document, at a version or at its head. Heavy work is handed to
    ``run``.

    Raises as ``load_body`` and ``load_body_at``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, version)
        # Without revisions after it a snapshot is served as it is stored, and nothing is decoded.
        place = stored_rows.choose_runner(run, past.parts) if past.parts.ops else run_inline
        raw = place(rebuild.build_raw, past.parts)
    return past.position, past.head.name, raw


def find_equal(using: str, document: int, data: Any, *, run: Runner = run_inline) -> int | None:
    """Return the version of the head if it is equal to ``data``. Heavy work is handed to ``run``. Raises as
    ``load_body``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, None)
        is_equal = stored_rows.choose_runner(run, past.parts)(rebuild.is_value, past.parts, data)
    return past.position.offset if is_equal else None


def load_source(using: str, document: int, version: int | None) -> VersionSource:
    """Load everything that a version (by default the head) is built from; the building itself may be done elsewhere.

    The caller wraps it in ``unreadable.audit_unreadable``. Raises as ``load_body_at``.
    """
    statements = Statements(connections[using])
    for _ in range(ATTEMPTS):
        head = stored_rows.read_head(statements, document)
        wanted = head.position.offset if version is None else version
        if not 0 <= wanted <= head.position.offset:
            raise NotFound("There is no such version.")
        found = stored_rows.read_parts(statements, head, wanted)
        if found is not None:
            position = Position(head.position.epoch, wanted, stored_rows.tag_at(statements, head, wanted))
            return VersionSource(head, position, found.parts, found.snapshot_version)
        # Only now: a version that the log has lost may still stand under a label.
        if wanted < head.oldest - 1:
            raise NotFound("The log no longer holds this version.")
    raise StateUnreadable()


def keep_snapshot(using: str, document: int, *, at: datetime, run: Runner = run_inline) -> Position:
    """Keep a snapshot of the head, and make its size and keys exact if nothing was written meanwhile.

    Running it twice, or being killed in it, costs only space.
    """
    with unreadable.audit_unreadable(using, document):
        head = stored_rows.read_head(Statements(connections[using]), document)
        # The usual case for a document that nobody writes to: one small query, and nothing is read or built.
        if head.position.offset == head.snapshot_version:
            return head.position
        past = load_source(using, document, None)
        place = stored_rows.choose_runner(run, past.parts)
        packed = place(rebuild.pack_parts, past.parts, settings().compression_threshold)
        _write_snapshot(using, past.head, packed, at)
        return past.position


def _write_snapshot(using: str, head: StoredHead, packed: Packed, at: datetime) -> None:
    version = head.position.offset
    with open_transaction(using):
        if not stored_rows.insert_snapshot(using, head, version, packed, at):
            return
        # A write that went on meanwhile may have made its own size exact, so a later version keeps its bounds.
        Statements(connections[using]).run(
            f"UPDATE {tables.DOCUMENT} SET snapshot_version = %s, size = CASE WHEN version = %s THEN %s ELSE size END,"
            " keys = CASE WHEN version = %s THEN %s ELSE keys END, compressed = %s, checksum = %s,"
            " checksum_version = %s WHERE id = %s AND snapshot_version < %s",
            [
                version,
                *(version, packed.size.bytes),
                *(version, packed.size.keys),
                bool(packed.encoded.codec),
                packed.checksum,
                version,
                head.document,
                version,
            ],
        )


def load_windows(statements: Statements, session: uuid.UUID, asked: dict[str, int | None]) -> dict[str, DocumentWindow]:
    """Load the extent of the logs of these documents, in two queries whatever their number."""
    if not asked:
        return {}
    among, params = statements.among("name", sorted(asked))
    rows = statements.fetch(
        f"SELECT name, id, epoch, version, chain, oldest_revision, size, encrypted, oldest_chain FROM {tables.DOCUMENT}"
        f" WHERE session_id = %s AND {among}",
        [statements.uuid(session), *params],
    )
    places = [(row[1], offset) for row in rows if (offset := asked[row[0]]) is not None and 0 < offset < row[3]]
    tags = _load_tags(statements, places)
    found = {}
    for name, key, epoch, version, link, oldest, size, encrypted, before in rows:
        # The entry before the oldest is gone, but its tag is kept: a client that stands there has missed nothing.
        tags.setdefault((key, oldest - 1), chain.make_tag(bytes(before)))
        head = stored_rows.make_position(epoch, version, link)
        window = Window(head, oldest, tags.get((key, asked[name] or 0)))
        found[name] = DocumentWindow(key, window, size, bool(encrypted))
    return found


def _load_tags(statements: Statements, places: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
    key = {"document_id": "bigint", "version": "bigint"}
    rows = statements.select_pairs("document_id, version, chain", tables.REVISION, key, places)
    return {(row[0], row[1]): chain.make_tag(bytes(row[2])) for row in rows}

"""Bodies of documents: read them, and find the revisions that a client has missed."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from django.db import IntegrityError, connections

from session_mgmt.actions import access, vaults
from session_mgmt.actions.clients import Attached, require_attached
from session_mgmt.actions.state import stored_rows, unreadable
from session_mgmt.actions.state.stored_rows import Runner, StoredHead, run_inline
from session_mgmt.conf import settings
from session_mgmt.documents import chain, rebuild
from session_mgmt.documents.rebuild import Parts
from session_mgmt.exceptions import DocumentLimit, NotFound, SessionNotFound, StateUnreadable
from session_mgmt.models import StateDocument, tables
from session_mgmt.models.identifiers import new_epoch
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window

# Attempts to read a version, each of which may fail because of a compaction. Five failures in a row are no coincidence.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Body:
    """Document as it was at ``position``. ``bound`` is the upper bound of its size, in bytes, that the head had
    then.
    """

    document: int
    name: str
    position: Position
    data: Any
    bound: int
    snapshot_version: int
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class DocumentWindow:
    """Row of a document and the window of its log."""

    id: int
    window: Window
    size: int
    encrypted: bool


@dataclass(frozen=True, slots=True)
class VersionSource:
    """All parts that a version is built from."""

    head: StoredHead
    position: Position
    parts: Parts
    snapshot_version: int


def ensure_document(
    using: str, session: uuid.UUID, name: str, *, most: int, at: datetime, attached: Attached | None = None
) -> int:
    """Return the id of a named document. Create the document if it does not exist, and if ``attached`` is still
    current.

    Raises ``DocumentLimit``, ``SessionNotFound``, ``Replaced``, or ``InvalidField`` for an invalid name.
    """
    access.check_document_name(name)
    # Without a lock, because nearly every call finds its document.
    found = _find_row(using, session, name)
    if found is not None:
        return found
    with open_transaction(using):
        if not Statements(connections[using]).hold_row(tables.ACTIVITY, "session_id", session):
            # Foreign keys are checked at COMMIT, where one bad request would make the writes of the whole group fail,
            # again and again.
            raise SessionNotFound()
        if attached is not None:
            require_attached(Statements(connections[using]), attached, hold=True)
        # Under the lock of the session, or two requests at once would both be within the limit.
        if StateDocument.objects.using(using).filter(session_id=session).count() >= most:
            raise DocumentLimit(limit=most)
        return _insert_document(using, session, name, at)


def _insert_document(using: str, session: uuid.UUID, name: str, at: datetime) -> int:
    fresh = _make_document(session, name, at)
    try:
        # A separate block, because after an error PostgreSQL accepts no more statements in the outer one.
        with open_transaction(using):
            fresh.save(using=using, force_insert=True)
    # Another request has created it since the first query.
    except IntegrityError:
        return StateDocument.objects.using(using).values_list("id", flat=True).get(session_id=session, name=name)
    return fresh.pk


def _find_row(using: str, session: uuid.UUID, name: str) -> int | None:
    """Find the id of a document without the ORM, which takes ten times as long: each call about a document
    begins here.
    """
    statements = Statements(connections[using])
    sql = f"SELECT id FROM {tables.DOCUMENT} WHERE session_id = %s AND name = %s"
    return next((row for (row,) in statements.fetch(sql, [statements.uuid(session), name])), None)


def _make_document(session: uuid.UUID, name: str, at: datetime) -> StateDocument:
    key_id, secret = vaults.new_secret(session, name) if vaults.is_encrypted_name(name) else ("", b"")
    return StateDocument(
        session_id=session,
        name=name,
        epoch=new_epoch(),
        chain=chain.GENESIS,
        last_modified=at,
        encrypted=bool(key_id),
        key_id=key_id,
        secret=secret,
    )


def ensure_documents(statements: Statements, wanted: Iterable[tuple[uuid.UUID, str]], *, at: datetime) -> None:
    """Create the documents that do not exist, up to the limits of their sessions, with one count and one insert for
    all.

    The caller has locked the sessions, or knows that they will not be deleted.
    """
    by_session: dict[uuid.UUID, list[str]] = {}
    for session, name in wanted:
        by_session.setdefault(session, []).append(name)
    if not by_session:
        return
    among, params = statements.among("session_id", [statements.uuid(session) for session in by_session])
    rows = statements.fetch(
        f"SELECT session_id, COUNT(*) FROM {tables.DOCUMENT} WHERE {among} GROUP BY session_id", params
    )
    counts = {statements.as_uuid(session): count for session, count in rows}
    most = settings().max_documents
    statements.put_missing(
        [
            _make_document(session, name, at)
            for session, names in by_session.items()
            # Names beyond the limit are left out, and the caller reports an error for them.
            for name in names[: max(most - counts.get(session, 0), 0)]
        ]
    )


def find_document(using: str, session: uuid.UUID, name: str) -> int | None:
    """Return the id of a named document, or ``None`` if it was never used."""
    if not access.is_document(name):
        return None
    return _find_row(using, session, name)


def read_size_bound(using: str, document: int) -> int:
    """Return an upper bound of a document's size in bytes; it is exact directly after a snapshot."""
    return StateDocument.objects.using(using).values_list("size", flat=True).get(pk=document)


def load_body(using: str, document: int) -> Body:
    """Read the current version of a document, from its newest snapshot and the later revisions.

    Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, None)
        return _make_body(past.head, rebuild.build_value(past.parts), past.snapshot_version)


def _make_body(head: StoredHead, data: Any, snapshot_version: int) -> Body:
    return Body(head.document, head.name, head.position, data, head.bound, snapshot_version, head.last_modified)


def load_body_at(using: str, document: int, version: int) -> Body:
    """Read a version that the log still contains, or that is stored under a label; in the second case its tag may be
    empty.

    Raises ``NotFound``, ``DocumentNotFound`` or ``StateUnreadable``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, version)
        body = _make_body(past.head, rebuild.build_value(past.parts), past.snapshot_version)
    return replace(body, position=past.position)


def load_raw(
    using: str, document: int, version: int | None = None, *, run: Runner = run_inline
) -> tuple[Position, str, bytes]:
    """Return the position, the name and the compact JSON of a document, at a version or at its head. Heavy work is
    passed to ``run``.

    Raises the errors of ``load_body`` and ``load_body_at``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, version)
        # Without later revisions, the snapshot is returned as it is stored, and nothing is decoded.
        place = stored_rows.choose_runner(run, past.parts) if past.parts.ops else run_inline
        raw = place(rebuild.build_raw, past.parts)
    return past.position, past.head.name, raw


def find_equal(using: str, document: int, data: Any, *, run: Runner = run_inline) -> int | None:
    """Return the version of the head if its value is equal to ``data``, else ``None``. Heavy work is passed to ``run``.
    Raises the errors of ``load_body``.
    """
    with unreadable.audit_unreadable(using, document):
        past = load_source(using, document, None)
        is_equal = stored_rows.choose_runner(run, past.parts)(rebuild.is_value, past.parts, data)
    return past.position.offset if is_equal else None


def load_source(using: str, document: int, version: int | None) -> VersionSource:
    """Load all parts of a version, by default of the head; the caller may build it in another process.

    Call it inside ``unreadable.audit_unreadable``. Raises the errors of ``load_body_at``.
    """
    statements = Statements(connections[using])
    for _ in range(ATTEMPTS):
        head = stored_rows.read_head(statements, document)
        wanted = head.position.offset if version is None else version
        if not 0 <= wanted <= head.position.offset:
            raise NotFound("There is no such version.")
        # Nothing is locked, so a compaction may delete the snapshot or revisions between two queries. In this case try
        # again.
        found = stored_rows.read_parts(statements, head, wanted)
        if found is not None:
            position = Position(head.position.epoch, wanted, stored_rows.tag_at(statements, head, wanted))
            return VersionSource(head, position, found.parts, found.snapshot_version)
        # Only now, because a version that is no longer in the log may still be stored under a label.
        if wanted < head.oldest - 1:
            raise NotFound("The log no longer holds this version.")
    raise StateUnreadable()


# Session, name, and the offset that a client asks about.
Asked: TypeAlias = tuple[uuid.UUID, str, int | None]


def load_windows(statements: Statements, asked: Iterable[Asked]) -> dict[Asked, DocumentWindow]:
    """Load the windows of the logs of these documents, of any sessions, with two queries for any number."""
    wanted = set(asked)
    stored = {(statements.uuid(session), name) for session, name, _ in wanted}
    if not stored:
        return {}
    rows = statements.select_pairs(
        "session_id, name, id, epoch, version, chain, oldest_revision, size, encrypted, oldest_chain",
        tables.DOCUMENT,
        {"session_id": "uuid", "name": "text"},
        stored,
    )
    heads = {(statements.as_uuid(session), name): row for session, name, *row in rows}
    places = {
        (row[0], offset)
        for session, name, offset in wanted
        if (row := heads.get((session, name))) is not None and offset is not None and 0 < offset < row[2]
    }
    tags = _load_tags(statements, places)
    return {ask: _make_window(heads[ask[:2]], ask[2], tags) for ask in wanted if ask[:2] in heads}


def _make_window(row: list[Any], asked: int | None, tags: dict[tuple[int, int], str]) -> DocumentWindow:
    key, epoch, version, link, oldest, size, encrypted, before = row
    tag = tags.get((key, asked or 0))
    # The revision at this offset is deleted, but the head has its chain.
    if tag is None and asked == oldest - 1:
        tag = chain.make_tag(bytes(before))
    return DocumentWindow(
        key, Window(stored_rows.make_position(epoch, version, link), oldest, tag), size, bool(encrypted)
    )


def _load_tags(statements: Statements, places: set[tuple[int, int]]) -> dict[tuple[int, int], str]:
    key = {"document_id": "bigint", "version": "bigint"}
    rows = statements.select_pairs("document_id, version, chain", tables.REVISION, key, places)
    return {(row[0], row[1]): chain.make_tag(bytes(row[2])) for row in rows}

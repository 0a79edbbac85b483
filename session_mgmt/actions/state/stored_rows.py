"""Rows of one document: its head, its snapshots and its revisions, decrypted if necessary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from django.db import connections

from session_mgmt.actions import vaults
from session_mgmt.actions.vaults import Vault
from session_mgmt.conf import settings
from session_mgmt.documents import chain
from session_mgmt.documents.errors import UnreadableBody as Damaged
from session_mgmt.documents.limits import Extent
from session_mgmt.documents.rebuild import Packed, Parts
from session_mgmt.exceptions import DocumentNotFound, StateUnreadable
from session_mgmt.models import StateSnapshot, tables
from session_mgmt.models.sql import Row, Statements
from session_mgmt.protocol.position import Position

# Decoding more bytes than this would block the interpreter so long that all other connections notice it.
HEAVY_BYTES = 256 * 1024

Runner = Callable[..., Any]
T = TypeVar("T")


def run_inline(work: Callable[..., Any], *args: Any) -> Any:
    """Run the work in this process."""
    return work(*args)


@dataclass(frozen=True, slots=True)
class StoredHead:
    """Row of a document.

    ``bound``, ``keys`` and ``number`` are upper bounds of its bytes, keys and numbers; ``before`` is the chain before
    revision ``oldest``.
    """

    document: int
    name: str
    position: Position
    chain: bytes
    oldest: int
    before: bytes
    snapshot_version: int
    bound: int
    keys: int
    number: int
    last_modified: datetime
    vault: Vault | None = field(repr=False)

    @property
    def extent(self) -> Extent:
        return Extent(self.bound, self.keys, self.number)

    @property
    def key_id(self) -> str:
        return self.vault.key_id if self.vault else ""

    @property
    def digest_key(self) -> bytes | None:
        return self.vault.digest_key if self.vault else None


def make_position(epoch: str, version: int, link: bytes) -> Position:
    """Return the position of a version from its row. Version 0 has no tag, because nothing was written yet."""
    return Position(epoch, version, chain.make_tag(bytes(link)) if version else "")


def choose_runner(run: Runner, *past: Parts, head: StoredHead | None = None, ops_bytes: int = 0) -> Runner:
    """Choose where to work on versions of a document: for little work another process is not worth its overhead.

    ``past`` are the parts to decode, ``head`` is given if the work is on the document itself, and ``ops_bytes`` are the
    bytes of other operations to process.
    """
    if run is run_inline or (head is not None and head.bound > HEAVY_BYTES) or ops_bytes > HEAVY_BYTES:
        return run
    return run if any(parts.exceeds(HEAVY_BYTES) for parts in past) else run_inline


@dataclass(frozen=True, slots=True)
class StoredParts:
    """Parts of a version: the snapshot at ``snapshot_version`` and all revisions after it."""

    parts: Parts
    snapshot_version: int


@dataclass(frozen=True, slots=True)
class Revision:
    """Revision with its decrypted operations."""

    version: int
    ops: bytes
    link: bytes

    @property
    def tag(self) -> str:
        return chain.make_tag(self.link)


def read_head(statements: Statements, document: int) -> StoredHead:
    """Return the row of a document. Raises ``DocumentNotFound`` or ``StateUnreadable``."""
    found = read_heads(statements, [document]).get(document)
    if found is None:
        raise DocumentNotFound()
    if isinstance(found, StateUnreadable):
        raise found
    return found


def read_heads(statements: Statements, documents: Sequence[int]) -> dict[int, StoredHead | StateUnreadable]:
    """Return the rows of those documents that exist, or ``StateUnreadable`` in place of an unreadable one."""
    # One statement, so that version, chain, key and secret are read at the same moment.
    rows = statements.select_rows(
        "id, session_id, name, epoch, version, chain, oldest_revision, oldest_chain, snapshot_version, size, keys,"
        " number_bound, last_modified, key_id, secret",
        tables.DOCUMENT,
        documents,
    )
    found = {row[0]: _make_head(statements, row) for row in rows}
    sealed = [key for key, head in found.items() if isinstance(head, StoredHead) and head.vault is not None]
    # Only the secret is encrypted in a head. Without this check, somebody with write access could restore an older
    # head.
    for document in _find_older_heads(statements, sealed):
        found[document] = StateUnreadable("The head of the document is older than its rows.")
    return found


def _make_head(statements: Statements, row: Row) -> StoredHead | StateUnreadable:
    document, session, name, epoch, version, link, oldest, before, snapshot, *rest = row
    size, keys, number, modified, key_id, secret = rest
    position = make_position(epoch, version, link)
    try:
        vault = vaults.vault_of(document, statements.as_uuid(session), name, key_id, bytes(secret))
    except StateUnreadable as error:
        return error
    return StoredHead(
        document, name, position, bytes(link), oldest, bytes(before), snapshot, size, keys, number, modified, vault
    )


def _find_older_heads(statements: Statements, documents: Sequence[int]) -> list[int]:
    """Return the documents whose logs or snapshots are newer than their heads. It is one statement, so no write can
    come between.
    """
    if not documents:
        return []
    among, params = statements.among("d.id", documents)
    newer = "(SELECT 1 FROM {} r WHERE r.document_id = d.id AND r.version > d.version)"
    rows = statements.fetch(
        f"SELECT d.id FROM {tables.DOCUMENT} d WHERE {among}"
        f" AND (EXISTS {newer.format(tables.REVISION)} OR EXISTS {newer.format(tables.SNAPSHOT)})",
        params,
    )
    return [row[0] for row in rows]


def unless_rekeyed(statements: Statements, head: StoredHead, read: Callable[[], T]) -> T | None:
    """Return the result of ``read``, or ``None`` if the key of the document has changed since ``head`` was read."""
    try:
        return read()
    except (Damaged, StateUnreadable):
        rows = statements.fetch(f"SELECT key_id FROM {tables.DOCUMENT} WHERE id = %s", [head.document])
        # The key is the same, so the row is damaged and not just encrypted again.
        if [row[0] for row in rows] == [head.key_id]:
            raise
        return None


def read_parts(statements: Statements, head: StoredHead, version: int) -> StoredParts | None:
    """Return the parts of ``version``, or ``None`` if a compaction or a rotation of keys happened between two of the
    reads.

    Raises ``StateUnreadable``.
    """
    return load_parts(statements, [(head, version)])[head.document]()


def load_parts(
    statements: Statements, wanted: Sequence[tuple[StoredHead, int]]
) -> dict[int, Callable[[], StoredParts | None]]:
    """Load the parts of versions of documents with two queries; return for each document a function that opens them.

    The functions return and raise the same as ``read_parts``.
    """
    bases = _load_bases(statements, wanted)
    places = [(head.document, bases[head.document][0] if head.document in bases else 0, to) for head, to in wanted]
    revisions: dict[int, list[Row]] = {}
    for document, *row in statements.select_wanted(
        f"SELECT r.document_id, r.version, r.ops, r.chain FROM wanted CROSS JOIN {tables.REVISION} r"
        " WHERE r.document_id = wanted.document AND r.version > wanted.base AND r.version <= wanted.upto",
        {"document": "bigint", "base": "bigint", "upto": "bigint"},
        [place for place in places if place[1] < place[2]],
    ):
        revisions.setdefault(document, []).append(tuple(row))

    def prepare_opening(head: StoredHead, version: int) -> Callable[[], StoredParts | None]:
        rows = sorted(revisions.get(head.document, []))
        open_ = partial(_open_parts, head, version, bases.get(head.document), rows)
        return lambda: unless_rekeyed(statements, head, open_)

    return {head.document: prepare_opening(head, version) for head, version in wanted}


def _load_bases(statements: Statements, wanted: Sequence[tuple[StoredHead, int]]) -> dict[int, Row]:
    """Load the newest snapshot of each document up to the given version."""
    newest = (
        f"SELECT q.id FROM {tables.SNAPSHOT} q WHERE q.document_id = wanted.log AND q.version <= wanted.after"
        " ORDER BY q.version DESC, q.id LIMIT 1"
    )
    rows = statements.select_placed(
        "SELECT s.document_id, s.version, s.codec, s.key_id, s.nonce, s.body, s.digest"
        f" FROM wanted CROSS JOIN {tables.SNAPSHOT} s WHERE s.id = ({newest})",
        [(head.document, version) for head, version in wanted],
        kind="bigint",
    )
    return {document: tuple(row) for document, *row in rows}


def _open_parts(head: StoredHead, version: int, snapshot: Row | None, rows: Sequence[Row]) -> StoredParts | None:
    base = snapshot[0] if snapshot else 0
    # A compaction happened between the two reads. With a missing revision the result would be a document that never
    # existed.
    if len(rows) != version - base:
        return None
    ops, limit = tuple(vaults.open_ops(head.vault, row[0], bytes(row[1])) for row in rows), body_limit()
    if snapshot is None:
        return StoredParts(Parts(ops, limit, key=head.digest_key), 0)
    _, codec, key_id, nonce, body, digest = snapshot
    opened = open_snapshot(head.vault, base, codec, key_id, bytes(nonce), bytes(body))
    return StoredParts(Parts(ops, limit, codec, opened, bytes(digest), head.digest_key), base)


def body_limit() -> int:
    """Return the most bytes of an unpacked stored body. It is twice the limit of documents, so that documents remain
    readable that were written under a higher limit.
    """
    return settings().max_document_bytes * 2


def open_snapshot(vault: Vault | None, version: int, codec: int, key_id: str, nonce: bytes, body: bytes) -> bytes:
    """Return the body of a snapshot, decrypted and not decompressed. Raises ``StateUnreadable``."""
    if vault is not None:
        return vault.open_body(version, codec, key_id, nonce, body)
    if key_id:
        raise StateUnreadable("A snapshot is sealed and its document has no key.")
    return body


def read_revisions(statements: Statements, head: StoredHead, after: int, to: int) -> list[Revision]:
    """Return the revisions after one version up to another, oldest first. Raises ``StateUnreadable``."""
    if after >= to:
        return []
    rows = statements.fetch(
        f"SELECT version, ops, chain FROM {tables.REVISION} WHERE document_id = %s AND version > %s AND version <= %s"
        " ORDER BY version",
        [head.document, after, to],
    )
    return [Revision(row[0], vaults.open_ops(head.vault, row[0], bytes(row[1])), bytes(row[2])) for row in rows]


def tag_at(statements: Statements, head: StoredHead, version: int) -> str:
    """Return the tag of a version; empty before the first version, and if the log no longer contains it."""
    if version == head.position.offset:
        return head.position.tag
    if version == head.oldest - 1:
        return chain.make_tag(head.before) if version else ""
    rows = statements.fetch(
        f"SELECT chain FROM {tables.REVISION} WHERE document_id = %s AND version = %s", [head.document, version]
    )
    return chain.make_tag(bytes(rows[0][0])) if rows else ""


@dataclass(frozen=True, slots=True)
class Made:
    """Packed document that can be stored as a snapshot of a version."""

    head: StoredHead
    version: int
    packed: Packed


def insert_snapshots(using: str, made: Sequence[Made], at: datetime, label: str | None = None) -> list[Made]:
    """Store snapshots, encrypted if their documents are; return those whose documents still have the keys of their
    ``head``.

    Call it inside a transaction.
    """
    statements = Statements(connections[using])
    # Lock the heads: otherwise a rotation of keys in the meantime would miss the snapshots that are stored after it.
    rows = statements.select_locked("id, key_id", tables.DOCUMENT, [each.head.document for each in made], wait=True)
    keys: dict[int, str] = dict(rows)
    fitting = [each for each in made if keys.get(each.head.document) == each.head.key_id]
    # Two compactions at the same time write equal snapshots, and the second one is ignored.
    fresh = [_make_snapshot(each, at, label) for each in fitting]
    StateSnapshot.objects.using(using).bulk_create(fresh, ignore_conflicts=True)
    return fitting


def _make_snapshot(made: Made, at: datetime, label: str | None) -> StateSnapshot:
    head, encoded = made.head, made.packed.encoded
    body, nonce = encoded.data, b""
    if head.vault is not None:
        nonce, body = head.vault.seal_body(made.version, encoded.codec, body)
    return StateSnapshot(
        document_id=head.document,
        version=made.version,
        codec=encoded.codec,
        key_id=head.key_id,
        nonce=nonce,
        body=body,
        digest=made.packed.digest,
        label=label,
        created_at=at,
    )

"""The rows of one document: its head, its snapshots and its revisions, opened if they are sealed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
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
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position

# Decoding more bytes would hold the interpreter long enough to be felt by every other connection.
HEAVY_BYTES = 256 * 1024

Runner = Callable[..., Any]
T = TypeVar("T")


def run_inline(work: Callable[..., Any], *args: Any) -> Any:
    """Run the work on the spot."""
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
    """Return the position of a version from its row. Version 0 has no tag: nothing was written that it could prove."""
    return Position(epoch, version, chain.make_tag(bytes(link)) if version else "")


def choose_runner(run: Runner, *past: Parts, head: StoredHead | None = None, ops_bytes: int = 0) -> Runner:
    """Choose the place to work on versions of a document: little work is not worth the way to another process.

    ``past`` are the parts to be decoded, ``head`` is given where the work is on the document itself, and ``ops_bytes``
    are the bytes of operations to go through beside them.
    """
    if run is run_inline or (head is not None and head.bound > HEAVY_BYTES) or ops_bytes > HEAVY_BYTES:
        return run
    return run if any(parts.exceeds(HEAVY_BYTES) for parts in past) else run_inline


@dataclass(frozen=True, slots=True)
class StoredParts:
    """Parts of a version: the snapshot at ``snapshot_version`` and every revision after it."""

    parts: Parts
    snapshot_version: int


@dataclass(frozen=True, slots=True)
class Revision:
    """Revision with its operations, opened."""

    version: int
    ops: bytes
    link: bytes

    @property
    def tag(self) -> str:
        return chain.make_tag(self.link)


def read_head(statements: Statements, document: int) -> StoredHead:
    """Read the row. Raises ``DocumentNotFound`` or ``StateUnreadable``."""
    # One statement, so that version, chain, key and secret are of one moment.
    rows = statements.fetch(
        "SELECT session_id, name, epoch, version, chain, oldest_revision, oldest_chain, snapshot_version, size,"
        f" keys, number_bound, last_modified, key_id, secret FROM {tables.DOCUMENT} WHERE id = %s",
        [document],
    )
    if not rows:
        raise DocumentNotFound()
    session, name, epoch, version, link, oldest, before, snapshot, *bounds, modified, key_id, secret = rows[0]
    size, keys, number = bounds
    position = make_position(epoch, version, link)
    vault = vaults.vault_of(document, statements.as_uuid(session), name, key_id, bytes(secret))
    if vault is not None:
        # Somebody with access to the table could otherwise put an older head back: nothing
        # but the secret is sealed in it.
        _refuse_older_head(statements, document)
    return StoredHead(
        document, name, position, bytes(link), oldest, bytes(before), snapshot, size, keys, number, modified, vault
    )


def _refuse_older_head(statements: Statements, document: int) -> None:
    """Check head, log and snapshots in one statement, so that no write can come between them."""
    newer = "(SELECT 1 FROM {} r WHERE r.document_id = d.id AND r.version > d.version)"
    if statements.fetch(
        f"SELECT 1 FROM {tables.DOCUMENT} d WHERE d.id = %s"
        f" AND (EXISTS {newer.format(tables.REVISION)} OR EXISTS {newer.format(tables.SNAPSHOT)})",
        [document],
    ):
        raise StateUnreadable("The head of the document is older than its rows.")


def unless_rekeyed(statements: Statements, head: StoredHead, read: Callable[[], T]) -> T | None:
    """Return the result of ``read``; ``None`` if the document was encrypted since ``head`` was read."""
    try:
        return read()
    except (Damaged, StateUnreadable):
        rows = statements.fetch(f"SELECT key_id FROM {tables.DOCUMENT} WHERE id = %s", [head.document])
        # The key is the same, so the row is damaged and not merely sealed anew.
        if [row[0] for row in rows] == [head.key_id]:
            raise
        return None


def read_parts(statements: Statements, head: StoredHead, version: int) -> StoredParts | None:
    """Read the parts of ``version``; ``None`` if a compaction or a rotation of keys ran between two of the reads.

    Raises ``StateUnreadable``.
    """
    return unless_rekeyed(statements, head, lambda: _read_parts(statements, head, version))


def _read_parts(statements: Statements, head: StoredHead, version: int) -> StoredParts | None:
    rows = statements.fetch(
        f"SELECT version, codec, key_id, nonce, body, digest FROM {tables.SNAPSHOT}"
        " WHERE document_id = %s AND version <= %s ORDER BY version DESC, id LIMIT 1",
        [head.document, version],
    )
    base = rows[0][0] if rows else 0
    revisions = read_revisions(statements, head, base, version)
    # A compaction ran between the two reads: with a revision missing the result would be a document that never was.
    if len(revisions) != version - base:
        return None
    ops, limit = tuple(revision.ops for revision in revisions), body_limit()
    if not rows:
        return StoredParts(Parts(ops, limit, key=head.digest_key), 0)
    _, codec, key_id, nonce, body, digest = rows[0]
    opened = open_snapshot(head.vault, base, codec, key_id, bytes(nonce), bytes(body))
    return StoredParts(Parts(ops, limit, codec, opened, bytes(digest), head.digest_key), base)


def body_limit() -> int:
    """Return the most bytes that a stored body may have, unpacked: no document is larger, and twice as much leaves
    documents readable that were written under a higher limit.
    """
    return settings().max_document_bytes * 2


def open_snapshot(vault: Vault | None, version: int, codec: int, key_id: str, nonce: bytes, body: bytes) -> bytes:
    """Return a snapshot's body, opened and not yet decompressed. Raises ``StateUnreadable``."""
    if vault is not None:
        return vault.open_body(version, codec, key_id, nonce, body)
    if key_id:
        raise StateUnreadable("A snapshot is sealed and its document has no key.")
    return body


def read_revisions(statements: Statements, head: StoredHead, after: int, to: int) -> list[Revision]:
    """Read the revisions after one version up to another, oldest first. Raises ``StateUnreadable``."""
    if after >= to:
        return []
    rows = statements.fetch(
        f"SELECT version, ops, chain FROM {tables.REVISION} WHERE document_id = %s AND version > %s AND version <= %s"
        " ORDER BY version",
        [head.document, after, to],
    )
    return [Revision(row[0], vaults.open_ops(head.vault, row[0], bytes(row[1])), bytes(row[2])) for row in rows]


def tag_at(statements: Statements, head: StoredHead, version: int) -> str:
    """Return the tag of a version; empty before the first one, and where the log no longer knows it."""
    if version == head.position.offset:
        return head.position.tag
    if version == head.oldest - 1:
        return chain.make_tag(head.before) if version else ""
    rows = statements.fetch(
        f"SELECT chain FROM {tables.REVISION} WHERE document_id = %s AND version = %s", [head.document, version]
    )
    return chain.make_tag(bytes(rows[0][0])) if rows else ""


def insert_snapshot(
    using: str, head: StoredHead, version: int, packed: Packed, at: datetime, label: str | None = None
) -> bool:
    """Keep a whole document, sealed if it is encrypted; return False if its keys have changed since ``head`` was read.

    The caller holds a transaction.
    """
    if not _has_same_key(using, head):
        return False
    body, nonce, key_id = packed.encoded.data, b"", ""
    if head.vault is not None:
        nonce, body = head.vault.seal_body(version, packed.encoded.codec, body)
        key_id = head.vault.key_id
    fresh = StateSnapshot(
        document_id=head.document,
        version=version,
        codec=packed.encoded.codec,
        key_id=key_id,
        nonce=nonce,
        body=body,
        digest=packed.digest,
        label=label,
        created_at=at,
    )
    # Two that compact at once write equal snapshots, and the second one is left out.
    StateSnapshot.objects.using(using).bulk_create([fresh], ignore_conflicts=True)
    return True


def _has_same_key(using: str, head: StoredHead) -> bool:
    """Lock the head and compare its key: a rotation that ran between would not see a row that comes after it."""
    statements = Statements(connections[using])
    rows = statements.select_locked("key_id", tables.DOCUMENT, [head.document], wait=True)
    return [row[0] for row in rows] == [head.key_id]

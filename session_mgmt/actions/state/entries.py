"""Log of a document in the form that its readers get: entries that contain the stored operations unchanged."""

from __future__ import annotations

from collections.abc import Sequence

from session_mgmt.actions import vaults
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.state import unreadable
from session_mgmt.actions.vaults import Vault
from session_mgmt.conf import settings
from session_mgmt.documents import chain
from session_mgmt.exceptions import DocumentNotFound, StateUnreadable
from session_mgmt.models import tables
from session_mgmt.models.sql import Row, Statements
from session_mgmt.protocol.logs import Entry


def read_entries(
    statements: Statements, document: int, after: int, limit: int, *, most_bytes: int | None = None
) -> list[Entry]:
    """Return the revisions after a version, oldest first: at most ``limit`` and ``most_bytes``, but at least one if
    there is any.

    Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    most = settings().replay_page_bytes if most_bytes is None else most_bytes
    with unreadable.audit_unreadable(statements.connection.alias, document):
        try:
            return _read_once(statements, document, after, limit, most)
        except StateUnreadable:
            # Try once more: the document may have been encrypted between the reads of its rows and of its head.
            return _read_once(statements, document, after, limit, most)


def _read_once(statements: Statements, document: int, after: int, limit: int, most: int) -> list[Entry]:
    rows = statements.fetch_page(
        f"SELECT r.version, r.chain, r.ops, c.client_id, r.seq FROM {tables.REVISION} r"
        f" LEFT JOIN {tables.CLIENT} c ON c.id = r.client_id"
        " WHERE r.document_id = %s AND r.version > %s ORDER BY r.version LIMIT %s",
        [document, after, limit],
        number="version",
        body="ops",
        most_bytes=most,
    )
    if not rows:
        return []
    vault = _load_vault(statements, document) if _may_be_sealed(rows) else None
    return [_make_entry(row, vault) for row in rows]


def read_plain_pages(statements: Statements, places: Sequence[tuple[int, int]], limit: int) -> dict[int, list[Entry]]:
    """Return the revisions of many documents after the given versions, with one query.

    A document that is missing in the result must be read separately: it has no revisions there, it is encrypted or
    damaged, or it has too many bytes for one query.
    """
    # Only the row of a document shows whether its log is encrypted, and this query does not read it.
    if settings().state_keys:
        return {}
    found = statements.fetch_pages(
        f"SELECT r.document_id AS log, r.version AS number, r.chain, r.ops, c.client_id, r.seq"
        f" FROM wanted CROSS JOIN {tables.REVISION} r LEFT JOIN {tables.CLIENT} c ON c.id = r.client_id"
        f" WHERE r.document_id = wanted.log AND r.version > wanted.after AND r.version <= wanted.after + {int(limit)}",
        places,
        kind="bigint",
        body="ops",
        most_bytes=settings().replay_page_bytes,
    )
    pages = {document: _make_plain_page(rows) for document, rows in found.items()}
    return {document: page for document, page in pages.items() if page}


def _make_plain_page(rows: list[Row]) -> list[Entry]:
    """Return the entries of a page, or an empty list if a row is encrypted or damaged."""
    if _may_be_sealed(rows):
        return []
    try:
        return [_make_entry(row, None) for row in rows]
    except StateUnreadable:
        return []


def _may_be_sealed(rows: list[Row]) -> bool:
    """Return whether the document's row must be read to find out how its log is stored.

    Without keys, an encrypted log cannot be read anyway.
    """
    return bool(settings().state_keys) or any(vaults.is_sealed(bytes(row[2][:1])) for row in rows)


def _load_vault(statements: Statements, document: int) -> Vault | None:
    rows = statements.fetch(f"SELECT session_id, name, key_id, secret FROM {tables.DOCUMENT} WHERE id = %s", [document])
    if not rows:
        raise DocumentNotFound()
    session, name, key_id, secret = rows[0]
    return vaults.vault_of(document, statements.as_uuid(session), name, key_id, bytes(secret))


def _make_entry(row: Row, vault: Vault | None) -> Entry:
    version, link, stored, client_id, seq = row[:5]
    ops = vaults.open_ops(vault, version, bytes(stored))
    return Entry(version, chain.make_tag(bytes(link)), make_entry_body(ops, client_id, seq=seq))


def make_entry_body(ops: bytes, client_id: str | None, fence: Fence | None = None, *, seq: int | None = None) -> bytes:
    """Return the body of a document entry (PROTOCOL section 6), with the stored operations unchanged."""
    number = fence.seq if fence else seq
    if client_id is None or number is None:
        return b'{"ops":%s}' % ops
    # Joined as bytes: operations may be a whole document, and decoding them would delay every reader.
    return b'{"ops":%s,"client_id":"%s","seq":%d}' % (ops, client_id.encode(), number)

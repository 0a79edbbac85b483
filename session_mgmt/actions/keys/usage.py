"""Which master keys the rows are under: an operator must know before a key is removed.

Counted by the first bytes of each column, so nothing is opened and rows of a missing key are counted as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from django.db import connections

from session_mgmt.actions import vaults
from session_mgmt.actions.outbox import UPDATE
from session_mgmt.models import tables
from session_mgmt.models.sql import Statements

PLAIN = ""
# Kind of row -> table, column, and the condition for rows that count.
_SEALED = {
    "revisions": (tables.REVISION, "ops", "1 = 1"),
    "merges": (tables.REVISION, "asked", "asked IS NOT NULL"),
    "conflicts": (tables.CONFLICT, "path", "1 = 1"),
    "receipts": (tables.RECEIPT, "outcome", "1 = 1"),
    "outbox_entries": (tables.OUTBOX, "payload", f"kind = '{UPDATE}'"),
    "webhooks": (tables.WEBHOOK_ENDPOINT, "secrets", "1 = 1"),
}
_OF_DOCUMENTS = (
    (tables.REVISION, "ops"),
    (tables.REVISION, "asked"),
    (tables.CONFLICT, "path"),
    (tables.CONFLICT, "base"),
    (tables.CONFLICT, "server"),
    (tables.CONFLICT, "client_value"),
)


def count_rows(using: str) -> dict[str, dict[str, int]]:
    """Count the rows of each kind by key id; ``""`` stands for unencrypted rows.

    ``{key id: {kind: count}}`` with the kinds ``documents``, ``snapshots``, ``revisions``, ``merges``, ``conflicts``,
    ``receipts``, ``outbox_entries`` and ``webhooks``; kinds without rows are left out. It reads the beginning of every
    row.
    """
    statements = Statements(connections[using])
    found: dict[str, dict[str, int]] = {}
    for kind, key_id, count in _count_by_kind(statements):
        found.setdefault(key_id, {})[kind] = count
    return dict(sorted(found.items()))


def _count_by_kind(statements: Statements) -> Iterator[tuple[str, str, int]]:
    for kind, table in (("documents", tables.DOCUMENT), ("snapshots", tables.SNAPSHOT)):
        for key_id, count in statements.fetch(f"SELECT key_id, COUNT(*) FROM {table} GROUP BY key_id"):
            yield kind, key_id, count
    for kind, (table, column, where) in _SEALED.items():
        for key_id, count in _count_column(statements, table, column, where).items():
            yield kind, key_id, count


def _count_column(statements: Statements, table: str, column: str, where: str) -> Counter[str]:
    """Two queries for each length of a key id: the first two bytes say whether a column is sealed, and that length."""
    found: Counter[str] = Counter()
    starts = f"SELECT SUBSTR({column}, 1, 2), COUNT(*) FROM {table} WHERE {where} GROUP BY 1"
    for start, count in statements.fetch(starts):
        first = bytes(start)
        if not vaults.is_sealed(first) or len(first) < 2:
            found[PLAIN] += count
            continue
        names = f"SELECT SUBSTR({column}, 3, %s), COUNT(*) FROM {table} WHERE SUBSTR({column}, 1, 2) = %s AND {where}"
        for name, of_name in statements.fetch(f"{names} GROUP BY 1", [first[1], first]):
            found[bytes(name).decode(errors="replace")] += of_name
    return found


def list_missing_keys(key_ids: set[str]) -> list[str]:
    """List the keys that the settings do not have."""
    keys = vaults.load_keyring()
    return sorted(key_id for key_id in key_ids - {PLAIN} if keys is None or not keys.holds_key(key_id))


def list_document_keys(using: str) -> set[str]:
    """List the master keys that documents need, by their heads alone."""
    statements = Statements(connections[using])
    return {row[0] for row in statements.fetch(f"SELECT DISTINCT key_id FROM {tables.DOCUMENT}")}


def find_strays(using: str, key_id: str) -> set[int]:
    """Find documents under a key that have a row under another one, or a plain one."""
    statements = Statements(connections[using])
    found = {
        row[0]
        for row in statements.fetch(
            f"SELECT DISTINCT d.id FROM {tables.DOCUMENT} d JOIN {tables.SNAPSHOT} s ON s.document_id = d.id"
            " WHERE d.key_id = %s AND s.key_id <> %s",
            [key_id, key_id],
        )
    }
    # By the first bytes of each column: to open the rows would read every document of the database.
    begin = vaults.make_prefix(key_id)
    for table, column in _OF_DOCUMENTS:
        found |= {
            row[0]
            for row in statements.fetch(
                f"SELECT DISTINCT d.id FROM {tables.DOCUMENT} d JOIN {table} r ON r.document_id = d.id"
                f" WHERE d.key_id = %s AND SUBSTR(r.{column}, 1, %s) <> %s",
                [key_id, len(begin), begin],
            )
        }
    return found

"""Outbox: writes from inside a project's own transaction, stored by one INSERT and applied after its commit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from django.db.models.functions import Now

from session_mgmt.actions import vaults
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import Outbox, StateDocument
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import OUTBOX

if TYPE_CHECKING:
    from session_mgmt.documents.sealing import Keyring

UPDATE = "update"
# Rows of one statement, which holds their payloads.
_MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Row of the outbox; the shape of its payload depends on ``kind``."""

    id: int
    kind: str
    target: str
    stored: bytes
    key: str | None

    def read_payload(self) -> Any:
        """Return the content. Raises ``StateUnreadable``: one entry that cannot be read must not hold up the others."""
        try:
            return orjson.loads(
                open_payload(self.id, self.target, self.key, self.stored) if self.kind == UPDATE else self.stored
            )
        except orjson.JSONDecodeError as error:
            raise StateUnreadable("An outbox entry is no JSON.") from error


@dataclass(frozen=True, slots=True)
class Ticket:
    """Result of a write inside ``atomic()``: the write has no position yet, and gets none if the transaction rolls
    back.
    """

    outbox_id: int


def put_entry(using: str, kind: str, target: str, payload: Any, *, key: str | None) -> Ticket:
    """Write one entry into the caller's transaction, without locks."""
    body = orjson.dumps(payload)
    is_private = kind == UPDATE and _is_private(using, target)
    # By the database's clock, as every time: those of the project's servers differ.
    row = Outbox(kind=kind, target=target, payload=b"" if is_private else body, key=key, created_at=Now())
    row.save(using=using, force_insert=True)
    if is_private:
        # Sealed for its number, which it has only now; nobody sees the row before the caller commits.
        payload = seal_payload(vaults.require_keyring(), row.pk, target, key, body)
        Outbox.objects.using(using).filter(pk=row.pk).update(payload=payload)
    return Ticket(row.pk)


def put_publications(using: str, publications: Iterable[tuple[str, bytes]]) -> None:
    """Write publications, each a topic and its compact JSON, into the caller's transaction, many with one statement."""
    rows = [
        Outbox(kind=Outbox.Kind.PUBLISH, target=topic, payload=body, created_at=Now()) for topic, body in publications
    ]
    Outbox.objects.using(using).bulk_create(rows, batch_size=_MOST_ROWS)


def _is_private(using: str, target: str) -> bool:
    """Tell whether an entry is sealed: always where documents become encrypted, else if its own document is."""
    now = settings()
    if now.encrypt_state or not now.state_keys:
        return bool(now.encrypt_state)
    session, _, name = target.partition("/")
    mine = StateDocument.objects.using(using).filter(session=uuid.UUID(session), name=name)
    return mine.exclude(key_id="").exists()


def seal_payload(ring: Keyring, id_: int, target: str, key: str | None, body: bytes) -> bytes:
    """Seal the payload of an entry, for this row and no other."""
    return vaults.seal_row(ring, vaults.OUTBOX, _encode_owner(target, key), id_, body)


def open_payload(id_: int, target: str, key: str | None, stored: bytes) -> bytes:
    """Return the payload as it was before it was sealed. Raises ``StateUnreadable``."""
    return vaults.open_row(vaults.OUTBOX, _encode_owner(target, key), id_, stored)


def _encode_owner(target: str, key: str | None) -> bytes:
    return orjson.dumps([target, key])


def take_entries(statements: Statements, limit: int) -> list[OutboxEntry]:
    """Take the oldest entries, under the sequencer's lock if there are any.

    The second SELECT is a statement of its own: under READ COMMITTED it sees the deletions of the drain that held
    the lock before. One statement that locks and reads would work on rows that are already gone.
    """
    # Looked at without a lock, because every group asks and nearly always there is nothing.
    if not statements.fetch(f"SELECT 1 FROM {OUTBOX} WHERE refused = '' LIMIT 1"):
        return []
    statements.lock_sequencer()
    rows = statements.fetch(
        f"SELECT id, kind, target, payload, \"key\" FROM {OUTBOX} WHERE refused = '' ORDER BY id LIMIT %s", [limit]
    )
    return [OutboxEntry(row[0], row[1], row[2], bytes(row[3]), row[4]) for row in rows]


def settle_entries(statements: Statements, done: list[int], refused: list[tuple[int, str]]) -> None:
    """Delete entries that were carried out; keep those that cannot be, with the reason."""
    if done:
        among, params = statements.among("id", done)
        statements.run(f"DELETE FROM {OUTBOX} WHERE {among}", params)
    statements.update(OUTBOX, {"id": "bigint", "refused": "text"}, refused)

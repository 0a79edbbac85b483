"""The outbox: what a project's own transaction wants told, written with one INSERT and carried out after commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from django.db.models.functions import Now

from session_mgmt.actions import vaults
from session_mgmt.models import Outbox
from session_mgmt.models.sql import Statements, marks

UPDATE = "update"
_OUTBOX = "session_mgmt_outbox"


@dataclass(frozen=True, slots=True)
class Wish:
    """One row: ``payload()`` is JSON whose shape depends on ``kind``."""

    id: int
    kind: str
    target: str
    stored: bytes
    key: str | None

    def payload(self) -> Any:
        """What is wished. Raises ``StateUnreadable``: one wish whose key is gone must not hold up the others."""
        return orjson.loads(vaults.open_row(vaults.OUTBOX, self.target.encode(), 0, self.stored))


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a caller inside ``atomic()`` gets: the effect has no offset or version yet, and none at all if the
    transaction rolls back.
    """

    outbox_id: int


def put(using: str, kind: str, target: str, payload: Any, *, key: str | None) -> Ticket:
    """Write one wish into the caller's transaction; blocks nobody."""
    body = orjson.dumps(payload)
    ring = vaults.private() if kind == UPDATE else None
    if ring is not None:
        body = vaults.seal_row(ring, vaults.OUTBOX, target.encode(), 0, body)
    row = Outbox(kind=kind, target=target, payload=body, key=key, created_at=Now())
    row.save(using=using, force_insert=True)
    return Ticket(row.pk)


def take(statements: Statements, limit: int) -> list[Wish]:
    """The oldest wishes, under the sequencer's lock if there are any.

    The second SELECT is a statement of its own: under READ COMMITTED it sees what a drain, for which the lock was
    waited, has taken away. One statement that locks and reads would work on rows that are already gone.
    """
    if not statements.fetch(f"SELECT 1 FROM {_OUTBOX} WHERE refused = '' LIMIT 1"):
        return []
    statements.lock_sequencer()
    rows = statements.fetch(
        f"SELECT id, kind, target, payload, \"key\" FROM {_OUTBOX} WHERE refused = '' ORDER BY id LIMIT %s", [limit]
    )
    return [Wish(row[0], row[1], row[2], bytes(row[3]), row[4]) for row in rows]


def settle(statements: Statements, done: list[int], refused: list[tuple[int, str]]) -> None:
    """Delete what was carried out; keep, with its reason, what cannot be."""
    if done:
        statements.run(f"DELETE FROM {_OUTBOX} WHERE id IN ({marks(len(done))})", done)
    statements.update(_OUTBOX, {"id": "bigint", "refused": "text"}, refused)

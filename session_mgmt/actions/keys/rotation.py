"""Put everything that is stored under the writing key: one document, with all its rows, in one transaction.

A kill anywhere leaves each document wholly under one key, and the next run continues with the rest. A document that is
to be encrypted and is not yet becomes so: its chain is keyed anew, and its clients receive a snapshot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from session_mgmt.actions import clients, outbox, vaults
from session_mgmt.actions.keys import usage
from session_mgmt.actions.pacing import Pace, make_pace
from session_mgmt.actions.state import merge_rows, stored_rows, unreadable
from session_mgmt.actions.state.stored_rows import StoredHead
from session_mgmt.actions.vaults import Vault
from session_mgmt.actions.webhooks import endpoints
from session_mgmt.conf import settings
from session_mgmt.documents import chain, codec, rebuild
from session_mgmt.documents.errors import UnreadableBody as Damaged
from session_mgmt.exceptions import DocumentNotFound, StateUnreadable
from session_mgmt.models import (
    Outbox,
    Receipt,
    StateConflict,
    StateDocument,
    StateRevision,
    StateSnapshot,
    WebhookEndpoint,
    tables,
)
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements

Progress = Callable[[str, int], None]
BATCH = 200


@dataclass(slots=True)
class Rotation:
    """Counts of documents, receipts, outbox entries and endpoints of webhooks that were put under the writing key.

    ``unreadable`` documents stayed as they are.
    """

    documents: int = 0
    receipts: int = 0
    outbox_entries: int = 0
    webhooks: int = 0
    unreadable: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def rotate_all(progress: Progress | None = None, *, dry_run: bool = False) -> Rotation:
    """Rotate everything that is not under the writing key; ``progress(kind, count)`` is called as it goes on.

    In a dry run it is counted only. Raises ``StateUnreadable`` where there is no key.
    """
    report = Rotation()
    tell = progress or (lambda kind, count: None)
    pace = make_pace(settings().database)
    for document in _list_due_documents():
        done = dry_run or pace.take(partial(_try_document, document))
        report.documents += done
        report.unreadable += not done
        tell("documents", report.documents)
    for rows in _list_due_receipts():
        report.receipts += len(rows) if dry_run else _rotate_batch(pace, _rotate_receipt, rows)
        tell("receipts", report.receipts)
    for entries in _list_due_entries():
        report.outbox_entries += len(entries) if dry_run else _rotate_batch(pace, _rotate_entry, entries)
        tell("outbox entries", report.outbox_entries)
    due = [row for row in endpoints.list_endpoints() if _is_due(bytes(row.secrets), always=True)]
    report.webhooks += len(due) if dry_run else _rotate_batch(pace, _rotate_endpoint, due)
    tell("webhooks", report.webhooks)
    return report


def _rotate_batch(pace: Pace, rotate_row: Callable[[Any], int], rows: list[Any]) -> int:
    """Rotate a batch in one transaction: a commit for each would cost more than all the rest."""

    def rotate_rows() -> int:
        with open_transaction(settings().database):
            return sum(map(rotate_row, rows))

    return pace.take(rotate_rows) if rows else 0


def _list_due_documents() -> Iterator[int]:
    """Documents with another key than they should have, by id; then those with a row that has another one."""
    using, writing = settings().database, vaults.require_keyring().writing
    after = 0
    rows = StateDocument.objects.using(using).exclude(key_id=writing).order_by("pk").values_list("pk", "name", "key_id")
    while page := list(rows.filter(pk__gt=after)[:BATCH]):
        yield from [key for key, name, key_id in page if key_id or vaults.is_encrypted_name(name)]
        after = page[-1][0]
    # After a rotation by old settings a document can say one key while some of its rows are under another.
    yield from sorted(usage.find_strays(using, writing))


def _try_document(document: int) -> bool:
    using = settings().database
    try:
        with unreadable.audit_unreadable(using, document), open_transaction(using):
            rotate_document(using, document)
    except (StateUnreadable, DocumentNotFound):
        return False
    return True


def rotate_document(using: str, document: int) -> None:
    """Put one document under the writing key; the caller holds a transaction. Raises ``StateUnreadable``."""
    ring = vaults.require_keyring()
    statements = Statements(connections[using])
    # Writers wait: a revision written now would be under the key that is being left.
    statements.select_locked("id", tables.DOCUMENT, [document], wait=True)
    head = stored_rows.read_head(statements, document)
    # The secret stays: with another one no stored path or tag would compare with a new one.
    secret = head.vault.secret if head.vault else os.urandom(vaults.SECRET_BYTES)
    fresh = Vault(ring, document, ring.writing, secret)
    for snapshot in _load_one_by_one(StateSnapshot.objects.using(using).filter(document=document)):
        _seal_snapshot(head, fresh, snapshot)
    before, link = _seal_revisions(using, head, fresh)
    for conflict in _load_one_by_one(StateConflict.objects.using(using).filter(document=document)):
        merge_rows.reseal_conflict(head.vault, fresh, conflict)
    row = StateDocument.objects.using(using).get(pk=document)
    row.key_id, row.encrypted = ring.writing, True
    row.secret = vaults.seal_secret(ring, row.session_id, row.name, secret, ring.writing)
    row.chain, row.oldest_chain = link, before
    if head.vault is None:
        # A plain hash of the whole; the next snapshot brings a keyed one.
        row.checksum, row.checksum_version = "", 0
    row.save(update_fields=["key_id", "encrypted", "secret", "chain", "oldest_chain", "checksum", "checksum_version"])


def _load_one_by_one(rows: QuerySet) -> Iterator:
    """Load rows one by one: each may have 5 MB."""
    for key in list(rows.order_by("pk").values_list("pk", flat=True)):
        yield rows.get(pk=key)


def _seal_snapshot(head: StoredHead, fresh: Vault, row: StateSnapshot) -> None:
    body = stored_rows.open_snapshot(head.vault, row.version, row.codec, row.key_id, bytes(row.nonce), bytes(row.body))
    if head.vault is None:
        raw = codec.decode_body(row.codec, body, stored_rows.body_limit())
        # Checked before it is sealed: the new digest would vouch for damage that the old one still shows.
        if rebuild.compute_body_digest(raw, None) != bytes(row.digest):
            raise Damaged("A stored body does not have its digest.")
        row.digest = rebuild.compute_body_digest(raw, fresh.digest_key)
    row.key_id = fresh.key_id
    row.nonce, row.body = fresh.seal_body(row.version, row.codec, body)
    row.save(update_fields=["key_id", "nonce", "body", "digest"])


def _seal_revisions(using: str, head: StoredHead, fresh: Vault) -> tuple[bytes, bytes]:
    """Seal all revisions. Return the chain before the first and after the last: as they are, or keyed anew if plain."""
    before = (
        head.before if head.vault or head.oldest == 1 else chain.advance_chain(head.before, 0, b"", fresh.chain_key)
    )
    link = before
    for row in _load_one_by_one(StateRevision.objects.using(using).filter(document=head.document).order_by("version")):
        beside = None if row.asked is None else bytes(row.asked)
        ops, asked = vaults.open_merge(head.vault, row.version, bytes(row.ops), beside)
        paths = vaults.open_paths(head.vault, row.version, bytes(row.paths))
        if head.vault is None:
            row.paths = vaults.seal_paths(fresh, row.version, paths)
            # A plain chain would let anybody with the table confirm a guess of the operations.
            row.chain = link = chain.advance_chain(link, row.version, ops, fresh.chain_key)
        row.ops = fresh.seal_ops(row.version, ops, merged=asked is not None)
        row.asked = None if asked is None else fresh.seal_column(vaults.ASKED, row.version, asked)
        row.save(update_fields=["ops", "paths", "chain", "asked"])
    return before, head.chain if head.vault else link


# -- receipts, outbox entries, endpoints -------------------------------------------------------------------------------


def _list_due_receipts() -> Iterator[list[Receipt]]:
    rows = Receipt.objects.using(settings().database).order_by("pk")
    after = 0
    while page := list(rows.filter(pk__gt=after)[:BATCH]):
        yield [row for row in page if _is_due(bytes(row.outcome), always=True)]
        after = page[-1].pk


def _list_due_entries() -> Iterator[list[Outbox]]:
    rows = Outbox.objects.using(settings().database).filter(kind=outbox.UPDATE).order_by("pk")
    after = 0
    while page := list(rows.filter(pk__gt=after)[:BATCH]):
        always = bool(settings().encrypt_state)
        yield [row for row in page if _is_due(bytes(row.payload), always=always)]
        after = page[-1].pk


def _is_due(body: bytes, *, always: bool) -> bool:
    """``always``: a plain one is to be sealed too."""
    if not vaults.is_sealed(body):
        return always
    return not body.startswith(vaults.make_prefix(vaults.require_keyring().writing))


def _rotate_receipt(row: Receipt) -> int:
    try:
        digest, outcome = clients.reseal_receipt(
            vaults.require_keyring(), row.client_id, row.seq, bytes(row.digest), bytes(row.outcome)
        )
    except StateUnreadable:
        return 0
    same = Receipt.objects.using(settings().database).filter(pk=row.pk)
    return same.update(digest=digest, outcome=outcome)


def _rotate_entry(row: Outbox) -> int:
    try:
        body = outbox.open_payload(row.pk, row.target, row.key, bytes(row.payload))
    except StateUnreadable:
        return 0
    sealed = outbox.seal_payload(vaults.require_keyring(), row.pk, row.target, row.key, body)
    return Outbox.objects.using(settings().database).filter(pk=row.pk).update(payload=sealed)


def _rotate_endpoint(row: WebhookEndpoint) -> int:
    try:
        endpoints.reseal_secrets(row)
    except StateUnreadable:
        return 0
    return 1

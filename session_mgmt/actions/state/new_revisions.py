"""Revisions that one group of writes has made and not written yet."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from session_mgmt.actions import vaults
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.outcome import Appended
from session_mgmt.actions.state import entries, merge_rows
from session_mgmt.actions.state.locked_heads import LockedHead
from session_mgmt.actions.state.updates import Update
from session_mgmt.models import tables
from session_mgmt.models.sql import Row, Statements
from session_mgmt.protocol.logs import Entry, document_key

_COLUMNS = {
    "document_id": "bigint",
    "version": "bigint",
    "client_id": "bigint",
    "seq": "bigint",
    "kind": "text",
    "ops": "bytea",
    "paths": "bytea",
    "chain": "bytea",
    "key": "text",
    "request": "bytea",
    "at": "timestamptz",
}


class NewRevision(NamedTuple):
    """Revision of an accepted update, with the version, chain and tag that the update has made."""

    update: Update
    fence: Fence | None
    head: LockedHead
    version: int
    chain: bytes
    tag: str


class Changed(NamedTuple):
    """New version of a document, for signals."""

    document: int
    session: uuid.UUID
    name: str
    version: int
    paths: tuple[str, ...]
    writer: str


def write_revisions(sql: Statements, revisions: Sequence[NewRevision], at: datetime) -> None:
    """Insert the revisions, encrypted if their documents are."""
    moment = sql.moment(at)
    sql.insert(tables.REVISION, _COLUMNS, [_make_row(revision, moment) for revision in revisions])


def _make_row(revision: NewRevision, moment: object) -> Row:
    update, fence, head = revision.update, revision.fence, revision.head
    client = fence.client if fence else None
    ops = update.ops
    if head.vault is not None:
        # The chain is computed from unencrypted operations, so a rotation of keys does not change the tags that clients
        # have.
        ops = head.vault.seal_ops(revision.version, ops, merged=merge_rows.is_asked_kept(client, update.merge))
    return (
        head.document,
        revision.version,
        client,
        fence.seq if fence else None,
        update.kind,
        ops,
        vaults.seal_paths(head.vault, revision.version, update.paths),
        revision.chain,
        update.terms.key,
        head.hide_request(update.terms.request),
        moment,
    )


def group_entries(revisions: Sequence[NewRevision]) -> dict[str, Appended]:
    """Return the new entries by log key."""
    logs: dict[str, Appended] = {}
    for revision in revisions:
        fence = revision.fence
        log = logs.setdefault(document_key(revision.head.document), Appended(revision.head.epoch, []))
        # Unencrypted and with the public id of the client, in the same form as entries that are read from the log.
        body = entries.make_entry_body(revision.update.ops, fence.name if fence else None, fence)
        log.entries.append(Entry(revision.version, revision.tag, body))
    return logs


def list_changes(revisions: Sequence[NewRevision]) -> list[Changed]:
    """Return all new versions."""
    return [
        Changed(
            revision.head.document,
            revision.head.session,
            revision.head.name,
            revision.version,
            revision.update.paths,
            revision.update.terms.writer,
        )
        for revision in revisions
    ]

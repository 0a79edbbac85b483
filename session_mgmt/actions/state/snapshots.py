"""Take snapshots of documents, so that reading them stays fast; many documents with a fixed number of statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connections

from session_mgmt.actions.state import stored_rows
from session_mgmt.actions.state.bodies import ATTEMPTS
from session_mgmt.actions.state.stored_rows import Made, Runner, StoredHead, run_inline
from session_mgmt.actions.state.unreadable import Refusals
from session_mgmt.conf import settings
from session_mgmt.documents import rebuild
from session_mgmt.documents.errors import UnreadableBody as Damaged
from session_mgmt.documents.limits import round_number
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import tables
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Row, Statements

_SNAPSHOT_COLUMNS = {
    "id": "bigint",
    "snapshot_version": "bigint",
    "size": "bigint",
    "keys": "bigint",
    "number_bound": "bigint",
    "compressed": "boolean",
    "checksum": "text",
    "checksum_version": "bigint",
}


def keep_snapshot(using: str, document: int, *, at: datetime, run: Runner = run_inline) -> None:
    """Take a snapshot of the head, and make its size, keys and numbers exact if nothing was written in the meantime.

    To repeat it, or to stop it at any point, only wastes space. Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    keep_snapshots(using, [document], at=at, run=run).require_all()


def keep_snapshots(using: str, documents: Sequence[int], *, at: datetime, run: Runner = run_inline) -> Refusals:
    """Take snapshots of documents in the same way as ``keep_snapshot``, with a fixed number of statements; return the
    refusals.
    """
    statements, refusals = Statements(connections[using]), Refusals(using)
    made: list[Made] = []
    for _ in range(ATTEMPTS):
        heads = refusals.sift(documents, stored_rows.read_heads(statements, documents))
        # A document without new versions, the usual case, costs one small query; nothing is read or built.
        behind = [(head, head.position.offset) for head in heads if head.position.offset != head.snapshot_version]
        packed, documents = pack_versions(statements, behind, refusals, run)
        made += packed
        # Nothing was locked, so a compaction may have deleted a snapshot or revisions between two queries.
        if not documents:
            break
    for document in documents:
        refusals.note(document, StateUnreadable())
    if made:
        _write_snapshots(using, made, at)
    return refusals


def pack_versions(
    statements: Statements, wanted: Sequence[tuple[StoredHead, int]], refusals: Refusals, run: Runner
) -> tuple[list[Made], list[int]]:
    """Build versions of documents in the form of snapshots; return them, and the documents that a compaction has
    changed in the meantime. Documents that cannot be read are added to ``refusals``.
    """
    made, changed = [], []
    opening = stored_rows.load_parts(statements, wanted)
    for head, version in wanted:
        try:
            found = opening[head.document]()
            if found is None:
                changed.append(head.document)
                continue
            place = stored_rows.choose_runner(run, found.parts)
            packed = place(rebuild.pack_parts, found.parts, settings().compression_threshold)
        except (Damaged, StateUnreadable) as error:
            refusals.note(head.document, error)
        else:
            made.append(Made(head, version, packed))
    return made, changed


def _write_snapshots(using: str, made: Sequence[Made], at: datetime) -> None:
    with open_transaction(using):
        kept = {each.head.document: each for each in stored_rows.insert_snapshots(using, made, at)}
        statements = Statements(connections[using])
        # Under the locks. A write in the meantime may have set its own exact size, so a later version keeps its bounds.
        rows = statements.select_rows(
            "id, version, snapshot_version, size, keys, number_bound", tables.DOCUMENT, list(kept)
        )
        statements.update(
            tables.DOCUMENT,
            _SNAPSHOT_COLUMNS,
            [_move_snapshot(kept[row[0]], row[1], row[3:]) for row in rows if row[2] < kept[row[0]].version],
        )


def _move_snapshot(made: Made, version: int, bounds: Row) -> Row:
    packed, size = made.packed, made.packed.size
    exact = (size.bytes, size.keys, round_number(size.number)) if version == made.version else bounds
    codec = bool(packed.encoded.codec)
    return (made.head.document, made.version, *exact, codec, packed.checksum, made.version)

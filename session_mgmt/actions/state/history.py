"""History of a document: the change of each version, any version as it was, differences of two versions, and
checkpoints.

History is never rewritten: restoring writes a new version (``writes.restore``), and only compaction deletes old ones.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, connections
from django.db.models import QuerySet
from django.db.models.functions import Length

from session_mgmt.actions import access, vaults
from session_mgmt.actions.access import Proof
from session_mgmt.actions.state import bodies, stored_rows, unreadable
from session_mgmt.actions.state.bodies import Body, VersionSource
from session_mgmt.actions.state.stored_rows import Made, Runner, StoredHead, run_inline
from session_mgmt.actions.timeline.proofs import hold_proof
from session_mgmt.conf import settings
from session_mgmt.documents import chain, operations, pointer, rebuild, touched, whole
from session_mgmt.documents.rebuild import Packed
from session_mgmt.documents.whole import Replacement
from session_mgmt.exceptions import Conflict, DocumentLimit, InvalidField, NotFound, StateUnreadable, Unavailable
from session_mgmt.models import StateDocument, StateRevision, StateSnapshot, clock, tables
from session_mgmt.models.clock import as_text
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.addresses import fits_address
from session_mgmt.protocol.position import Position

PAGE = 50
MOST_PAGE = 200
_MOST_LABEL = 100


def list_versions(document: int, *, before: int | None = None, limit: int = PAGE) -> dict[str, Any]:
    """Return a page of the log, newest first: ``{"results": […], "oldest", "next"}``. ``next`` is the value of
    ``before`` for the next page.

    Each result has ``version``, ``tag``, ``kind``, ``at``, ``client_id`` and ``seq`` of the write (``null`` for writes
    of the server), the ``paths`` that it touched, ``bytes`` of its operations, and ``labels``. ``oldest`` is the first
    version that can be read. Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    using = settings().database
    statements = Statements(connections[using])
    rows = StateRevision.objects.using(using).filter(document=document).select_related("client").order_by("-version")
    # By version and not by offset, so that no version is left out or repeated while new ones arrive.
    page = rows if before is None else rows.filter(version__lt=before)
    head, results = _read_page(using, statements, document, page, max(1, min(limit, MOST_PAGE)))
    last = results[-1]["version"] if results else head.oldest
    return {"results": results, "oldest": head.oldest - 1, "next": last if last > head.oldest else None}


def _read_page(
    using: str, statements: Statements, document: int, rows: QuerySet[StateRevision], limit: int
) -> tuple[StoredHead, list[dict[str, Any]]]:
    with unreadable.audit_unreadable(using, document):
        labels = _load_labels(using, document)
        for _ in range(bodies.ATTEMPTS):
            head = stored_rows.read_head(statements, document)
            # Operations may be whole documents. Unencrypted rows have their paths in another column, so operations are
            # not loaded.
            page = rows if head.vault else rows.annotate(bytes=Length("ops")).defer("ops", "asked")
            results = stored_rows.unless_rekeyed(statements, head, partial(_show_revisions, head, page[:limit], labels))
            if results is not None:
                return head, results
        raise StateUnreadable()


def _show_revisions(
    head: StoredHead, page: QuerySet[StateRevision], labels: dict[int, list[str]]
) -> list[dict[str, Any]]:
    return [_show_revision(head, row, labels) for row in page]


def _show_revision(head: StoredHead, row: StateRevision, labels: dict[int, list[str]]) -> dict[str, Any]:
    paths, size = _read_paths_and_size(head, row)
    return {
        "version": row.version,
        "tag": chain.make_tag(bytes(row.chain)),
        "kind": row.kind,
        "at": as_text(row.at),
        "client_id": row.client.client_id if row.client else None,
        "seq": row.seq,
        "paths": pointer.strip_marks(paths),
        "bytes": size,
        "labels": labels.get(row.version, []),
    }


def _read_paths_and_size(head: StoredHead, row: Any) -> tuple[list[str], int]:
    """Return the paths of a revision, and the bytes of its operations. The stored paths of encrypted documents are
    hashed.
    """
    if head.vault is None:
        return list(vaults.open_paths(None, row.version, bytes(row.paths))), row.bytes
    ops = vaults.open_ops(head.vault, row.version, bytes(row.ops))
    return list(touched.list_paths(operations.decode_ops(ops))), len(ops)


def _load_labels(using: str, document: int) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    # All at once: there are at most `max_checkpoints`, and a query for each row would be many queries for a page.
    for version, label in _checkpoint_rows(using, document).values_list("version", "label"):
        found.setdefault(version, []).append(label)
    return found


def _checkpoint_rows(using: str, document: int) -> Any:
    rows = StateSnapshot.objects.using(using).filter(document=document, label__isnull=False)
    return rows.order_by("version", "label")


def list_checkpoints(document: int) -> list[dict[str, Any]]:
    """Return the versions with labels, oldest first, as ``{"label", "version", "at"}``."""
    rows = _checkpoint_rows(settings().database, document).values_list("label", "version", "created_at")
    return [{"label": label, "version": version, "at": as_text(at)} for label, version, at in rows]


def read_version(document: int, version: int) -> Body:
    """Return a document as it was at a version. Raises ``NotFound``, ``DocumentNotFound`` or ``StateUnreadable``."""
    now = settings()
    return bodies.load_body_at(now.database, document, version)


def read_version_or_label(document: int, to: int | str) -> Body:
    """Return a document at a version or at a label. Raises the errors of ``read_version``."""
    return read_version(document, find_labelled_version(document, to) if isinstance(to, str) else to)


def read_raw(document: int, version: int, *, run: Runner = run_inline) -> tuple[Position, bytes]:
    """Return the position and the compact JSON of a version. Heavy work is passed to ``run``. Raises the errors of
    ``read_version``.
    """
    now = settings()
    position, _, raw = bodies.load_raw(now.database, document, version, run=run)
    return position, raw


def prepare_restore(document: int, to: int | str, *, run: Runner = run_inline) -> Replacement:
    """Prepare the replacement that restores a version or a checkpoint. Heavy work is passed to ``run``. Raises the
    errors of ``read_version_or_label``.
    """
    now = settings()
    version = find_labelled_version(document, to) if isinstance(to, str) else to
    with unreadable.audit_unreadable(now.database, document):
        past = bodies.load_source(now.database, document, version)
        found: Replacement = stored_rows.choose_runner(run, past.parts)(whole.restore_parts, past.parts)
    return found


def find_labelled_version(document: int, label: str) -> int:
    """Return the version that has a label. Raises ``NotFound``."""
    if not access.is_key(label):
        raise NotFound("There is no checkpoint of this label.")
    rows = _checkpoint_rows(settings().database, document).filter(label=label).values_list("version", flat=True)
    if not rows:
        raise NotFound("There is no checkpoint of this label.")
    return int(rows[0])


def find_version_at(document: int, moment: datetime) -> int:
    """Return the version that was current at a moment. Raises ``NotFound`` if the log begins later."""
    using = settings().database
    rows = StateRevision.objects.using(using).filter(document=document, at__lte=moment)
    version = rows.order_by("-version").values_list("version", flat=True).first()
    if version is not None:
        return int(version)
    oldest = StateDocument.objects.using(using).values_list("oldest_revision", flat=True).filter(pk=document).first()
    # Before its first revision each document was empty; but this is known only if the first revision is still stored.
    if oldest != 1:
        raise NotFound("The log begins later than that.")
    return 0


def diff_versions(document: int, first: int, second: int, *, run: Runner = run_inline) -> list[dict[str, Any]]:
    """Return the difference of two versions as an RFC 6902 patch. Heavy work is passed to ``run``. Raises the errors of
    ``read_version``.
    """
    now = settings()
    with unreadable.audit_unreadable(now.database, document):
        before, after = [bodies.load_source(now.database, document, version) for version in (first, second)]
        found: list[dict[str, Any]] = stored_rows.choose_runner(run, before.parts, after.parts)(
            rebuild.diff_parts, before.parts, after.parts
        )
    return found


def keep_checkpoint(
    document: int,
    label: str | None = None,
    *,
    proof: Proof | None = None,
    now: datetime | None = None,
    run: Runner = run_inline,
) -> dict[str, Any]:
    """Store the current version permanently under a label, by default ``v<version>``: compaction never deletes it.

    Return ``{"label", "version"}``; a repetition at the same version changes nothing. Raises ``Conflict`` if another
    version has the label, ``DocumentLimit`` (``max_checkpoints``), ``InvalidField``, ``DocumentNotFound`` or
    ``StateUnreadable``, and with a ``proof`` the errors of ``hold_proof``. Heavy work is passed to ``run``.
    """
    limits = settings()
    with unreadable.audit_unreadable(limits.database, document):
        past = bodies.load_source(limits.database, document, None)
        # Before the transaction, so that writers do not wait while a large document is packed.
        packed: Packed = stored_rows.choose_runner(run, past.parts)(
            rebuild.pack_parts, past.parts, limits.compression_threshold
        )
    version = past.position.offset
    label = _check_label(f"v{version}" if label is None else label)
    try:
        with open_transaction(limits.database):
            at = now or clock.read(limits.database)
            hold_proof(limits.database, proof, at)
            _write_checkpoint(limits.database, past, packed, label, at)
    except IntegrityError as error:
        raise Conflict("The label has just been given.", label=label) from error
    return {"label": label, "version": version}


def _write_checkpoint(using: str, past: VersionSource, packed: Packed, label: str, at: datetime) -> None:
    document, version = past.head.document, past.position.offset
    statements = Statements(connections[using])
    # With the lock, label and limit are checked together, and the keys cannot be rotated in the meantime.
    statements.select_locked("id", tables.DOCUMENT, [document], wait=True)
    mine = _checkpoint_rows(using, document)
    standing = mine.filter(label=label).values_list("version", flat=True).first()
    if standing is not None:
        if standing != version:
            raise Conflict("The label stands at another version.", label=label, version=standing)
        return
    if mine.count() >= settings().max_checkpoints:
        raise DocumentLimit("The document has as many checkpoints as allowed.", limit=settings().max_checkpoints)
    # The body was read under another key; a snapshot of it could not be decrypted with the current key of the document.
    if not stored_rows.insert_snapshots(using, [Made(past.head, version, packed)], at, label):
        raise Unavailable("The document's key has just been changed.", retry_after=1.0)


def forget_checkpoint(document: int, label: str, *, proof: Proof | None = None) -> bool:
    """Delete a checkpoint; return ``False`` if no version has this label. Raises the errors of ``hold_proof``."""
    if not access.is_key(label):
        return False
    using = settings().database
    with open_transaction(using):
        hold_proof(using, proof, clock.read(using))
        gone, _ = _checkpoint_rows(using, document).filter(label=label).delete()
    return gone > 0


def _check_label(label: str) -> str:
    if not isinstance(label, str) or not label.isprintable() or not 1 <= len(label) <= _MOST_LABEL:
        raise InvalidField(f"A label is printable text of 1 to {_MOST_LABEL} characters.", field="label")
    if not fits_address(label):
        raise InvalidField("A label has no part . or .. between slashes.", field="label")
    return label

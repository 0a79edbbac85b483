"""Keep documents short: take a snapshot of the head now and then, and cut the old end of the log.

Each step is harmless to repeat, and a kill between two steps costs only space: first a snapshot is written where the
log will begin, then one transaction moves the beginning and deletes everything before it. So every version from
``oldest_revision`` - 1 on can be rebuilt at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db import connections
from django.db.models import F, Q

from session_mgmt.actions.state import bodies, locked_heads, stored_rows, unreadable
from session_mgmt.actions.state.stored_rows import Runner, StoredHead, run_inline
from session_mgmt.conf import Settings, settings
from session_mgmt.documents import rebuild
from session_mgmt.exceptions import DocumentNotFound, StateUnreadable
from session_mgmt.models import StateDocument, StateRevision, StateSnapshot, clock, tables
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements

# Taken off in larger pieces, or a full log would be rebuilt for every revision that comes.
_KEPT_SHARE = 0.75
_LEAST_SHARE = 0.25
_AGE_SLACK = 1.25
# A sweep looks after the work of the hot path, and leaves it some time.
_LATE_SNAPSHOTS = 4
# Beside the one where the log begins, and those with labels.
_KEPT_SNAPSHOTS = 2


def compact_document(document: int, *, now: datetime | None = None, run: Runner = run_inline) -> int:
    """Keep a snapshot of the head, shorten the log if it is over a limit, and return the number of deleted revisions.

    Heavy work is handed to ``run``. Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    limits = settings()
    at = now or clock.read(limits.database)
    # First, so that the log may be cut up to the head.
    bodies.keep_snapshot(limits.database, document, at=at, run=run)
    with unreadable.audit_unreadable(limits.database, document):
        return _trim_log(limits, document, at, run)


def compact_lagging(document: int, *, run: Runner = run_inline) -> int:
    """Compact a document if it is still due: it may be asked for several times while one snapshot is taken."""
    rows = Statements(connections[settings().database]).fetch(
        f"SELECT COUNT(*), COALESCE(SUM(LENGTH(r.ops)), 0), MAX(d.size) FROM {tables.DOCUMENT} d"
        f" JOIN {tables.REVISION} r ON r.document_id = d.id AND r.version > d.snapshot_version WHERE d.id = %s",
        [document],
    )
    # Counted exactly: who asks has counted the bytes of the whole log.
    ((pending, size_of_ops, size),) = rows
    return compact_document(document, run=run) if pending and locked_heads.is_lagging(pending, size_of_ops, size) else 0


def iter_due(limit: int, at: datetime) -> Iterator[int]:
    """Go through the documents that are over a limit, read ``limit`` at a time; one may come twice.

    Page by page: a sweep that stops in the middle has done something, and holds no long list.
    """
    after = 0
    while keys := _find_long_logs(after, limit):
        yield from keys
        after = keys[-1]
    after = 0
    while rows := _first_revisions(after, limit, at):
        yield from sorted({document for _, document in rows})
        after = rows[-1][0]


def compact_readable(document: int, *, now: datetime | None = None) -> int:
    """Compact a document as ``compact_document``; one that cannot be read, or is gone, is left as it is.

    The audit trail has an entry of it then.
    """
    try:
        return compact_document(document, now=now)
    except (StateUnreadable, DocumentNotFound):
        return 0


def _find_long_logs(after: int, limit: int) -> list[int]:
    """List documents whose log is too long or large, or whose last snapshot is far behind, by id from ``after`` on."""
    now = settings()
    # By columns of the head alone: to count the revisions of all documents would read the whole table.
    over = (
        Q(version__gte=F("oldest_revision") + now.max_revisions)
        | Q(log_bytes__gt=now.max_log_bytes)
        | Q(version__gte=F("snapshot_version") + _LATE_SNAPSHOTS * now.snapshot_every) & _is_behind(now)
    )
    rows = StateDocument.objects.using(now.database).filter(over, pk__gt=after).order_by("pk")
    return list(rows.values_list("pk", flat=True)[:limit])


def _is_behind(now: Settings) -> Q:
    """Make the condition of ``locked_heads.is_lagging`` for all documents at once, with the bytes of the whole log."""
    pending = F("version") - F("snapshot_version")
    much = (pending * rebuild.REVISION_BYTES + F("log_bytes")) / rebuild.SHARE
    return Q(version__gt=F("snapshot_version") + now.max_revisions // 2) | Q(size__lte=much)


def _first_revisions(after: int, limit: int, at: datetime) -> list[tuple[int, int]]:
    """Return (row, document) of the oldest revisions past the retention.

    By row number, which grows with time: no index on time is needed.
    """
    cutoff = at - settings().log_retention * _AGE_SLACK
    rows = StateRevision.objects.using(settings().database).filter(pk__gt=after).order_by("pk")
    found = rows.values_list("pk", "document_id", "at")[:limit]
    return [(key, document) for key, document, made in found if made < cutoff]


def _trim_log(limits: Settings, document: int, at: datetime, run: Runner) -> int:
    using = limits.database
    statements = Statements(connections[using])
    head = stored_rows.read_head(statements, document)
    first = _first_kept(statements, limits, head, at)
    if first <= head.oldest:
        _drop_snapshots(using, document)
        return 0
    if not _has_anchor(using, document, first - 1):
        found = stored_rows.read_parts(statements, head, first - 1)
        # A compaction of another process was faster; the next sweep looks again.
        if found is None:
            return 0
        packed = stored_rows.choose_runner(run, found.parts)(
            rebuild.pack_parts, found.parts, limits.compression_threshold
        )
        with open_transaction(using):
            stored_rows.insert_snapshot(using, head, first - 1, packed, at)
    gone = _cut_log(using, statements, document, first)
    _drop_snapshots(using, document)
    return gone


def _first_kept(statements: Statements, limits: Settings, head: StoredHead, at: datetime) -> int:
    """Return the revision at which the log is to begin; at most one behind the head's snapshot, to keep the head
    readable.
    """
    wanted = [
        head.oldest,
        _first_by_count(limits, head),
        _first_by_age(statements, limits, head, at),
        _first_by_bytes(statements, limits, head),
    ]
    # The strictest of the limits, but never past a snapshot: the head must stay readable from what is left.
    return min(max(wanted), head.snapshot_version + 1)


def _first_by_count(limits: Settings, head: StoredHead) -> int:
    """Return the first revision to keep by their number.

    A place where a snapshot exists already is preferred, if that leaves enough: another one would cost O(document).
    """
    if head.position.offset - head.oldest + 1 <= limits.max_revisions:
        return head.oldest
    first = head.position.offset - int(limits.max_revisions * _KEPT_SHARE) + 1
    last = head.position.offset - int(limits.max_revisions * _LEAST_SHARE) + 1
    plain = StateSnapshot.objects.using(limits.database).filter(document=head.document, label__isnull=True)
    standing = plain.filter(version__gte=first - 1, version__lt=last).order_by("version")
    version = standing.values_list("version", flat=True).first()
    return first if version is None else version + 1


def _first_by_age(statements: Statements, limits: Settings, head: StoredHead, at: datetime) -> int:
    """Return the first revision to keep by age.

    Half a log is not rebuilt for one old revision: it waits until it is a quarter older than need be.
    """
    first = f"SELECT at FROM {tables.REVISION} WHERE document_id = %s AND version >= %s ORDER BY version LIMIT 1"
    old = f"SELECT MAX(version) FROM {tables.REVISION} WHERE document_id = %s AND at < %s"
    late = statements.moment(at - limits.log_retention * _AGE_SLACK)
    if not statements.fetch(f"SELECT 1 FROM ({first}) oldest WHERE at < %s", [head.document, head.oldest, late]):
        return head.oldest
    # Cut down to the retention, and not only to the slack: otherwise the next revision
    # would be due for a cut by itself.
    cutoff = statements.moment(at - limits.log_retention)
    ((last,),) = statements.fetch(old, [head.document, cutoff])
    return (last or 0) + 1


def _first_by_bytes(statements: Statements, limits: Settings, head: StoredHead) -> int:
    rows = statements.fetch(
        f"SELECT log_bytes FROM {tables.DOCUMENT} WHERE id = %s AND log_bytes > %s",
        [head.document, limits.max_log_bytes],
    )
    if not rows:
        return head.oldest
    room, first = int(limits.max_log_bytes * _KEPT_SHARE), head.position.offset + 1
    sizes = f"SELECT version, LENGTH(ops) FROM {tables.REVISION} WHERE document_id = %s AND version >= %s"
    for version, size in statements.fetch(f"{sizes} ORDER BY version DESC", [head.document, head.oldest]):
        room -= size
        if room < 0:
            break
        first = version
    return first


def _cut_log(using: str, statements: Statements, document: int, first: int) -> int:
    """Let the log begin at ``first``, if a snapshot exists right before it."""
    with open_transaction(using):
        # Writers of this document wait from here on, so everything heavy was done before.
        rows = statements.select_locked("oldest_revision, version", tables.DOCUMENT, [document], wait=True)
        # Somebody else has cut it meanwhile, or a backup was put back.
        if not rows or rows[0][0] >= first or rows[0][1] < first - 1:
            return 0
        # It may have been dropped while nobody held the lock.
        if not _has_anchor(using, document, first - 1):
            return 0
        # The chain must go on from the last deleted revision, or every later tag would be doubted.
        links = statements.fetch(
            f"SELECT chain FROM {tables.REVISION} WHERE document_id = %s AND version = %s", [document, first - 1]
        )
        if not links:
            return 0
        gone = statements.run(
            f"DELETE FROM {tables.REVISION} WHERE document_id = %s AND version < %s", [document, first]
        )
        statements.run(
            f"UPDATE {tables.DOCUMENT} SET oldest_revision = %s, oldest_chain = %s, log_bytes = COALESCE("
            f"(SELECT SUM(LENGTH(ops)) FROM {tables.REVISION} WHERE document_id = %s), 0) WHERE id = %s",
            [first, bytes(links[0][0]), document, document],
        )
        return gone


def _has_anchor(using: str, document: int, version: int) -> bool:
    """Tell whether a lasting snapshot of this version exists; one with a label may be given up at any time."""
    rows = StateSnapshot.objects.using(using).filter(document=document, version=version, label__isnull=True)
    return rows.exists()


def _drop_snapshots(using: str, document: int) -> None:
    """Keep the snapshot where the log begins, the newest two, and those with labels."""
    with open_transaction(using):
        rows = Statements(connections[using]).select_locked("oldest_revision", tables.DOCUMENT, [document], wait=True)
        plain = StateSnapshot.objects.using(using).filter(document=document, label__isnull=True)
        keep = list(plain.order_by("-version").values_list("pk", flat=True)[:_KEPT_SNAPSHOTS])
        for (oldest,) in rows:
            # Also where it is old: the oldest version that may be asked for is built from it.
            keep += _find_anchor(using, document, oldest)
            plain.exclude(pk__in=keep).delete()


def _find_anchor(using: str, document: int, oldest: int) -> list[int]:
    """Return the newest snapshot from which the oldest retained version can be rebuilt."""
    found = StateSnapshot.objects.using(using).filter(document=document, label__isnull=True, version__lt=oldest)
    return list(found.order_by("-version").values_list("pk", flat=True)[:1])

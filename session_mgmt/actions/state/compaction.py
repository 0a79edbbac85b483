"""Keep documents short: take snapshots of their heads from time to time, and delete the oldest revisions of their logs.

Each step can be repeated safely, and a process that dies between two steps only wastes space. First a snapshot is
written where the log will begin, then one transaction moves the beginning and deletes all revisions before it.
Therefore every version from ``oldest_revision`` - 1 on can always be rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from django.db import connections
from django.db.models import F, Q

from session_mgmt.actions.state import locked_heads, snapshots, stored_rows, unreadable
from session_mgmt.actions.state.stored_rows import Runner, StoredHead, run_inline
from session_mgmt.conf import Settings, settings
from session_mgmt.documents import rebuild
from session_mgmt.models import StateDocument, StateRevision, clock, tables
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements

# Revisions are deleted many at a time, or a full log would be compacted again for each new revision.
_KEPT_SHARE = 0.75
_LEAST_SHARE = 0.25
_AGE_SLACK = 1.25
# The lane asks for snapshots first; the cleanup only takes those that are late.
_LATE_SNAPSHOTS = 4
# Snapshots to keep besides the one at the beginning of the log and those with labels.
_KEPT_SNAPSHOTS = 2


def compact_document(document: int, *, now: datetime | None = None, run: Runner = run_inline) -> int:
    """Take a snapshot of the head, shorten the log if it exceeds a limit, and return the number of deleted revisions.

    Heavy work is passed to ``run``. Raises ``DocumentNotFound`` or ``StateUnreadable``.
    """
    group = _Group([document], now, run)
    gone = group.compact()
    group.refusals.require_all()
    return gone


def compact_group(documents: Sequence[int], *, now: datetime | None = None) -> int:
    """Compact documents in the same way as ``compact_document``, with a fixed number of statements, and return the
    number of deleted revisions.

    Documents that cannot be read, or were deleted, stay as they are. Each one that cannot be read gets an audit entry.
    """
    return _Group(documents, now, run_inline).compact()


def split_group(documents: Sequence[int], most: int) -> list[int]:
    """Return the first documents, which are compacted together: at most ``most``, and only as many as are small
    together.
    """
    statements = Statements(connections[settings().database])
    rows = statements.select_rows("id, size + log_bytes", tables.DOCUMENT, documents[:most])
    sizes: dict[int, int] = dict(rows)
    room = stored_rows.HEAVY_BYTES
    group: list[int] = []
    for document in documents[:most]:
        room -= sizes.get(document, 0)
        if room < 0 and group:
            break
        group.append(document)
    return group


def compact_lagging(document: int, *, run: Runner = run_inline) -> int:
    """Compact a document if it is still due: one snapshot may have been requested several times while it was made."""
    rows = Statements(connections[settings().database]).fetch(
        f"SELECT COUNT(*), COALESCE(SUM(LENGTH(r.ops)), 0), MAX(d.size) FROM {tables.DOCUMENT} d"
        f" JOIN {tables.REVISION} r ON r.document_id = d.id AND r.version > d.snapshot_version WHERE d.id = %s",
        [document],
    )
    # Count exactly, because the caller has counted the bytes of the whole log.
    ((pending, size_of_ops, size),) = rows
    return compact_document(document, run=run) if pending and locked_heads.is_lagging(pending, size_of_ops, size) else 0


def iter_due(limit: int, at: datetime) -> Iterator[list[int]]:
    """Yield the ids of documents that exceed a limit, in pages of up to ``limit`` ids; an id may come twice.

    With pages, a cleanup that stops in the middle has done a part of the work, and no long list is kept in memory.
    """
    after = 0
    while keys := _find_long_logs(after, limit):
        yield keys
        after = keys[-1]
    after = 0
    while rows := _first_revisions(after, limit, at):
        yield sorted({document for _, document in rows})
        after = rows[-1][0]


def _find_long_logs(after: int, limit: int) -> list[int]:
    """Return documents whose log is too long or too large, or whose last snapshot is far behind, by id after
    ``after``.
    """
    now = settings()
    # Use only columns of the head, because counting the revisions of all documents would read the whole table.
    over = (
        Q(version__gte=F("oldest_revision") + now.max_revisions)
        | Q(log_bytes__gt=now.max_log_bytes)
        | Q(version__gte=F("snapshot_version") + _LATE_SNAPSHOTS * now.snapshot_every) & _is_behind(now)
    )
    rows = StateDocument.objects.using(now.database).filter(over, pk__gt=after).order_by("pk")
    return list(rows.values_list("pk", flat=True)[:limit])


def _is_behind(now: Settings) -> Q:
    """Build the condition of ``locked_heads.is_lagging`` for all documents at once, with the bytes of the whole log."""
    pending = F("version") - F("snapshot_version")
    much = (pending * rebuild.REVISION_BYTES + F("log_bytes")) / rebuild.SHARE
    return Q(version__gt=F("snapshot_version") + now.max_revisions // 2) | Q(size__lte=much)


def _first_revisions(after: int, limit: int, at: datetime) -> list[tuple[int, int]]:
    """Return (id, document) of revisions that exceed the retention by a quarter, among the next ``limit`` after
    ``after``.

    They are read by id, which grows with time, so no index on time is needed.
    """
    cutoff = at - settings().log_retention * _AGE_SLACK
    rows = StateRevision.objects.using(settings().database).filter(pk__gt=after).order_by("pk")
    found = rows.values_list("pk", "document_id", "at")[:limit]
    return [(key, document) for key, document, made in found if made < cutoff]


class _Group:
    """Documents that are compacted together. Those in ``refusals`` are left out, and the others go on."""

    def __init__(self, documents: Sequence[int], now: datetime | None, run: Runner) -> None:
        self._documents, self._run = list(documents), run
        self._limits = settings()
        self._using = self._limits.database
        self._sql = Statements(connections[self._using])
        self._at = now or clock.read(self._using)
        self.refusals = unreadable.Refusals(self._using)

    def compact(self) -> int:
        """Compact the documents, and return the number of deleted revisions."""
        # Take snapshots first, so that the logs may be shortened up to the heads.
        self.refusals = snapshots.keep_snapshots(self._using, self._documents, at=self._at, run=self._run)
        left = [document for document in self._documents if document not in self.refusals]
        heads = self.refusals.sift(left, stored_rows.read_heads(self._sql, left))
        if not heads:
            return 0
        firsts = _find_firsts(self._sql, self._limits, heads, self._at)
        long = [(head, firsts[head.document]) for head in heads if firsts[head.document] > head.oldest]
        gone = self._cut_logs(self._keep_anchors(long)) if long else 0
        self._drop_snapshots([head.document for head in heads if head.document not in self.refusals])
        return gone

    def _keep_anchors(self, long: list[tuple[StoredHead, int]]) -> dict[int, int]:
        """Write snapshots where logs will begin; return the first revision to keep of each log to shorten."""
        firsts = {head.document: first for head, first in long}
        standing = _find_anchors(self._sql, firsts)
        missing = [(head, first - 1) for head, first in long if head.document not in standing]
        made, changed = snapshots.pack_versions(self._sql, missing, self.refusals, self._run)
        if made:
            with open_transaction(self._using):
                stored_rows.insert_snapshots(self._using, made, self._at)
        # Another process has compacted these documents in the meantime; the next cleanup checks them again.
        return {key: first for key, first in firsts.items() if key not in changed and key not in self.refusals}

    def _cut_logs(self, firsts: dict[int, int]) -> int:
        """Delete the revisions before these, if a snapshot exists directly before them, and return the number of
        deleted ones.
        """
        with open_transaction(self._using):
            # Writers of these documents wait from here on, so all heavy work is done before.
            rows = self._sql.select_locked("id, oldest_revision", tables.DOCUMENT, firsts, wait=True)
            began: dict[int, int] = dict(rows)
            # The snapshot may have been deleted before the lock was taken.
            standing = _find_anchors(self._sql, {key: firsts[key] for key in began})
            # The chain must continue from the last deleted revision, or all later tags would be rejected. There is no
            # such revision in a log that was shortened in the meantime, or whose rows come from a restored backup.
            key_columns = {"document_id": "bigint", "version": "bigint"}
            pairs = {(key, firsts[key] - 1) for key in standing}
            links = self._sql.select_pairs("document_id, chain", tables.REVISION, key_columns, pairs)
            chains = {key: bytes(link) for key, link in links}
            self._sql.delete_up_to(tables.REVISION, key_columns, [(key, firsts[key] - 1) for key in sorted(chains)])
            sizes = self._measure_logs(sorted(chains))
            self._sql.update(
                tables.DOCUMENT,
                {"id": "bigint", "oldest_revision": "bigint", "oldest_chain": "bytea", "log_bytes": "bigint"},
                [(key, firsts[key], link, sizes.get(key, 0)) for key, link in sorted(chains.items())],
            )
        return sum(firsts[key] - began[key] for key in chains)

    def _measure_logs(self, documents: list[int]) -> dict[int, int]:
        if not documents:
            return {}
        among, params = self._sql.among("document_id", documents)
        sql = f"SELECT document_id, SUM(LENGTH(ops)) FROM {tables.REVISION} WHERE {among} GROUP BY document_id"
        return {key: int(size) for key, size in self._sql.fetch(sql, params)}

    def _drop_snapshots(self, documents: list[int]) -> None:
        """Delete snapshots, except those at the beginning of logs, the newest two of each document, and those with
        labels.
        """
        with open_transaction(self._using):
            rows = self._sql.select_locked("id, oldest_revision", tables.DOCUMENT, documents, wait=True)
            oldest: dict[int, int] = dict(rows)
            among, params = self._sql.among("document_id", list(oldest) or [0])
            plain: dict[int, list[tuple[int, int]]] = {}
            for document, version, key in self._sql.fetch(
                f"SELECT document_id, version, id FROM {tables.SNAPSHOT} WHERE {among} AND label IS NULL", params
            ):
                plain.setdefault(document, []).append((version, key))
            gone = [key for document, found in plain.items() for key in _find_needless(found, oldest[document])]
            if gone:
                among, params = self._sql.among("id", sorted(gone))
                self._sql.run(f"DELETE FROM {tables.SNAPSHOT} WHERE {among}", params)


def _find_needless(snapshots: list[tuple[int, int]], oldest: int) -> list[int]:
    """Return the ids of the snapshots of one document, given as (version, id), from which no version is rebuilt."""
    ordered = sorted(snapshots, reverse=True)
    # Keep it although it is old: the oldest version that may be requested is built from it.
    anchor = [key for version, key in ordered if version < oldest][:1]
    return [key for _, key in ordered[_KEPT_SNAPSHOTS:] if key not in anchor]


def _find_anchors(statements: Statements, firsts: Mapping[int, int]) -> set[int]:
    """Return the documents that have a permanent snapshot directly before these revisions. Snapshots with labels do not
    count, because they may be deleted at any time.
    """
    rows = statements.select_placed(
        f"SELECT s.document_id FROM wanted CROSS JOIN {tables.SNAPSHOT} s"
        " WHERE s.document_id = wanted.log AND s.version = wanted.after AND s.label IS NULL",
        [(key, first - 1) for key, first in firsts.items()],
        kind="bigint",
    )
    return {row[0] for row in rows}


def _find_firsts(statements: Statements, limits: Settings, heads: Sequence[StoredHead], at: datetime) -> dict[int, int]:
    """Return the first revision to keep of each log. It is at most the one after the head's snapshot, so that the head
    stays readable.
    """
    by_limit = (
        _find_firsts_by_count(statements, limits, heads),
        _find_firsts_by_age(statements, limits, heads, at),
        _find_firsts_by_bytes(statements, limits, heads),
    )
    # Use the strictest limit, but keep all revisions after the head's snapshot, because the head is built from them.
    return {
        head.document: min(
            max(head.oldest, *(firsts.get(head.document, 0) for firsts in by_limit)), head.snapshot_version + 1
        )
        for head in heads
    }


def _find_firsts_by_count(statements: Statements, limits: Settings, heads: Sequence[StoredHead]) -> dict[int, int]:
    """Return the first revisions to keep by the limit of their number.

    If a snapshot exists at a suitable place, the log begins there, because another snapshot would cost O(document).
    """
    firsts, lasts = {}, {}
    for head in heads:
        if head.position.offset - head.oldest + 1 > limits.max_revisions:
            firsts[head.document] = head.position.offset - int(limits.max_revisions * _KEPT_SHARE) + 1
            lasts[head.document] = head.position.offset - int(limits.max_revisions * _LEAST_SHARE) + 1
    rows = statements.select_wanted(
        f"SELECT s.document_id, MIN(s.version) FROM wanted CROSS JOIN {tables.SNAPSHOT} s"
        " WHERE s.document_id = wanted.document AND s.version >= wanted.first AND s.version < wanted.last"
        " AND s.label IS NULL GROUP BY s.document_id",
        {"document": "bigint", "first": "bigint", "last": "bigint"},
        [(key, first - 1, lasts[key]) for key, first in firsts.items()],
    )
    return firsts | {key: version + 1 for key, version in rows}


def _find_firsts_by_age(
    statements: Statements, limits: Settings, heads: Sequence[StoredHead], at: datetime
) -> dict[int, int]:
    """Return the first revisions to keep by their age.

    A log is not shortened for a single old revision: nothing is deleted until the oldest one exceeds the retention by a
    quarter.
    """
    late = statements.moment(at - limits.log_retention * _AGE_SLACK)
    # Delete everything older than the retention, not only what exceeds it by a quarter: otherwise the next revision
    # would soon be due by itself.
    cutoff = statements.moment(at - limits.log_retention)
    oldest = f"SELECT MIN(version) FROM {tables.REVISION} WHERE document_id = wanted.log AND version >= wanted.after"
    old = f"SELECT MAX(version) FROM {tables.REVISION} WHERE document_id = wanted.log AND at < %s"
    rows = statements.select_placed(
        f"SELECT r.document_id, ({old}) FROM wanted CROSS JOIN {tables.REVISION} r"
        f" WHERE r.document_id = wanted.log AND r.version = ({oldest}) AND r.at < %s",
        [(head.document, head.oldest) for head in heads],
        kind="bigint",
        params=[cutoff, late],
    )
    return {key: (last or 0) + 1 for key, last in rows}


def _find_firsts_by_bytes(statements: Statements, limits: Settings, heads: Sequence[StoredHead]) -> dict[int, int]:
    among, params = statements.among("id", [head.document for head in heads])
    large = statements.fetch(
        f"SELECT id FROM {tables.DOCUMENT} WHERE {among} AND log_bytes > %s", [*params, limits.max_log_bytes]
    )
    by_key = {head.document: head for head in heads}
    firsts = {key: by_key[key].position.offset + 1 for (key,) in large}
    rooms = dict.fromkeys(firsts, int(limits.max_log_bytes * _KEPT_SHARE))
    rows = statements.select_placed(
        f"SELECT r.version, r.document_id, LENGTH(r.ops) FROM wanted CROSS JOIN {tables.REVISION} r"
        " WHERE r.document_id = wanted.log AND r.version >= wanted.after",
        [(key, by_key[key].oldest) for key in firsts],
        kind="bigint",
    )
    for version, key, size in sorted(rows, reverse=True):
        rooms[key] -= size
        if rooms[key] >= 0:
            firsts[key] = version
    return firsts

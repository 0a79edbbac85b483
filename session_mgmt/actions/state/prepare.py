"""Make an ``Update`` of a requested change, outside the lane.

Blind changes (total operations, merge patches, whole values) do not need the document. All other changes, and changes
that may exceed the size limit, are computed from the current document and hold for that version only.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

from django.db import connections

from session_mgmt.actions import checking
from session_mgmt.actions.state import bodies, stored_rows, unreadable
from session_mgmt.actions.state.stored_rows import Runner, StoredHead, run_inline
from session_mgmt.actions.state.updates import NO_TERMS, Terms, Update
from session_mgmt.conf import settings
from session_mgmt.documents import normalise, operations, size, touched
from session_mgmt.documents.operations import Op
from session_mgmt.documents.settling import Change, Proposal
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models.sql import Statements
from session_mgmt.worker import head_cache
from session_mgmt.worker.head_cache import Bounds, Recent, Since, VersionKey

# By document: the version that is kept decoded in the process that does the work.
HeadCache: TypeAlias = Recent[int, VersionKey]


def is_blind(kind: str) -> bool:
    """Return whether a change can be made into operations without the document."""
    return normalise.is_blind(_name_change_kind(kind))


def prepare_blind(document: int, kind: str, change: Any, terms: Terms = NO_TERMS) -> Update:
    """Prepare an update that holds for any content of the document. Raises ``SessionMgmtError``."""
    with checking.translate_errors():
        ops = normalise.make_ops(_name_change_kind(kind), change, MISSING, checking.document_limits())
    encoded = operations.encode_ops(ops)
    return Update(
        document=document,
        ops=encoded,
        paths=touched.list_stored_paths(ops),
        growth=size.bound_growth(ops, encoded),
        kind=name_revision_kind(kind),
        terms=terms,
        # With a key, the update must make a version, because the key is stored with it.
        may_be_idle=bool(ops) and not terms.key and all(map(_may_be_idle, ops)),
    )


def _may_be_idle(op: Op) -> bool:
    """Return whether this kind of operation often changes nothing, so that it is worth reading the document.

    Reading it for each `set` and `inc` would cost every write O(document).
    """
    if op[0] == "set":
        return not op[1] and size.bound_growth((op,)).bytes <= stored_rows.HEAVY_BYTES
    return op[0] in ("del", "obj") or (op[0] == "inc" and not op[2])


def check_first_change(kind: str, change: Any) -> None:
    """Check a change of a document that was never written; an invalid one must not create it. Raises
    ``SessionMgmtError``.
    """
    asked = make_change(kind, change)
    with checking.translate_errors():
        normalise.make_ops(asked.kind, asked.body, {}, asked.limits)


def prepare_on_head(
    using: str,
    document: int,
    kind: str,
    change: Any,
    terms: Terms = NO_TERMS,
    *,
    cache: HeadCache,
    run: Runner = run_inline,
) -> Update:
    """Prepare an update from the current document, with the exact size of the result if its bound exceeds the limit.
    Heavy work is passed to ``run``. Raises ``SessionMgmtError``.
    """
    try:
        with unreadable.audit_unreadable(using, document), checking.translate_errors():
            place, made = _propose_on_head(using, document, make_change(kind, change), cache, run)
    except StateUnreadable:
        blind = prepare_blind(document, kind, change, terms) if is_blind(kind) else None
        if blind is None or not blind.may_be_idle:
            raise
        # A blind change does not need the document, and may be the write that repairs a damaged one.
        return blind._replace(may_be_idle=False)
    if made.size is not None:
        checking.check_extent(made.size)
    # Total operations hold for any version; but that they change nothing, or which sums fit, holds only for this one.
    is_bound = not is_blind(kind) or made.size is not None or not made.paths or made.growth.added > 0
    # With a key, the update must make a version, because the key is stored with it.
    paths = made.paths or (touched.list_stored_paths(operations.decode_ops(made.ops)) if terms.key else ())
    return Update(
        document=document,
        ops=made.ops,
        paths=paths,
        growth=made.growth,
        kind=name_revision_kind(kind),
        at_version=place.version if is_bound else None,
        exact_size=made.size,
        terms=terms,
        dropped=made.dropped,
    )


def _propose_on_head(
    using: str, document: int, change: Change, cache: HeadCache, run: Runner
) -> tuple[VersionKey, Proposal]:
    now = settings()
    statements = Statements(connections[using])
    # Without a lock, because the lane compares the version again.
    head = stored_rows.read_head(statements, document)
    since = _find_since(statements, head, cache.find(document))
    if since is not None:
        bounds = Bounds(head.extent, now.head_cache_bytes)
        runner = stored_rows.choose_runner(run, head=head, ops_bytes=sum(map(len, since.ops)))
        made = runner(head_cache.apply_at_head, _place_of(head), since, change, bounds)
        if made is not None:
            # Each entry costs one, because the sizes of decoded documents are counted by the process that keeps them.
            cache.keep(document, _place_of(head), 1)
            return _place_of(head), made
    # The worker process does not have the version that this cache expects, for example because it was restarted.
    past = bodies.load_source(using, document, None)
    place, bounds = _place_of(past.head), Bounds(past.head.extent, now.head_cache_bytes)
    runner = stored_rows.choose_runner(run, past.parts, head=past.head)
    made = runner(head_cache.apply_at_head, place, past.parts, change, bounds)
    cache.keep(document, place, 1)
    return place, made


def _find_since(statements: Statements, head: StoredHead, place: VersionKey | None) -> Since | None:
    """Return the operations after a cached version; ``None`` if the log does not confirm that version."""
    if place is None or place.epoch != head.position.epoch or not 0 < place.version <= head.position.offset:
        return None
    first, last = place.version - 1, head.position.offset
    read = partial(stored_rows.read_revisions, statements, head, first, last)
    rows = stored_rows.unless_rekeyed(statements, head, read) or []
    # One more revision is read for its tag, which proves that the cached version belongs to this history.
    if len(rows) != last - first or rows[0].tag != place.tag:
        return None
    return Since(place, tuple(row.ops for row in rows[1:]))


def _place_of(head: StoredHead) -> VersionKey:
    return VersionKey(head.document, head.position.epoch, head.position.offset, head.position.tag)


def make_change(kind: str, change: Any) -> Change:
    """Return a change with the limits that apply to it."""
    return Change(_name_change_kind(kind), change, checking.document_limits())


def name_revision_kind(kind: str) -> str:
    """Return the kind of the revision that a change makes."""
    return "replace" if kind == "data" else "patch"


def _name_change_kind(kind: str) -> Any:
    return "replace" if kind == "data" else kind

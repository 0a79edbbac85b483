"""Make an ``Update`` of a requested change, outside the lane.

Blind changes (total operations, merge patches, whole values) need no document. All others, and any that may pass the
size limit, are computed from the document as it is and hold for that version only.
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

# Which version of a document is kept decoded where the work on it is done, by its row.
HeadCache: TypeAlias = Recent[int, VersionKey]


def is_blind(kind: str) -> bool:
    """Tell whether a change can be made into operations without the document."""
    return normalise.is_blind(_name_change_kind(kind))


def prepare_blind(document: int, kind: str, change: Any, terms: Terms = NO_TERMS) -> Update:
    """Prepare an update that holds for whatever the document is. Raises ``SessionMgmtError``."""
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
        # A key is remembered by the version that it made.
        may_be_idle=bool(ops) and not terms.key and all(map(_may_be_idle, ops)),
    )


def _may_be_idle(op: Op) -> bool:
    """Tell whether an operation is one that often changes nothing, so that a look at the document is worth it.

    Looking for each `set` and `inc` would cost every write O(document).
    """
    if op[0] == "set":
        return not op[1] and size.bound_growth((op,)).bytes <= stored_rows.HEAVY_BYTES
    return op[0] in ("del", "obj") or (op[0] == "inc" and not op[2])


def check_first_change(kind: str, change: Any) -> None:
    """Refuse an invalid change of a document that was never written: such a write must not create it."""
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
    """Prepare an update from the document as it is now; with the exact size of the result where its bound does not
    fit. Heavy work is handed to ``run``. Raises ``SessionMgmtError``.
    """
    try:
        with unreadable.audit_unreadable(using, document), checking.translate_errors():
            place, made = _propose_on_head(using, document, make_change(kind, change), cache, run)
    except StateUnreadable:
        blind = prepare_blind(document, kind, change, terms) if is_blind(kind) else None
        if blind is None or not blind.may_be_idle:
            raise
        # It needs no document, and may be the write that puts a damaged one right.
        return blind._replace(may_be_idle=False)
    if made.size is not None:
        checking.check_extent(made.size)
    # Total operations hold for any version; that they change nothing, or which sums fit, holds for this one only.
    is_bound = not is_blind(kind) or made.size is not None or not made.paths or made.growth.added > 0
    # A key is remembered by the version that it made.
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
    # Read without a lock: whatever happens meanwhile, the lane compares the version again.
    head = stored_rows.read_head(statements, document)
    since = _find_since(statements, head, cache.find(document))
    if since is not None:
        bounds = Bounds(head.extent, now.head_cache_bytes)
        runner = stored_rows.choose_runner(run, head=head, ops_bytes=sum(map(len, since.ops)))
        made = runner(head_cache.apply_at_head, _place_of(head), since, change, bounds)
        if made is not None:
            # Each costs one: the decoded documents themselves are counted where they are kept.
            cache.keep(document, _place_of(head), 1)
            return _place_of(head), made
    # The worker does not have the version that this cache believes in: it was restarted, or dropped it.
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
    # One revision more than needed is read, for its tag: it proves that the cached version is of this history.
    if len(rows) != last - first or rows[0].tag != place.tag:
        return None
    return Since(place, tuple(row.ops for row in rows[1:]))


def _place_of(head: StoredHead) -> VersionKey:
    return VersionKey(head.document, head.position.epoch, head.position.offset, head.position.tag)


def make_change(kind: str, change: Any) -> Change:
    """Return a change with the limits that hold for it."""
    return Change(_name_change_kind(kind), change, checking.document_limits())


def name_revision_kind(kind: str) -> str:
    """Return the kind of a revision that such a change makes."""
    return "replace" if kind == "data" else "patch"


def _name_change_kind(kind: str) -> Any:
    return "replace" if kind == "data" else kind

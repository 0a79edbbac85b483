"""Prepare a change from the stored parts of a document. Functions take and return bytes, so that another process can
run them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from session_mgmt.documents import contested, merge, operations, pointer, rebuild, replaced, size, touched
from session_mgmt.documents.arrays import ArrayPolicies
from session_mgmt.documents.contested import Kinds
from session_mgmt.documents.editor import Editor
from session_mgmt.documents.limits import Extent, Growth, Limits
from session_mgmt.documents.merge import Conflict, Merged, OnConflict
from session_mgmt.documents.normalise import Kind, make_ops
from session_mgmt.documents.operations import Op
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.values import JSON, MISSING, Missing, are_equal


@dataclass(frozen=True, slots=True)
class Change:
    """Requested change, not yet normalised."""

    kind: Kind
    body: JSON
    limits: Limits


@dataclass(frozen=True, slots=True)
class MergeRules:
    """Rules for overlapping changes; ``digests`` of the replaced values if the base is not known any more.

    With ``overwrites`` everything is applied, whatever others have changed.
    """

    arrays: ArrayPolicies
    on_conflict: OnConflict
    digests: Mapping[str, str | None] | None = None
    overwrites: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Revision after the base. For a revision of the change's own client, ``asked`` are the operations that the client
    had sent, and so had seen.
    """

    ops: bytes
    asked: bytes | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Total operations for the version that they were made on; without ``paths`` they change nothing there.

    ``size`` is the extent of the result, or None if it is not needed. ``dropped`` are the paths of each `inc` whose sum
    a document cannot hold.
    """

    ops: bytes
    paths: tuple[str, ...]
    growth: Growth
    size: Extent | None
    asked: bytes = b""
    asked_paths: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    dropped: tuple[str, ...] = ()


def propose_on_head(data: JSON, change: Change, bound: Extent) -> Proposal:
    """Return the change as operations on the document, whose extent is at most ``bound``. Raises a DocumentError."""
    ops = make_ops(change.kind, change.body, data, change.limits)
    result, dropped = operations.apply_and_list_dropped(data, ops)
    settled = replace(_make_proposal(ops, MISSING), dropped=dropped)
    # The editor copies what it changes, so the same object means that nothing was changed.
    if result is data:
        return replace(settled, paths=())
    if bound.grow_by(settled.growth).fits_into(change.limits.extent):
        # To measure the result costs O(document), and nobody needs it.
        return settled
    return replace(_make_proposal(ops, result), dropped=dropped)


def propose_merge(parts: Parts, steps: tuple[Step, ...], change: Change, rules: MergeRules) -> Proposal:
    """Merge the change with later changes of others; ``parts`` are those of the document at the change's base. Raises a
    DocumentError.
    """
    seen, now, theirs = _replay_steps(rebuild.build_value(parts), steps)
    ops = make_ops(change.kind, change.body, seen, change.limits)
    found = _rebase_change(seen, now, ops, theirs, rules)
    proposal = replace(_make_proposal(found.ops, found.document, ops, found.conflicts), dropped=found.dropped)
    return replace(proposal, paths=()) if are_equal(now, found.document) else proposal


def _replay_steps(base: JSON, steps: tuple[Step, ...]) -> tuple[JSON, JSON, set[str]]:
    """Return the document that the author of the change saw, the present one, and the paths that others touched."""
    # Both share the base; an editor copies a container before it changes it.
    seen, now = Editor(base), Editor(base)
    theirs: set[str] = set()
    for step in steps:
        ops = operations.decode_ops(step.ops)
        now.apply(ops)
        if step.asked is None:
            theirs.update(touched.list_stored_paths(ops))
        else:
            seen.apply(operations.decode_ops(step.asked))
    return seen.document, now.document, theirs


def read_kinds(parts: Parts, steps: tuple[Step, ...], mine: tuple[str, ...]) -> Kinds:
    """Read the kinds of values where the change meets later changes of others. Raises a DocumentError."""
    seen, now, theirs = _replay_steps(rebuild.build_value(parts), steps)
    return contested.read_kinds(contested.find_places(mine, theirs), seen, now)


def _rebase_change(seen: JSON, now: JSON, ops: tuple[Op, ...], theirs: set[str], rules: MergeRules) -> Merged:
    if rules.digests is not None:
        return replaced.rebase_by_digests(now, ops, rules.digests, arrays=rules.arrays, on_conflict=rules.on_conflict)
    if rules.overwrites:
        return merge.overwrite_ops(seen, now, ops, theirs, arrays=rules.arrays)
    return merge.rebase_ops(seen, now, ops, theirs, arrays=rules.arrays, on_conflict=rules.on_conflict)


def _list_exact_paths(ops: tuple[Op, ...], result: JSON | Missing) -> tuple[str, ...]:
    """Return the stored paths. If the result is known, an append to an object counts as a change of the object."""
    paths = touched.list_stored_paths(ops)
    if result is MISSING or not any(path.startswith(pointer.APPENDED) for path in paths):
        return paths
    return tuple(path[1:] if _is_append_to_object(path, result) else path for path in paths)


def _is_append_to_object(path: str, result: JSON) -> bool:
    return path.startswith(pointer.APPENDED) and isinstance(pointer.find_value(result, path[1:]), dict)


def _make_proposal(
    ops: tuple[Op, ...], result: JSON | Missing, asked: tuple[Op, ...] = (), conflicts: tuple[Conflict, ...] = ()
) -> Proposal:
    return Proposal(
        ops=operations.encode_ops(ops),
        paths=_list_exact_paths(ops, result),
        growth=size.bound_growth(ops),
        size=None if result is MISSING else size.measure_extent(result),
        asked=operations.encode_ops(asked),
        asked_paths=touched.list_stored_paths(asked),
        conflicts=conflicts,
    )

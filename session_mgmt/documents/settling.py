"""A change made ready with the document at hand, from what is stored of it: bytes in and bytes out, so that another
process can do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from session_mgmt.documents import merge, operations, rebuild, replaced, size, touched
from session_mgmt.documents.arrays import ArrayPolicies
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.merge import Conflict, Merged, OnConflict
from session_mgmt.documents.normalise import Kind, normalise
from session_mgmt.documents.operations import Op
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.values import JSON, MISSING, Missing


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody asks for, not yet normalised."""

    kind: Kind
    body: JSON
    limits: Limits


@dataclass(frozen=True, slots=True)
class MergeRules:
    """How overlapping changes are settled; ``digests`` of what was replaced where the base is not known any more."""

    arrays: ArrayPolicies
    on_conflict: OnConflict
    digests: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A revision after the base; ``asked``, of the change's own client: what it had seen itself do."""

    ops: bytes
    asked: bytes | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """Total operations for the version that they were made on. ``size``: of the result, ``None`` if nobody needs it."""

    ops: bytes
    paths: tuple[str, ...]
    growth: int
    size: int | None
    asked: bytes = b""
    asked_paths: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def on_head(data: JSON, change: Change, bound: int) -> Settled:
    """The change as operations on the document itself, whose size is at most ``bound``. Raises a DocumentError."""
    ops = normalise(change.kind, change.body, data, change.limits)
    settled = _settled(ops, MISSING)
    if bound + settled.growth <= change.limits.document_bytes:
        # To measure costs O(document), and nobody would look at it.
        return settled
    return _settled(ops, operations.apply(data, ops))


def merged(parts: Parts, steps: tuple[Step, ...], change: Change, rules: MergeRules) -> Settled:
    """The change settled with what others did after its base, which ``parts`` make. Raises a DocumentError."""
    seen = now = rebuild.value(parts)
    theirs: set[str] = set()
    for step in steps:
        ops = operations.decode(step.ops)
        now = operations.apply(now, ops)
        if step.asked is None:
            theirs.update(touched.paths(ops))
        else:
            seen = operations.apply(seen, operations.decode(step.asked))
    ops = normalise(change.kind, change.body, seen, change.limits)
    found = _merged(seen, now, ops, theirs, rules)
    return _settled(found.ops, found.document, ops, found.conflicts)


def _merged(seen: JSON, now: JSON, ops: tuple[Op, ...], theirs: set[str], rules: MergeRules) -> Merged:
    if rules.digests is not None:
        return replaced.settle(now, ops, rules.digests, on_conflict=rules.on_conflict)
    return merge.rebase(seen, now, ops, theirs, arrays=rules.arrays, on_conflict=rules.on_conflict)


def _settled(
    ops: tuple[Op, ...], result: JSON | Missing, asked: tuple[Op, ...] = (), conflicts: tuple[Conflict, ...] = ()
) -> Settled:
    return Settled(
        ops=operations.encode(ops),
        paths=touched.paths(ops),
        growth=size.growth(ops),
        size=None if result is MISSING else size.size(result),
        asked=operations.encode(asked),
        asked_paths=touched.paths(asked),
        conflicts=conflicts,
    )

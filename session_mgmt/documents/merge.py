"""Conflicts: found by comparing touched paths, and settled by a three-way merge of overlapping changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from session_mgmt.documents import arrays as array_policies
from session_mgmt.documents import contested, operations, pointer, touched
from session_mgmt.documents.arrays import NO_POLICIES, ArrayPolicies
from session_mgmt.documents.diff import diff_documents
from session_mgmt.documents.editor import Editor
from session_mgmt.documents.keyed_places import ItemKey, find_item
from session_mgmt.documents.operations import Op
from session_mgmt.documents.pointer import Touched
from session_mgmt.documents.values import JSON, MISSING, Missing, are_equal, is_number

Value: TypeAlias = JSON | Missing
Side: TypeAlias = Literal["server", "client", "resolver"]


class Unresolved(Enum):
    """Answer of a resolver that has no value: the server's value stays, and a conflict is reported."""

    CONFLICT = "conflict"


CONFLICT: Final = Unresolved.CONFLICT

# Takes (path, base, server, client); returns the value, MISSING for no value, or CONFLICT. Must be pure.
Resolver: TypeAlias = Callable[[str, Value, Value, Value], Value | Unresolved]
OnConflict: TypeAlias = Literal["server_wins", "client_wins", "reject"] | Resolver


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two changes of one path that exclude each other. Each value may be MISSING; `kept` names the side
    of the result.
    """

    path: str
    base: Value
    server: Value
    client: Value
    kept: Side
    keys: tuple[ItemKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """Merged document, and the conflicts in the order of their discovery.

    Only after a rebase: ``ops`` change the server's document into the merged one, and ``dropped`` are the paths of each
    `inc` whose sum a document cannot hold.
    """

    document: JSON
    conflicts: tuple[Conflict, ...] = ()
    ops: tuple[Op, ...] = ()
    dropped: tuple[str, ...] = ()


def find_overlaps(mine_paths: Iterable[str], theirs_paths: Iterable[str]) -> list[str]:
    """Return my pointers that overlap theirs, sorted. Two `inc` of a number, or two appends to an array, do not
    overlap.
    """
    return sorted(
        {pointer.strip_mark(mine) for mine, theirs in pointer.find_overlapping_pairs(mine_paths, theirs_paths)}
    )


def drop_overlapping(ops: Iterable[Op], their_paths: Iterable[str]) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """Split the operations into (kept, dropped), each in order: the strategy `server_wins`, using only the log.

    An operation that overlaps a dropped one, earlier or later, is dropped too, because it was made for a value that
    does not exist.
    """
    listed = tuple(ops)
    fates = _mark_overlapping(listed, their_paths)
    return _choose_kept(listed, fates), _choose_ops(listed, fates, True)


def rebase_ops(
    base: JSON,
    server: JSON,
    ops: Iterable[Op],
    their_paths: Iterable[str],
    *,
    arrays: ArrayPolicies = NO_POLICIES,
    on_conflict: OnConflict = "server_wins",
) -> Merged:
    """Apply the client's operations, made on `base`, to the server's document; merge overlapping changes three ways.

    Operations without overlap keep their meaning (an `inc` adds, an append appends), which values alone do not show.
    With `reject`, the server's document is returned unchanged if there are conflicts.
    """
    listed = tuple(ops)
    theirs = _add_contested(base, server, listed, their_paths, arrays)
    fates = _spare_additions(listed, _mark_with_arrays(listed, theirs, arrays), server)
    # The usual case: no changes meet, and every operation keeps its meaning.
    if not any(fates):
        document, lost = operations.apply_and_list_dropped(server, listed)
        return Merged(document, ops=listed, dropped=lost)
    # Include operations that prepare a place: dropped operations below it need the object.
    paths = touched.list_path_of_each(listed)
    dropped = [
        op for op, path, falls in zip(listed, paths, fates, strict=True) if falls or touched.is_ensuring(op, path)
    ]
    wanted, lost = operations.apply_and_list_dropped(base, dropped)
    # Only the three values show which side has changed what.
    merged = merge_values(base, server, wanted, arrays=arrays, on_conflict=on_conflict)
    # All or nothing: a part of a refused change would make a document that nobody wanted.
    if merged.conflicts and on_conflict == "reject":
        return merged
    # Keep the operations as they are: an `inc` that is logged as a value would conflict with the next one.
    kept = _choose_kept(listed, fates)
    # The client sent no operations for the merged values, so write them as a difference.
    settled = diff_documents(server, merged.document)
    document, lost_too = operations.apply_and_list_dropped(merged.document, kept)
    return Merged(document, merged.conflicts, settled + kept, lost + lost_too)


def overwrite_ops(
    base: JSON,
    server: JSON,
    ops: Iterable[Op],
    their_paths: Iterable[str],
    *,
    arrays: ArrayPolicies = NO_POLICIES,
) -> Merged:
    """Apply the client's operations, made on `base`, to the server's document, whatever they overwrite there.

    If an array has become another kind of value, or shorter or longer, an operation may do nothing or hit another
    value, even one of the client itself. Then the changes are merged, and the client's values win each conflict. The
    same is done in arrays whose items are merged, because an item must not occur twice. The conflicts name the
    overwritten places.
    """
    listed = tuple(ops)
    theirs = _add_contested(base, server, listed, their_paths, arrays)
    # An operation without effect would be accepted and change nothing, and its author would not know.
    if _is_any_misplaced(base, server, listed, arrays):
        return rebase_ops(base, server, listed, theirs, arrays=arrays, on_conflict="client_wins")
    overlaps = find_overlaps(touched.list_stored_paths(listed), theirs)
    overwritten = tuple(Conflict(path, MISSING, MISSING, MISSING, "client") for path in overlaps)
    document, lost = operations.apply_and_list_dropped(server, listed)
    return Merged(document, overwritten, listed, lost)


def _is_any_misplaced(base: JSON, server: JSON, ops: Iterable[Op], policies: ArrayPolicies) -> bool:
    """Return True if an operation that changed the client's document has no or another effect on the server's."""
    mine, theirs = Editor(base), Editor(server)
    count, is_moved = 0, False
    for op in ops:
        known, found = mine.list_arrays(op[1]), theirs.list_arrays(op[1])
        if [depth for depth, _ in known] != [depth for depth, _ in found] or _passes_merged(op[1], policies):
            return True
        # In arrays of different lengths an index means different places, so one operation may hit the value of another
        # one.
        count += bool(found)
        is_moved = is_moved or known != found
        if is_moved and count > 1:
            return True
        counts, has_effect = mine.apply_one(op), theirs.apply_one(op)
        if counts and not has_effect and not _is_there(mine.find_value(op[1]), theirs.find_value(op[1])):
            return True
    return False


def _is_there(wanted: Value, found: Value) -> bool:
    # An appended item is not found at its `-`.
    return wanted is not MISSING and are_equal(wanted, found)


def _passes_merged(path: str, policies: ArrayPolicies) -> bool:
    """Return True if a pointer passes through an array whose items the policy merges."""
    return any(policies.merges_items(above) for above in pointer.iter_ancestors(path))


def _add_contested(
    base: JSON, server: JSON, ops: Iterable[Op], their_paths: Iterable[str], arrays: ArrayPolicies
) -> set[str]:
    theirs = set(their_paths)
    return theirs | contested.list_contested(touched.list_stored_paths(ops), theirs, base, server, arrays)


def merge_values(
    base: Value,
    server: Value,
    client: Value,
    *,
    arrays: ArrayPolicies = NO_POLICIES,
    on_conflict: OnConflict = "server_wins",
) -> Merged:
    """Merge the changes that server and client made to base, path by path.

    If both sides are equal, or one side is unchanged, the change is taken. Two objects are merged member by member (a
    base that is not an object counts as empty), two arrays by their policy. Anything else is a conflict, also a
    deletion against an edit.
    """
    merging = _Merging(arrays, on_conflict)
    document = merging.merge_value("", base, server, client)
    found = tuple(merging.conflicts)
    return Merged(server if found and on_conflict == "reject" else document, found)


class _Merging:
    """Three-way merge that collects its conflicts."""

    def __init__(self, policies: ArrayPolicies, on_conflict: OnConflict) -> None:
        self.conflicts: list[Conflict] = []
        self._policies = policies
        self._on_conflict = on_conflict
        # Keys of the items that the merge is inside.
        self._keys: list[ItemKey] = []

    def merge_value(self, path: str, base: Value, server: Value, client: Value) -> Value:
        # First, because most parts of a document are equal on all sides.
        if are_equal(server, client) or are_equal(base, client):
            return server
        if are_equal(base, server):
            return client
        if isinstance(server, dict) and isinstance(client, dict):
            return self._merge_objects(path, base if isinstance(base, dict) else {}, server, client)
        # If the policy does not fit these arrays, each is one value.
        if isinstance(server, list) and isinstance(client, list):
            merged = self._merge_arrays(path, base, server, client)
            if merged is not None:
                return merged
        return self._record_conflict(path, base, server, client)

    def _merge_objects(
        self, path: str, base: dict[str, JSON], server: dict[str, JSON], client: dict[str, JSON]
    ) -> dict[str, JSON]:
        merged = {}
        # In the server's order, followed by the client's new keys.
        for key in {**server, **client}:
            sides = (side.get(key, MISSING) for side in (base, server, client))
            value = self.merge_value(pointer.join_token(path, key), *sides)
            if value is not MISSING:
                merged[key] = value
        return merged

    def _merge_arrays(self, path: str, base: Value, server: list[JSON], client: list[JSON]) -> list[JSON] | None:
        known = len(self.conflicts)
        item = partial(self._merge_item, path)
        merged: list[JSON] | None = array_policies.merge_arrays(
            self._policies.find_policy(path), base, server, client, item
        )
        if merged is not None:
            # Only now is the index of each item known.
            depth = path.count("/")
            self.conflicts[known:] = [_move_conflict(found, depth, merged) for found in self.conflicts[known:]]
        return merged

    def _merge_item(
        self, path: str, at: int, field: str, key: str | int, base: Value, server: Value, client: Value
    ) -> Value:
        self._keys.append((path.count("/"), field, key))
        merged = self.merge_value(f"{path}/{at}", base, server, client)
        self._keys.pop()
        return merged

    def _record_conflict(self, path: str, base: Value, server: Value, client: Value) -> Value:
        kept, value = self._decide_conflict(path, base, server, client)
        self.conflicts.append(Conflict(path, base, server, client, kept, tuple(self._keys)))
        return value

    def _decide_conflict(self, path: str, base: Value, server: Value, client: Value) -> tuple[Side, Value]:
        if self._on_conflict == "client_wins":
            return "client", client
        if callable(self._on_conflict):
            resolved = self._on_conflict(path, base, server, client)
            if resolved is not CONFLICT:
                return "resolver", resolved
        return "server", server


def _move_conflict(found: Conflict, depth: int, merged: list[JSON]) -> Conflict:
    """Return a conflict inside an item, with the index that the item has in the merged array."""
    for at, field, key in found.keys:
        index = find_item(merged, field, key) if at == depth else None
        if index is not None:
            tokens = found.path.split("/")
            tokens[depth + 1] = str(index)
            return replace(found, path="/".join(tokens))
    return found


def _mark_overlapping(ops: Sequence[Op], their_paths: Iterable[str]) -> list[bool]:
    """Return for each operation whether it overlaps their paths, or another operation that does."""
    paths = touched.list_path_of_each(ops)
    fates = [False] * len(ops)
    blocked = Touched(their_paths)
    while True:
        found = [at for at, op in enumerate(ops) if not fates[at] and _is_blocked(op, paths[at], blocked)]
        if not found:
            return fates
        for at in found:
            fates[at] = True
        # Only newly blocked operations can block more, so each is used once, and the loop ends.
        blocked = Touched(paths[at] for at in found)


def _mark_with_arrays(ops: Sequence[Op], their_paths: Iterable[str], policies: ArrayPolicies) -> list[bool]:
    """Mark the overlapping operations. In an array whose items are merged, one marked operation marks all others.

    A merge moves items, so an index would mean another item afterwards.
    """
    theirs = set(their_paths)
    while True:
        fates = _mark_overlapping(ops, theirs)
        hit = {above for op in _choose_ops(ops, fates, True) for above in pointer.iter_ancestors(op[1])}
        merged = {path for path in hit if policies.merges_items(path)} - theirs
        if not merged:
            return fates
        # A merged array counts as touched as a whole, so the next round marks the operations inside it.
        theirs |= merged


def _spare_additions(ops: Sequence[Op], fates: Sequence[bool], server: JSON) -> list[bool]:
    """Return the fates, but keep each `inc` of a number if none of the client's other dropped
    operations overlaps it.
    """
    dropped = _choose_ops(ops, fates, True)
    # The client's other operations decide about a place; an `inc` of the same place shares their fate.
    others = Touched(op[1] for op in dropped if op[0] not in ("inc", "obj"))
    return [
        fate
        and not (
            op[0] == "inc"
            and next(others.find_overlapping(op[1]), None) is None
            and is_number(pointer.find_value(server, op[1]))
        )
        for op, fate in zip(ops, fates, strict=True)
    ]


def _choose_kept(ops: Sequence[Op], fates: Sequence[bool]) -> tuple[Op, ...]:
    """Return the kept operations, without each `obj` that only prepared a dropped one, because such an `obj` alone
    would touch everything below it.
    """
    left = _choose_ops(ops, fates, False)
    entered = {above for op in ops for above in pointer.iter_ancestors(op[1])}
    needed = {above for op in left if op[0] != "obj" or op[1] not in entered for above in pointer.iter_ancestors(op[1])}
    return tuple(op for op in left if op[0] != "obj" or op[1] not in entered or op[1] in needed)


def _is_blocked(op: Sequence[Any], path: str, blocked: Touched) -> bool:
    # An `obj` that only prepares a place disturbs no change inside it.
    if touched.is_ensuring(op, path):
        return blocked.has_at_or_above(path)
    return next(blocked.find_overlapping(path), None) is not None


def _choose_ops(ops: Sequence[Op], fates: Sequence[bool], fate: bool) -> tuple[Op, ...]:
    return tuple(op for op, falls in zip(ops, fates, strict=True) if falls is fate)

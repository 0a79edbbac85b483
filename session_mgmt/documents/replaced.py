"""Changes made on a version that the log no longer holds, judged by digests of the values that they replaced.

A client that was away for too long receives the present document, and sends its writes again with digests of the values
that it saw. A value that is still the same is replaced as intended. If it differs, a three-way merge is impossible, and
the strategy decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from session_mgmt.documents import operations, pointer, touched
from session_mgmt.documents.arrays import NO_POLICIES, ArrayPolicies, find_same_item
from session_mgmt.documents.canonical import encode_canonical
from session_mgmt.documents.diff import diff_documents
from session_mgmt.documents.merge import CONFLICT, Conflict, Merged, OnConflict, Side, Value, drop_overlapping
from session_mgmt.documents.operations import Op
from session_mgmt.documents.pointer import END
from session_mgmt.documents.values import JSON, MISSING, Missing, are_equal

# 64 bits: enough to distinguish the values that one client has seen, and short in a frame with 500 paths.
DIGEST_CHARACTERS: Final = 16


def digest_value(value: Value) -> str | None:
    """Return the first 16 hex digits of SHA-256 over the RFC 8785 bytes; None for MISSING."""
    return None if value is MISSING else hashlib.sha256(encode_canonical(value)).hexdigest()[:DIGEST_CHARACTERS]


def digest_replaced(document: JSON, ops: Iterable[Sequence[Any]]) -> dict[str, str | None]:
    """Return digests of the values that the operations replace, by path. `inc` and appends replace nothing."""
    listed = [tuple(op) for op in ops]
    paths = list_replaced_paths(listed)
    # A place that has no digest because of the limit counts as changed.
    paths += [place for place in list_replaced_on_the_way(document, listed) if place not in paths]
    return {path: digest_value(pointer.find_value(document, path)) for path in paths[: touched.MOST_PATHS]}


def list_replaced_paths(ops: Iterable[Op]) -> list[str]:
    """List the paths whose earlier values show whether the operations still mean the same."""
    return [path for path in touched.list_paths(ops) if path == pointer.strip_mark(path)]


def list_replaced_on_the_way(document: JSON, ops: Iterable[Op]) -> list[str]:
    """List the places of a document that the operations turn into containers on their way.

    A scalar on the way becomes an object or an array; `obj` also replaces an array. In an object, `-` is a key.
    """
    found = {_find_on_the_way(document, op) for op in ops if op[0] != "del"}
    return sorted(place for place in found if place is not None)


def _find_on_the_way(document: JSON, op: Op) -> str | None:
    node, place = document, ""
    for token in pointer.parse_pointer(op[1]):
        if node is MISSING or (isinstance(node, list) and pointer.parse_index(token) is None):
            return None
        if not isinstance(node, dict | list):
            return place
        parent, node, place = node, pointer.find_member(node, token), pointer.join_token(place, token)
        if token == END and op[0] == "ins" and isinstance(parent, dict):
            # It is a plain key here, but its touched path says that something was appended.
            return place
    return place if op[0] == "obj" and not isinstance(node, dict | Missing) else None


def rebase_by_digests(
    server: JSON,
    ops: Iterable[Op],
    replaced: Mapping[str, str | None],
    *,
    arrays: ArrayPolicies = NO_POLICIES,
    on_conflict: OnConflict = "server_wins",
) -> Merged:
    """Apply the operations to the server's document. A path is in conflict if its value is not the replaced one.

    A path without a digest counts as changed. An appended item that is already there, according to the array's policy,
    is not added again. The base of every conflict is MISSING, because nobody knows it any more.
    """
    asked = tuple(ops)
    # First, because an existing item would otherwise be appended again: no digest contradicts an append.
    listed, known, chosen = _take_out_known(server, asked, arrays, on_conflict)
    # After the known items were removed, the array policies are not needed any more.
    if len(listed) < len(asked):
        return _join_known(
            server,
            known,
            chosen,
            rebase_by_digests(operations.apply_ops(server, chosen), listed, replaced, on_conflict=on_conflict),
            on_conflict,
        )
    judged = {*list_replaced_paths(listed), *list_replaced_on_the_way(server, listed)}
    changed = [path for path in sorted(judged) if not _is_same(server, path, replaced)]
    kept, overlapping = drop_overlapping(listed, changed)
    if not overlapping:
        document, lost = operations.apply_and_list_dropped(server, listed)
        return Merged(document, ops=listed, dropped=lost)
    conflicts, settled, lost = _decide_by_digests(server, overlapping, on_conflict)
    if conflicts and on_conflict == "reject":
        return Merged(server, tuple(conflicts))
    document = operations.apply_ops(server, settled)
    merged, lost_too = operations.apply_and_list_dropped(document, kept)
    return Merged(merged, tuple(conflicts), diff_documents(server, document) + kept, lost + lost_too)


def _take_out_known(
    server: JSON, ops: Iterable[Op], arrays: ArrayPolicies, on_conflict: OnConflict
) -> tuple[tuple[Op, ...], tuple[Conflict, ...], tuple[Op, ...]]:
    """Return the operations except appends of existing items, the conflicts about these items, and operations for them.

    An equal item needs no operation.
    """
    rest, conflicts, chosen = [], [], []
    for op in ops:
        path = _find_same_item(server, op, arrays)
        if path is None:
            rest.append(op)
            continue
        theirs = pointer.find_value(server, path)
        if are_equal(theirs, op[2]):
            continue
        kept, value = _choose_side(path, theirs, op[2], on_conflict)
        conflicts.append(Conflict(path, MISSING, theirs, op[2], kept))
        if kept != "server" and value is not MISSING:
            chosen.append(("set", path, value))
    return tuple(rest), tuple(conflicts), tuple(chosen)


def _join_known(
    server: JSON, known: tuple[Conflict, ...], chosen: tuple[Op, ...], rest: Merged, on_conflict: OnConflict
) -> Merged:
    conflicts = known + rest.conflicts
    if conflicts and on_conflict == "reject":
        return Merged(server, conflicts)
    return Merged(rest.document, conflicts, chosen + rest.ops, rest.dropped)


def _find_same_item(server: JSON, op: Op, arrays: ArrayPolicies) -> str | None:
    array = pointer.parent_of(op[1])
    if op[0] != "ins" or op[1] != f"{array}/{END}":
        return None
    items = pointer.find_value(server, array)
    at = find_same_item(arrays.find_policy(array), items, op[2]) if isinstance(items, list) else None
    return None if at is None else f"{array}/{at}"


def _is_same(server: JSON, path: str, replaced: Mapping[str, str | None]) -> bool:
    return path in replaced and replaced[path] == digest_value(pointer.find_value(server, path))


def _decide_by_digests(
    server: JSON, ops: tuple[Op, ...], on_conflict: OnConflict
) -> tuple[list[Conflict], list[Op], tuple[str, ...]]:
    wanted, dropped = operations.apply_and_list_dropped(server, ops)
    conflicts, chosen = [], []
    places = {*map(pointer.strip_mark, touched.list_paths(ops)), *list_replaced_on_the_way(server, ops)}
    for path in _list_topmost(places):
        theirs, mine = pointer.find_value(server, path), pointer.find_value(wanted, path)
        # Both sides have the same value, so nothing is lost.
        if are_equal(theirs, mine):
            continue
        kept, value = _choose_side(path, theirs, mine, on_conflict)
        conflicts.append(Conflict(path, MISSING, theirs, mine, kept))
        if kept != "server":
            chosen.append(("del", path) if value is MISSING else ("set", path, value))
    return conflicts, chosen, dropped


def _choose_side(path: str, server: Value, client: Value, on_conflict: OnConflict) -> tuple[Side, Value]:
    if on_conflict == "client_wins":
        return "client", client
    if callable(on_conflict):
        resolved = on_conflict(path, MISSING, server, client)
        if resolved is not CONFLICT:
            return "resolver", resolved
    return "server", server


def _list_topmost(paths: Iterable[str]) -> list[str]:
    found: list[str] = []
    for path in sorted(set(paths), key=lambda one: (one.count("/"), one)):
        # Shorter paths come first, so each place is decided once, together with everything below it.
        if not any(above in found for above in pointer.iter_ancestors(path)):
            found.append(path)
    return found

"""The difference of two documents, as total operations or as an RFC 6902 patch to show. Not for the hot path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from session_mgmt.documents import pointer
from session_mgmt.documents.operations import Op
from session_mgmt.documents.values import JSON, MISSING, Missing, equal

_TOTAL: Final = {"add": "set", "insert": "ins", "replace": "set", "remove": "del"}
_RFC_6902: Final = {"add": "add", "insert": "add", "replace": "replace", "remove": "remove"}
# Above this many changes, and when they touch half of its items, an array is shorter as a whole.
_FEW: Final = 8


class Change(NamedTuple):
    """One change, ``name`` of the tables above: what stands at ``path`` now, and what stood at ``was`` before.

    The two places differ where items of an array were removed, for a patch walks an array that shrinks under it.
    """

    name: str
    path: str
    now: JSON | Missing
    before: JSON | Missing
    was: str


def diff(a: JSON, b: JSON) -> tuple[Op, ...]:
    """Total operations such that `apply(a, diff(a, b))` equals `b`. O(a + b): arrays are not searched for moves."""
    return tuple(_operation(change) for change in _changes(a, b, ""))


def to_json_patch(a: JSON, b: JSON) -> list[dict[str, Any]]:
    """The same difference as an RFC 6902 patch (add, replace, remove)."""
    return [_shown(change) for change in _changes(a, b, "")]


def changes(a: JSON, b: JSON) -> Iterator[Change]:
    """The same difference with what was there before, for people: item by item in arrays of whatever length."""
    return _changes(a, b, "", folds=False)


def _operation(change: Change) -> Op:
    return ("del", change.path) if change.name == "remove" else (_TOTAL[change.name], change.path, change.now)


def _shown(change: Change) -> dict[str, Any]:
    step = {"op": _RFC_6902[change.name], "path": change.path}
    return step if change.name == "remove" else {**step, "value": change.now}


def _changes(a: JSON, b: JSON, path: str, *, folds: bool = True) -> Iterator[Change]:
    if a is b:
        return
    if isinstance(a, dict) and isinstance(b, dict):
        yield from _object_changes(a, b, path, folds=folds)
    elif isinstance(a, list) and isinstance(b, list):
        found = list(_array_changes(a, b, path, folds=folds))
        whole = folds and len(found) > _FEW and len(found) > len(b) // 2
        yield from [Change("replace", path, b, a, path)] if whole else found
    elif not equal(a, b):
        yield Change("replace", path, b, a, path)


def _object_changes(a: dict[str, JSON], b: dict[str, JSON], path: str, *, folds: bool) -> Iterator[Change]:
    for key, value in a.items():
        if key not in b:
            inner = pointer.child(path, key)
            yield Change("remove", inner, MISSING, value, inner)
    for key, value in b.items():
        inner = pointer.child(path, key)
        if key in a:
            yield from _changes(a[key], value, inner, folds=folds)
        else:
            yield Change("add", inner, value, MISSING, inner)


def _array_changes(a: list[JSON], b: list[JSON], path: str, *, folds: bool) -> Iterator[Change]:
    shorter = min(len(a), len(b))
    start = 0
    while start < shorter and equal(a[start], b[start]):
        start += 1
    tail = 0
    while tail < shorter - start and equal(a[-1 - tail], b[-1 - tail]):
        tail += 1
    common = shorter - tail
    for at in range(start, common):
        yield from _changes(a[at], b[at], f"{path}/{at}", folds=folds)
    for at in range(common, len(a) - tail):
        yield Change("remove", f"{path}/{common}", MISSING, a[at], f"{path}/{at}")
    for at in range(common, len(b) - tail):
        yield Change("insert", f"{path}/{at}", b[at], MISSING, f"{path}/{at}")

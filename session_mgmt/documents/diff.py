"""Difference of two documents, as total operations or as an RFC 6902 patch for display. Not for frequent calls."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import ne
from typing import Any, Final, TypeAlias

from session_mgmt.documents import pointer
from session_mgmt.documents.operations import Op
from session_mgmt.documents.values import JSON, are_equal

# One change: its name (see below), its pointer, its value (None for remove).
_Change: TypeAlias = tuple[str, str, JSON]

_TOTAL: Final = {"add": "set", "insert": "ins", "replace": "set", "remove": "del"}
_RFC_6902: Final = {"add": "add", "insert": "add", "replace": "replace", "remove": "remove"}
# With more changes than this, if they are also half of its items, an array is shorter as a whole.
_FEW: Final = 8


def diff_documents(a: JSON, b: JSON) -> tuple[Op, ...]:
    """Return total operations such that `apply_ops(a, diff_documents(a, b))` equals `b`.

    O(a + b): arrays are not searched for moves.
    """
    return tuple(_make_operation(change) for change in _list_changes(a, b, ""))


def make_json_patch(a: JSON, b: JSON) -> list[dict[str, Any]]:
    """Return the same difference as an RFC 6902 patch with add, replace and remove."""
    return [_make_json_patch_step(change) for change in _list_changes(a, b, "")]


def _make_operation(change: _Change) -> Op:
    name, path, value = change
    return ("del", path) if name == "remove" else (_TOTAL[name], path, value)


def _make_json_patch_step(change: _Change) -> dict[str, Any]:
    name, path, value = change
    step = {"op": _RFC_6902[name], "path": path}
    return step if name == "remove" else {**step, "value": value}


def _list_changes(a: JSON, b: JSON, path: str) -> Iterator[_Change]:
    if a is b:
        return
    if isinstance(a, dict) and isinstance(b, dict):
        yield from _list_object_changes(a, b, path)
    elif isinstance(a, list) and isinstance(b, list):
        found = _list_few_changes(a, b, path)
        yield from [("replace", path, b)] if found is None else found
    elif not are_equal(a, b):
        yield ("replace", path, b)


def _list_object_changes(a: dict[str, JSON], b: dict[str, JSON], path: str) -> Iterator[_Change]:
    for key in a:
        if key not in b:
            yield ("remove", pointer.join_token(path, key), None)
    for key, value in b.items():
        inner = pointer.join_token(path, key)
        if key in a:
            yield from _list_changes(a[key], value, inner)
        else:
            yield ("add", inner, value)


def _list_few_changes(a: list[JSON], b: list[JSON], path: str) -> list[_Change] | None:
    """List the changes of an array; None if there are so many that the whole array is shorter."""
    most = max(_FEW, len(b) // 2)
    start, tail = _count_common(a, b)
    common = min(len(a), len(b)) - tail
    # Each differing item is at least one change. Count them in C, before a list of millions of changes is made.
    least = sum(map(ne, islice(a, start, common), islice(b, start, common))) + abs(len(a) - len(b))
    if least > most:
        return None
    found = list(_list_array_changes(a, b, path, start, tail))
    return None if len(found) > most else found


def _count_common(a: list[JSON], b: list[JSON]) -> tuple[int, int]:
    """Count the equal items at the beginning and at the end of two arrays."""
    shorter = min(len(a), len(b))
    start = 0
    while start < shorter and are_equal(a[start], b[start]):
        start += 1
    tail = 0
    while tail < shorter - start and are_equal(a[-1 - tail], b[-1 - tail]):
        tail += 1
    return start, tail


def _list_array_changes(a: list[JSON], b: list[JSON], path: str, start: int, tail: int) -> Iterator[_Change]:
    common = min(len(a), len(b)) - tail
    for at in range(start, common):
        yield from _list_changes(a[at], b[at], f"{path}/{at}")
    # Always the same index, because each removal moves the later items down.
    for _ in range(common, len(a) - tail):
        yield ("remove", f"{path}/{common}", None)
    for at in range(common, len(b) - tail):
        yield ("insert", f"{path}/{at}", b[at])

"""Comparison of two versions for people: the changes, value by value, and an outline of each version.

While ``diff`` makes short patches, this finds the items of an array that stayed. Otherwise one removed item would
make all later items look changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from session_mgmt.documents import legible, outline, pointer, rebuild
from session_mgmt.documents.canonical import encode_canonical
from session_mgmt.documents.outline import Outline
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.values import JSON, MISSING, Missing, are_equal

SHOWN: Final = 200
VALUE: Final = 2000
_AROUND: Final = 60
# To find the items of an array that stayed costs up to the product of both lengths. Above this limit (about 100 ms,
# measured) items are compared by index, because the document of one client must not make others wait.
_ALIGNED: Final = 500_000


class Change(NamedTuple):
    """Change with an RFC 6902 ``op``: the value at ``path`` in the later version, and at ``was`` in the earlier one."""

    op: str
    path: str
    was: str
    now: JSON | Missing
    before: JSON | Missing


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a change as indented JSON. In an edited text, `changed` is the differing part between equal parts."""

    changed: str
    before: str = ""
    after: str = ""
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Change with an RFC 6902 `op`; a side without a value is None. `was` is the pointer in the earlier version."""

    op: str
    path: str
    was: str
    then: Side | None
    now: Side | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """First `SHOWN` of `total` changes; `then` and `now` are outlines of the whole documents."""

    lines: tuple[Line, ...]
    total: int
    then: Outline
    now: Outline


def compare_parts(first: Parts, second: Parts) -> Comparison:
    """Return the comparison of two stored versions. Raises StateUnreadable."""
    return compare_documents(rebuild.build_value(first), rebuild.build_value(second))


def compare_documents(then: JSON, now: JSON) -> Comparison:
    """List the changes from `then` to `now`, with an outline of both."""
    found = list_changes(then, now)
    lines = tuple(_make_line(change) for change in islice(found, SHOWN))
    # Count the rest without keeping it: two very different documents may have 100,000 changes.
    total = len(lines) + sum(1 for _ in found)
    return Comparison(lines, total, outline.outline_document(then), outline.outline_document(now))


def list_changes(then: JSON, now: JSON) -> Iterator[Change]:
    """Yield every difference. Yields nothing if and only if the documents are equal."""
    return _Walk().list_changes(then, now, "", "")


class _Walk:
    """Comparison with a limit on the search for items that stayed in arrays."""

    def __init__(self) -> None:
        self._room = _ALIGNED

    def list_changes(self, then: JSON, now: JSON, path: str, was: str) -> Iterator[Change]:
        # Values that did not change are often the same object in both versions.
        if then is now:
            return
        if isinstance(then, dict) and isinstance(now, dict):
            yield from self._list_object_changes(then, now, path, was)
        elif isinstance(then, list) and isinstance(now, list):
            yield from self._list_array_changes(then, now, path, was)
        elif not are_equal(then, now):
            yield Change("replace", path, was, now, then)

    def _list_object_changes(
        self, then: dict[str, JSON], now: dict[str, JSON], path: str, was: str
    ) -> Iterator[Change]:
        for key, value in then.items():
            here, there = pointer.join_token(path, key), pointer.join_token(was, key)
            if key in now:
                yield from self.list_changes(value, now[key], here, there)
            else:
                yield Change("remove", here, there, MISSING, value)
        for key, value in now.items():
            if key not in then:
                yield Change("add", pointer.join_token(path, key), pointer.join_token(was, key), value, MISSING)

    def _list_array_changes(self, then: list[JSON], now: list[JSON], path: str, was: str) -> Iterator[Change]:
        for first, last, start, end in self._list_differing_stretches(then, now):
            paired = min(last - first, end - start)
            for at in range(paired):
                here, there = f"{path}/{start + at}", f"{was}/{first + at}"
                yield from self.list_changes(then[first + at], now[start + at], here, there)
            for at in range(first + paired, last):
                yield Change("remove", f"{path}/{start + paired}", f"{was}/{at}", MISSING, then[at])
            for at in range(start + paired, end):
                yield Change("add", f"{path}/{at}", f"{was}/{at}", now[at], MISSING)

    def _list_differing_stretches(self, then: list[JSON], now: list[JSON]) -> Iterator[tuple[int, int, int, int]]:
        """Yield the stretches in which two arrays differ, as (start, end) in the first and (start, end)
        in the second.
        """
        # The limit is for all arrays together, because many short arrays can cost as much as a long one.
        self._room -= len(then) * len(now)
        if self._room < 0:
            yield (0, len(then), 0, len(now))
            return
        first, second = ([encode_canonical(item) for item in items] for items in (then, now))
        yield from _list_stretches(first, second)


def _list_stretches(first: list[bytes], second: list[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the stretches between the items of a longest common subsequence, in O(first * second).

    Not with `difflib`, which is cubic if many items are equal, as in columns of flags.
    """
    lengths = _count_common_items(first, second)
    a = b = start_a = start_b = 0
    while a < len(first) and b < len(second):
        if first[a] == second[b]:
            if (a, b) != (start_a, start_b):
                yield (start_a, a, start_b, b)
            a, b = a + 1, b + 1
            start_a, start_b = a, b
        # Removed items come before added ones.
        elif lengths[a + 1][b] >= lengths[a][b + 1]:
            a += 1
        else:
            b += 1
    if start_a < len(first) or start_b < len(second):
        yield (start_a, len(first), start_b, len(second))


def _count_common_items(first: list[bytes], second: list[bytes]) -> list[list[int]]:
    """Return the length of a longest common subsequence for every pair of suffixes of the two lists."""
    below = [0] * (len(second) + 1)
    table = [below]
    for item in reversed(first):
        row = [0] * (len(second) + 1)
        right = 0
        for b in range(len(second) - 1, -1, -1):
            if item == second[b]:
                right = below[b + 1] + 1
            elif below[b] > right:
                right = below[b]
            row[b] = right
        table.append(row)
        below = row
    table.reverse()
    return table


def _make_line(change: Change) -> Line:
    if isinstance(change.before, str) and isinstance(change.now, str):
        return Line(change.op, change.path, change.was, *_split_edited_texts(change.before, change.now))
    return Line(change.op, change.path, change.was, _make_side(change.before), _make_side(change.now))


def _make_side(value: JSON | Missing) -> Side | None:
    if value is MISSING:
        return None
    text, is_cut = legible.show_indented(value, VALUE)
    return Side(text, is_cut=is_cut)


def _split_edited_texts(then: str, now: str) -> tuple[Side, Side]:
    """Split two texts into their common start, the part that differs, and their common end."""
    start = _count_common(then, now)
    # Only after the common start, or a repeated part would count on both sides.
    end = _count_common(then[start:][::-1], now[start:][::-1])
    return _make_part(then, start, len(then) - end), _make_part(now, start, len(now) - end)


def _count_common(a: str, b: str) -> int:
    """Count the characters that both texts begin with."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        # Bisect, because comparing slices is fast in C.
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low


def _make_part(text: str, start: int, end: int) -> Side:
    head = legible.show_plainly(text[max(start - _AROUND, 0) : start], _AROUND).text
    middle = legible.show_plainly(text[start:end], VALUE)
    tail = legible.show_plainly(text[end : end + _AROUND], _AROUND).text
    before = ("…" if start > _AROUND else '"') + head
    after = tail + ("…" if end + _AROUND < len(text) else '"')
    return Side(middle.text, before, after, middle.is_cut)

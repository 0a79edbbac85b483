"""Two versions side by side, for people: what changed, value by value, and an outline of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from session_mgmt.documents import legible, outline, rebuild
from session_mgmt.documents.diff import Change, changes
from session_mgmt.documents.outline import Outline
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.values import JSON, MISSING, Missing

SHOWN: Final = 200
VALUE: Final = 2000
_AROUND: Final = 60


@dataclass(frozen=True, slots=True)
class Side:
    """A value as indented JSON; of a text that was edited, `changed` is the part that differs, between what is the
    same.
    """

    changed: str
    before: str = ""
    after: str = ""
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One change: `op` of RFC 6902; a side without a value is `None`. `was` is the place in the earlier version."""

    op: str
    path: str
    was: str
    then: Side | None
    now: Side | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The first `SHOWN` of `total` changes; `then` and `now` are the whole documents."""

    lines: tuple[Line, ...]
    total: int
    then: Outline
    now: Outline


def of(first: Parts, second: Parts) -> Comparison:
    """The comparison of two stored versions. Raises StateUnreadable."""
    return compare(rebuild.value(first), rebuild.value(second))


def compare(then: JSON, now: JSON) -> Comparison:
    """What makes `now` of `then`, and both."""
    found: Iterator[Change] = changes(then, now)
    lines = tuple(_line(change) for change in islice(found, SHOWN))
    total = len(lines) + sum(1 for _ in found)
    return Comparison(lines, total, outline.outline(then), outline.outline(now))


def _line(change: Change) -> Line:
    op = "add" if change.name == "insert" else change.name
    if isinstance(change.before, str) and isinstance(change.now, str):
        return Line(op, change.path, change.was, *_edited(change.before, change.now))
    return Line(op, change.path, change.was, _side(change.before), _side(change.now))


def _side(value: JSON | Missing) -> Side | None:
    if value is MISSING:
        return None
    text, is_cut = legible.pretty(value, VALUE)
    return Side(text, is_cut=is_cut)


def _edited(then: str, now: str) -> tuple[Side, Side]:
    """Two texts with their common beginning and end told apart from what differs."""
    start = _common(then, now)
    end = _common(then[start:][::-1], now[start:][::-1])
    return _part(then, start, len(then) - end), _part(now, start, len(now) - end)


def _common(a: str, b: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low


def _part(text: str, start: int, end: int) -> Side:
    head = legible.plain(text[max(start - _AROUND, 0) : start], _AROUND).text
    middle = legible.plain(text[start:end], VALUE)
    tail = legible.plain(text[end : end + _AROUND], _AROUND).text
    before = ("…" if start > _AROUND else '"') + head
    after = tail + ("…" if end + _AROUND < len(text) else '"')
    return Side(middle.text, before, after, middle.is_cut)

"""Outline of a document, which stays small for every size: the upper levels first, then only counts of the rest, and
places at which to look closer.

A place is a tuple of positions: `(0, 3)` is the fourth member of the first one. Unlike a pointer it contains no
content, so it may be used in URLs and appear in access logs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias

from session_mgmt.documents import legible, pointer, rebuild
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.replaced import digest_value
from session_mgmt.documents.values import JSON, MISSING

NodePlace: TypeAlias = tuple[int, ...]

# As many as a person can scroll through.
NODES: Final = 1200
MEMBERS: Final = 100
TEXT: Final = 300
# Length of a string that is shown alone.
LONG_TEXT: Final = 64 * 1024
_NAME: Final = 200
_AROUND: Final = 60
FOUND: Final = 100


@dataclass(frozen=True, slots=True)
class Node:
    """One value.

    `name` is its key or index (None for the root), `kind` one of object, array, string, number, boolean, null; `length`
    counts members or characters. `text` is the shown part of a scalar. `children` are the shown members, beginning
    after `skipped` others; a container that is not opened has none.
    """

    name: str | int | None
    path: str
    place: NodePlace
    kind: str
    length: int = 0
    text: str = ""
    is_cut: bool = False
    skipped: int = 0
    children: list[Node] = field(default_factory=list)

    @property
    def is_container(self) -> bool:
        return self.kind in ("object", "array")

    @property
    def hidden_count(self) -> int:
        """Number of members after the shown ones."""
        return self.length - self.skipped - len(self.children)


@dataclass(frozen=True, slots=True)
class Outline:
    """Outline. `trail` leads from the root to `node`; `node` is None if the document has no such place."""

    node: Node | None
    trail: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Hits:
    """Values whose text or key contains a text; `more` is True if there are others."""

    nodes: tuple[Node, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Value at a pointer: indented JSON (None if there is no value), and its digest."""

    text: str | None
    is_cut: bool
    digest: str


def outline_parts(parts: Parts, place: NodePlace = (), skip: int = 0) -> Outline:
    """Return the outline of a stored version. Raises UnreadableBody."""
    return outline_document(rebuild.build_value(parts), place, skip)


def search_parts(parts: Parts, text: str) -> Hits:
    """Find the places where a stored version contains a text. Raises UnreadableBody."""
    return find_text(rebuild.build_value(parts), text)


def describe_value(parts: Parts, path: str, most: int) -> Standing:
    """Describe the value at a pointer of a stored version. Raises UnreadableBody."""
    value = pointer.find_value(rebuild.build_value(parts), path)
    if value is MISSING:
        return Standing(None, False, "")
    return Standing(*legible.show_indented(value, most), digest_value(value) or "")


def outline_document(document: JSON, place: NodePlace = (), skip: int = 0) -> Outline:
    """Return the outline of the value at a place: its members from `skip` on, and the levels below."""
    trail = _follow_place(document, place)
    if trail is None:
        return Outline(None)
    value = trail[-1][1]
    last = trail[-1][0]
    node = _make_node(value, last.name, last.path, place, most=LONG_TEXT, skipped=skip)
    _open_levels(node, value)
    return Outline(node, tuple(above for above, _ in trail[:-1]))


def _follow_place(document: JSON, place: NodePlace) -> list[tuple[Node, JSON]] | None:
    found = [(_make_node(document, None, "", ()), document)]
    for depth, at in enumerate(place, 1):
        above, value = found[-1]
        member = next(islice(_list_members(value), at, at + 1), None)
        if member is None:
            return None
        name, inner = member
        found.append((_make_node(inner, name, pointer.join_token(above.path, str(name)), place[:depth]), inner))
    return found


def _open_levels(root: Node, value: JSON) -> None:
    room = NODES
    waiting = deque([(root, value)])
    while waiting and room > 0:
        node, value = waiting.popleft()
        # Level by level, so that the upper levels are complete before a lower one uses the room.
        shown = islice(_list_members(value), node.skipped, node.skipped + min(MEMBERS, room))
        for at, (name, inner) in enumerate(shown, node.skipped):
            child = _make_node(inner, name, pointer.join_token(node.path, str(name)), (*node.place, at))
            node.children.append(child)
            waiting.append((child, inner))
        room -= len(node.children)


def find_text(document: JSON, text: str) -> Hits:
    """Find the first values, in the document's order, whose key or text contains `text`, ignoring case."""
    wanted = text.casefold()
    # One more than is shown, to know whether there are more.
    found = tuple(islice(_list_hits(document, wanted), FOUND + 1)) if wanted else ()
    return Hits(found[:FOUND], len(found) > FOUND)


def _list_hits(document: JSON, wanted: str) -> Iterator[Node]:
    waiting: list[tuple[str | int | None, str, NodePlace, JSON]] = [(None, "", (), document)]
    while waiting:
        name, path, place, value = waiting.pop()
        at = _find_in_text(value, wanted)
        if at >= 0 or (isinstance(name, str) and wanted in name.casefold()):
            yield _make_node(value, name, path, place, around=max(at, 0))
        inside = [
            (key, pointer.join_token(path, str(key)), (*place, number), inner)
            for number, (key, inner) in enumerate(_list_members(value))
        ]
        # Reversed, because the loop takes values from the end, and hits must come in the document's order.
        waiting.extend(reversed(inside))


def _find_in_text(value: JSON, wanted: str) -> int:
    """Return the index of a text in a scalar's text; -1 if it is not there."""
    if isinstance(value, dict | list):
        return -1
    return (value if isinstance(value, str) else legible.show_indented(value, TEXT).text).casefold().find(wanted)


def _list_members(value: JSON) -> Iterable[tuple[str | int, JSON]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _make_node(
    value: JSON,
    name: str | int | None,
    path: str,
    place: Sequence[int],
    *,
    most: int = TEXT,
    skipped: int = 0,
    around: int = 0,
) -> Node:
    shown = name if not isinstance(name, str) else legible.show_plainly(name, _NAME).text
    at = tuple(place)
    if isinstance(value, dict | list):
        return Node(shown, path, at, "object" if isinstance(value, dict) else "array", len(value), skipped=skipped)
    if isinstance(value, str):
        start = max(around - _AROUND, 0)
        text, is_cut = legible.quote_text(value[start:], most)
        return Node(shown, path, at, "string", len(value), text, is_cut or start > 0)
    return Node(shown, path, at, _name_kind(value), text=legible.show_indented(value, most).text)


def _name_kind(value: JSON) -> str:
    if value is None:
        return "null"
    return "boolean" if isinstance(value, bool) else "number"

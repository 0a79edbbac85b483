"""A picture of a document that stays small however large the document is: the upper levels first, the rest as counts
with places to look closer.

A place is a row of positions, `(0, 3)` being the fourth member of the first one. Unlike a pointer it says nothing about
the content, so it may stand in an address and in whatever logs addresses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias

from session_mgmt.documents import legible, pointer, rebuild
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.replaced import digest
from session_mgmt.documents.values import JSON, MISSING

Place: TypeAlias = tuple[int, ...]

NODES: Final = 1200
MEMBERS: Final = 100
TEXT: Final = 300
# A string that is looked at alone.
LONG_TEXT: Final = 64 * 1024
_NAME: Final = 200
_AROUND: Final = 60
FOUND: Final = 100


@dataclass(frozen=True, slots=True)
class Node:
    """One value.

    `name` is its key or index (`None` for the root), `kind` one of object, array, string, number, boolean, null;
    `length` counts members or characters. `text` is what is shown of a scalar. `children` are the members from the
    `skipped` one on, as far as they are shown; those of a container that is not opened are none.
    """

    name: str | int | None
    path: str
    place: Place
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
    def rest(self) -> int:
        """Members after those that are shown."""
        return self.length - self.skipped - len(self.children)


@dataclass(frozen=True, slots=True)
class Outline:
    """`trail` leads from the root to `node`; `None` where the document has no such place."""

    node: Node | None
    trail: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Hits:
    """Values that hold a text, or whose keys do; `more` says that there are others."""

    nodes: tuple[Node, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands at a pointer: indented JSON (`None` where nothing does) and its digest."""

    text: str | None
    is_cut: bool
    digest: str


def of(parts: Parts, place: Place = (), skip: int = 0) -> Outline:
    """The outline of a stored version. Raises StateUnreadable."""
    return outline(rebuild.value(parts), place, skip)


def search(parts: Parts, text: str) -> Hits:
    """Where a stored version holds a text. Raises StateUnreadable."""
    return find(rebuild.value(parts), text)


def standing(parts: Parts, path: str, most: int) -> Standing:
    """What stands at a pointer of a stored version. Raises StateUnreadable."""
    value = pointer.value(rebuild.value(parts), path)
    if value is MISSING:
        return Standing(None, False, "")
    return Standing(*legible.pretty(value, most), digest(value) or "")


def outline(document: JSON, place: Place = (), skip: int = 0) -> Outline:
    """What stands at a place, its members from `skip` on, and what is below, level by level."""
    trail = _trail(document, place)
    if trail is None:
        return Outline(None)
    value = trail[-1][1]
    last = trail[-1][0]
    node = _node(value, last.name, last.path, place, most=LONG_TEXT, skipped=skip)
    _open(node, value)
    return Outline(node, tuple(above for above, _ in trail[:-1]))


def _trail(document: JSON, place: Place) -> list[tuple[Node, JSON]] | None:
    found = [(_node(document, None, "", ()), document)]
    for depth, at in enumerate(place, 1):
        above, value = found[-1]
        member = next(islice(_members(value), at, at + 1), None)
        if member is None:
            return None
        name, inner = member
        found.append((_node(inner, name, pointer.child(above.path, str(name)), place[:depth]), inner))
    return found


def _open(root: Node, value: JSON) -> None:
    room = NODES
    waiting = deque([(root, value)])
    while waiting and room > 0:
        node, value = waiting.popleft()
        shown = islice(_members(value), node.skipped, node.skipped + min(MEMBERS, room))
        for at, (name, inner) in enumerate(shown, node.skipped):
            child = _node(inner, name, pointer.child(node.path, str(name)), (*node.place, at))
            node.children.append(child)
            waiting.append((child, inner))
        room -= len(node.children)


def find(document: JSON, text: str) -> Hits:
    """The first values, in the document's order, whose key or whose own text holds `text` in whatever case."""
    wanted = text.casefold()
    found = tuple(islice(_hits(document, wanted), FOUND + 1)) if wanted else ()
    return Hits(found[:FOUND], len(found) > FOUND)


def _hits(document: JSON, wanted: str) -> Iterator[Node]:
    waiting: list[tuple[str | int | None, str, Place, JSON]] = [(None, "", (), document)]
    while waiting:
        name, path, place, value = waiting.pop()
        at = _where(value, wanted)
        if at >= 0 or (isinstance(name, str) and wanted in name.casefold()):
            yield _node(value, name, path, place, around=max(at, 0))
        inside = [
            (key, pointer.child(path, str(key)), (*place, number), inner)
            for number, (key, inner) in enumerate(_members(value))
        ]
        waiting.extend(reversed(inside))


def _where(value: JSON, wanted: str) -> int:
    """Where in a scalar's text the wanted one stands; -1 where it does not."""
    if isinstance(value, dict | list):
        return -1
    return (value if isinstance(value, str) else legible.pretty(value, TEXT).text).casefold().find(wanted)


def _members(value: JSON) -> Iterable[tuple[str | int, JSON]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _node(
    value: JSON,
    name: str | int | None,
    path: str,
    place: Sequence[int],
    *,
    most: int = TEXT,
    skipped: int = 0,
    around: int = 0,
) -> Node:
    shown = name if not isinstance(name, str) else legible.plain(name, _NAME).text
    at = tuple(place)
    if isinstance(value, dict | list):
        return Node(shown, path, at, "object" if isinstance(value, dict) else "array", len(value), skipped=skipped)
    if isinstance(value, str):
        start = max(around - _AROUND, 0)
        text, is_cut = legible.quoted(value[start:], most)
        return Node(shown, path, at, "string", len(value), text, is_cut or start > 0)
    return Node(shown, path, at, _kind(value), text=legible.pretty(value, most).text)


def _kind(value: JSON) -> str:
    if value is None:
        return "null"
    return "boolean" if isinstance(value, bool) else "number"

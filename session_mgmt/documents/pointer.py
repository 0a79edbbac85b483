"""RFC 6901 pointers, and the touched paths by which conflicts are found.

A touched path is a pointer, or a mark followed by a pointer. Two equal marked paths commute; in every other respect a
marked path behaves like its pointer:

- `+/counter`  was only added to (`inc`);

- `>/list`     was only appended to (`ins /list/-`).

Two other marks exist in addition to plain paths, and do not overlap with anything by themselves (see `contested`):

- `{/cart`     was made an object, and a member of it was touched;

- `[/list`     something at or below one of its indices was touched.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

from session_mgmt.documents.errors import InvalidPath
from session_mgmt.documents.values import JSON, MISSING, Missing

# Last token of a path that appends to an array.
END: Final = "-"
ADDED: Final = "+"
APPENDED: Final = ">"
OBJECT: Final = "{"
ITEM: Final = "["
MARKS: Final = (ADDED, APPENDED, OBJECT, ITEM)
_BESIDE: Final = (OBJECT, ITEM)

_BAD_ESCAPE = re.compile(r"~(?![01])")
_INDEX_DIGITS: Final = 10


def parse_pointer(path: str) -> tuple[str, ...]:
    """Return the reference tokens of a pointer. `""` is the root, `"/"` the empty key. Raises InvalidPath."""
    if not path:
        return ()
    # RFC 6901 section 3: a slash precedes each token.
    if path[0] != "/":
        raise InvalidPath("A path is empty or starts with a slash.")
    tokens = path[1:].split("/")
    if "~" not in path:
        return tuple(tokens)
    if _BAD_ESCAPE.search(path):
        raise InvalidPath("In a path ~ is followed by 0 or 1.")
    # Replace ~1 first (RFC 6901 section 4), or "~01" would become "/".
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def escape_token(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1") if "~" in token or "/" in token else token


def format_pointer(tokens: Iterable[str]) -> str:
    return "".join(f"/{escape_token(token)}" for token in tokens)


def join_token(path: str, token: str) -> str:
    return f"{path}/{escape_token(token)}"


def parent_of(path: str) -> str:
    """Return the pointer without its last token; for the root, return the root."""
    return path[: path.rfind("/")] if path else path


def parse_index(token: str) -> int | None:
    """Return the array index in a token (RFC 6901 section 4: ASCII digits, no leading zero), else None."""
    # `isdigit` alone accepts digits of any script, and a number of any length would be expensive.
    if not (token.isascii() and token.isdigit()) or len(token) > _INDEX_DIGITS:
        return None
    # With leading zeros an item would have many paths, and two changes of it would not be seen to overlap.
    return None if token[0] == "0" and len(token) > 1 else int(token)


def find_value(document: JSON, path: str) -> JSON | Missing:
    """Return the value at a pointer; MISSING if there is none."""
    found: JSON = document
    for token in parse_pointer(path):
        found = find_member(found, token)
        if found is MISSING:
            return MISSING
    return found


def find_member(container: JSON, token: str) -> JSON | Missing:
    """Return the member or item at a token; MISSING if there is none."""
    if type(container) is dict:
        return container.get(token, MISSING)
    at = parse_index(token) if type(container) is list else None
    return MISSING if at is None or at >= len(container) else container[at]


def strip_mark(path: str) -> str:
    """Return the pointer of a touched path."""
    return path[1:] if path[:1] in MARKS else path


def strip_marks(paths: Iterable[str]) -> list[str]:
    """Return the pointers of touched paths, each once and in their order, for use outside this project."""
    return list(dict.fromkeys(strip_mark(path) for path in paths if path[:1] not in _BESIDE))


def are_overlapping(a: str, b: str) -> bool:
    """Return True if two touched paths are equal or one is an ancestor of the other, and they do not commute."""
    if a[:1] in _BESIDE or b[:1] in _BESIDE:
        return False
    first, second = strip_mark(a), strip_mark(b)
    if first == second:
        # Two equal marked paths commute; two equal plain paths do not.
        return a != b or first == a
    return first.startswith(f"{second}/") or second.startswith(f"{first}/")


def find_overlapping_pairs(mine: Iterable[str], theirs: Iterable[str]) -> list[tuple[str, str]]:
    """Return the overlapping pairs, sorted. O((n + m) log m + pairs) for paths of bounded depth."""
    index_of_theirs = Touched(theirs)
    return sorted((path, other) for path in set(mine) for other in index_of_theirs.find_overlapping(path))


class Touched:
    """Set of touched paths that finds those that overlap a given path."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._marked: dict[str, list[str]] = {}
        for path in sorted({path for path in paths if path[:1] not in _BESIDE}):
            self._marked.setdefault(strip_mark(path), []).append(path)
        self._pointers = sorted(self._marked)

    def find_overlapping(self, path: str) -> Iterator[str]:
        if path[:1] in _BESIDE:
            return
        pointer = strip_mark(path)
        for other in self._marked.get(pointer, ()):
            if are_overlapping(path, other):
                yield other
        for ancestor in iter_ancestors(pointer):
            yield from self._marked.get(ancestor, ())
        yield from self._find_below(pointer)

    def has_at_or_above(self, path: str) -> bool:
        """Return True if the pointer of `path` or one of its ancestors was touched."""
        pointer = strip_mark(path)
        return pointer in self._marked or any(ancestor in self._marked for ancestor in iter_ancestors(pointer))

    def _find_below(self, pointer: str) -> Iterator[str]:
        # Strings with a common prefix are neighbours in sorted order, and "0" comes directly after "/".
        low, high = bisect_left(self._pointers, f"{pointer}/"), bisect_left(self._pointers, f"{pointer}0")
        for found in self._pointers[low : high if pointer else None]:
            yield from self._marked[found]


def iter_ancestors(pointer: str) -> Iterator[str]:
    """Yield the strict ancestors of a pointer, nearest first."""
    while pointer:
        pointer = parent_of(pointer)
        yield pointer

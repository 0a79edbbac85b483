"""Touched paths of a list of operations. A revision stores them, and conflicts are found by them.

They have the form that `pointer` describes: a pointer, `+pointer` if `inc` only adds, `>pointer` if `ins …/-` only
appends. Each choice reports too many conflicts rather than too few:

- `ins` and `del` with a numeric last token touch the parent, because an index means another item afterwards. The log
  does not show whether the parent is an array; it is not one if an `obj` of the same list made it an object.
- `set`, `inc` and `obj` with `-` as the last token touch the parent: they append, but not only to arrays.
- `obj` touches nothing by itself if another operation works below it: two clients that merge different members into
  one object do not disturb each other. It leaves a mark, and a change below an index leaves another one, so that a
  merge that turns an array into an object is seen to disturb a change inside the array.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from session_mgmt.documents import pointer
from session_mgmt.documents.pointer import END

# With more operations, the row still has a limited size, and touches more than the operations do.
MOST_PATHS: Final = 500
# A path without such a token touches only itself, if `set` or `inc` is the only operation on it.
_INDEX_OR_END = re.compile(r"/(?:[0-9]+|-)(?:/|$)")


def list_paths(ops: Iterable[Sequence[Any]], most: int = MOST_PATHS) -> tuple[str, ...]:
    """Return sorted unique touched paths. Above `most`, the deepest are replaced by their ancestors,
    which touch more.
    """
    listed = list(ops)
    touched = list_path_of_each(listed)
    # Most lists have one operation.
    if len(touched) == 1:
        return tuple(touched)
    ensures = [is_ensuring(op, path) for op, path in zip(listed, touched, strict=True)]
    entered = (
        {above for path in touched for above in pointer.iter_ancestors(pointer.strip_mark(path))}
        if any(ensures)
        else set()
    )
    found = {path for path, is_ensuring in zip(touched, ensures, strict=True) if not is_ensuring or path not in entered}
    return _limit_paths(found, most)


def is_ensuring(op: Sequence[Any], path: str) -> bool:
    """Return True if an operation with this touched path is an `obj` that only prepares a place for others.

    With `-` it appends an object, and touches the array.
    """
    return bool(op[0] == "obj" and op[1] == path)


def list_stored_paths(ops: Iterable[Sequence[Any]]) -> tuple[str, ...]:
    """Return the touched paths and the additional marks, as a revision stores them."""
    listed = list(ops)
    if len(listed) == 1 and listed[0][0] in ("set", "inc") and _INDEX_OR_END.search(listed[0][1]) is None:
        # Most updates are one of these, and need no further work.
        name, path = listed[0][:2]
        return (f"{pointer.ADDED}{path}" if name == "inc" else path,)
    marks = _list_marks(listed)
    if len(marks) > MOST_PATHS:
        # To touch the place itself includes its mark.
        return _limit_paths({*list_paths(listed), *map(pointer.strip_mark, marks)}, MOST_PATHS)
    return (*list_paths(listed), *sorted(marks)) if marks else list_paths(listed)


def _list_marks(ops: Iterable[Sequence[Any]]) -> set[str]:
    objects: set[str] = set()
    items: set[str] = set()
    listed = list(ops)
    for op, touched in zip(listed, list_path_of_each(listed), strict=True):
        path = op[1]
        above = pointer.parent_of(path)
        if op[0] == "obj":
            objects.add(path)
        while path:
            # An index below a place that this list has made an object is a key.
            if above not in objects and pointer.parse_index(path[len(above) + 1 :]) is not None:
                items.add(above)
            path, above = above, pointer.parent_of(above)
        if op[0] in ("ins", "del"):
            # An array that is touched itself needs no mark.
            items.discard(touched)
    made = {f"{pointer.OBJECT}{path}" for path in objects}
    return made | {f"{pointer.ITEM}{path}" for path in items}


def list_path_of_each(ops: Iterable[Sequence[Any]]) -> list[str]:
    """Return the touched path of every operation, in order; an `obj` has its own path."""
    objects: set[str] = set()
    touched = []
    for op in ops:
        if op[0] == "obj":
            objects.add(op[1])
        touched.append(_find_touched_path(op[0], op[1], objects))
    return touched


def _find_touched_path(name: str, path: str, objects: set[str]) -> str:
    parent = pointer.parent_of(path)
    last = path[len(parent) + 1 :]
    if path and parent not in objects:
        if last == END and name != "del":
            return f"{pointer.APPENDED}{parent}" if name == "ins" else parent
        if name in ("ins", "del") and pointer.parse_index(last) is not None:
            return parent
    return f"{pointer.ADDED}{path}" if name == "inc" else path


def _limit_paths(found: set[str], most: int) -> tuple[str, ...]:
    deepest = max((path.count("/") for path in found), default=0)
    while len(found) > most:
        # Level by level, so that no path is shortened more than necessary.
        deepest -= 1
        found = {_cut_path(path, deepest) for path in found}
    return tuple(sorted(found))


def _cut_path(path: str, tokens: int) -> str:
    if path.count("/") <= tokens:
        return path
    # Before the first slash there is nothing, or a mark that is not valid for the ancestor.
    return "".join(f"/{token}" for token in path.split("/")[1 : tokens + 1])

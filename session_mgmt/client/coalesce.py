"""Makes one list of operations of several, shorter where that gives the same value for every document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from session_mgmt.documents import pointer
from session_mgmt.documents.values import number

Op: TypeAlias = Sequence[Any]


def coalesced(earlier: Sequence[Op], later: Sequence[Op]) -> list[Op]:
    """`earlier` with `later` behind it: a later `set` replaces one of the same path, `inc` adds up."""
    result = list(earlier)
    for operation in later:
        at = _partner(result, operation)
        if at is None:
            result.append(operation)
        else:
            result[at] = _together(result[at], operation) or operation
    return result


def _partner(operations: list[Op], operation: Op) -> int | None:
    """Index of the operation that the new one can go into."""
    if operation[0] in ("del", "ins") or operation[1].endswith("/-"):
        return None
    # An array's places depend on what happened to its other places in between.
    far = all(token != "-" and pointer.index(token) is None for token in pointer.parse(operation[1]))
    for at in range(len(operations) - 1, -1, -1):
        if _together(operations[at], operation) is not None:
            return at
        if not far or not _passes(operation, operations[at]):
            return None
    return None


def _passes(operation: Op, other: Op) -> bool:
    """Whether the order of the two does not matter, or, for `obj`, whether the other leaves the object an object."""
    name, path = operation[:2]
    if name == "obj" and other[1].startswith(f"{path}/"):
        return True
    related = f"{other[1]}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other[1]}/")
    # These move the places behind them, also of arrays further up.
    return not related and other[0] not in ("ins", "del")


def _together(earlier: Op, later: Op) -> Op | None:
    if list(earlier[:2]) != list(later[:2]):
        return None
    if later[0] != "inc":
        return later
    total = number(earlier[2] + later[2])
    return None if total is None else ["inc", later[1], total]

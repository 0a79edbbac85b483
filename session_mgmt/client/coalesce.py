"""Join two lists of operations into one that has the same effect on every document, shorter where possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from session_mgmt.documents import pointer
from session_mgmt.documents.values import normalise_number

Op: TypeAlias = Sequence[Any]


def coalesce_operations(earlier: Sequence[Op], later: Sequence[Op]) -> list[Op]:
    """Append `later` to `earlier`. A later `set` replaces an earlier one of the same path, and `inc` values are added
    up.

    The effect is the same as that of all operations one by one. The only exception is an `inc` beyond the largest
    integer, which depends on the sum.
    """
    result = list(earlier)
    for operation in later:
        at = _find_partner(result, operation)
        if at is None:
            result.append(operation)
        else:
            result[at] = _combine_pair(result[at], operation) or operation
    return result


def _find_partner(operations: list[Op], operation: Op) -> int | None:
    """Return the index of the operation that the new one can be combined with, or None."""
    if operation[0] in ("del", "ins") or operation[1].endswith("/-"):
        return None
    # The meaning of an array index depends on the operations in between.
    is_index_free = all(
        token != "-" and pointer.parse_index(token) is None for token in pointer.parse_pointer(operation[1])
    )
    # Search from the newest operation back, and skip only operations that can swap places with the new one, so that
    # the order of the others stays.
    for at in range(len(operations) - 1, -1, -1):
        if _combine_pair(operations[at], operation) is not None:
            return at
        if not is_index_free or not _can_swap(operation, operations[at]):
            return None
    return None


def _can_swap(operation: Op, other: Op) -> bool:
    """Return True if the order of the two does not matter; for `obj` also if the other one is inside the object."""
    name, path = operation[:2]
    if name == "obj" and other[1].startswith(f"{path}/"):
        return True
    related = f"{other[1]}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other[1]}/")
    # `ins` and `del` move later items, also of arrays further up.
    return not related and other[0] not in ("ins", "del")


def _combine_pair(earlier: Op, later: Op) -> Op | None:
    if list(earlier[:2]) != list(later[:2]):
        return None
    if later[0] != "inc":
        return later
    total = normalise_number(earlier[2] + later[2])
    # If documents cannot hold the sum, both operations stay, and the server drops the one that goes too far.
    return None if total is None else ["inc", later[1], total]

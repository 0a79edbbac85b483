"""Extents of documents: bytes of compact UTF-8 JSON, number of keys, and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from session_mgmt.documents.limits import Extent, Growth
from session_mgmt.documents.operations import Op
from session_mgmt.documents.strict import dump_json
from session_mgmt.documents.values import JSON, bound_number

NOTHING: Final = Growth(0, 0)
# A new parent needs two quotes, a colon, a comma and two braces in addition to its key.
_PER_TOKEN: Final = 6
# A sum may have more digits than both of its numbers, but no double has a longer text.
_LONGEST_NUMBER: Final = 26


def measure_size(value: JSON) -> int:
    """Return the length of the compact UTF-8 JSON."""
    return len(dump_json(value))


def count_keys(value: JSON) -> int:
    """Count the members of all objects in a value."""
    if isinstance(value, dict):
        return len(value) + sum(map(count_keys, value.values()))
    return sum(map(count_keys, value)) if isinstance(value, list) else 0


def measure_extent(value: JSON) -> Extent:
    """Return the size of a document in bytes, the number of its keys, and the largest of its numbers."""
    return Extent(measure_size(value), count_keys(value), bound_number(value))


def bound_growth(ops: Sequence[Op], encoded: bytes | None = None) -> Growth:
    """Return an upper bound of what the operations add to any document; never negative. O(ops), without a document.

    ``encoded`` are the operations as ``encode_ops`` writes them, if known: then a single one is not encoded again.
    """
    if encoded is not None and len(ops) == 1:
        return _bound_op_growth(ops[0], len(encoded) - len("[]"))
    growth = NOTHING
    for op in ops:
        growth = growth.join(_bound_op_growth(op))
    return growth


def _bound_op_growth(op: Op, written: int | None = None) -> Growth:
    if op[0] == "del":
        # Only `del ""` can add something: a document of one digit becomes {}.
        return Growth(0 if op[1] else len("{}"), 0)
    tokens, value = op[1].count("/"), op[2] if len(op) > 2 else None
    # Each token may become a member; the value of `set` and `ins` has its own members.
    keys = tokens + count_keys(value)
    written = len(dump_json(op)) if written is None else written
    number = bound_number(value)
    added, number = (number, 0) if op[0] == "inc" else (0, number)
    return Growth(written + _PER_TOKEN * tokens + _LONGEST_NUMBER, keys, number, added)

"""Extents of documents: bytes of compact UTF-8 JSON, and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from session_mgmt.documents.limits import Extent
from session_mgmt.documents.operations import Op
from session_mgmt.documents.strict import dump_json
from session_mgmt.documents.values import JSON

NOTHING: Final = Extent(0, 0)
# A created parent costs two quotes, a colon, a comma and two braces beside its key.
_PER_TOKEN: Final = 6
_LONGEST_NUMBER: Final = 26


def measure_size(value: JSON) -> int:
    """Return the length of the compact UTF-8 JSON."""
    return len(dump_json(value))


def count_keys(value: JSON) -> int:
    """Count the members of all objects."""
    if isinstance(value, dict):
        return len(value) + sum(map(count_keys, value.values()))
    return sum(map(count_keys, value)) if isinstance(value, list) else 0


def measure_extent(value: JSON) -> Extent:
    """Return the size of a document and the number of its keys."""
    return Extent(measure_size(value), count_keys(value))


def bound_growth(ops: Sequence[Op], encoded: bytes | None = None) -> Extent:
    """Return an upper bound of what the operations add to any document; 0 or more. O(ops), without a document.

    ``encoded``: the operations as ``encode_ops`` writes them, if they are at hand: one alone need not be written again.
    """
    if encoded is not None and len(ops) == 1:
        return _bound_op_growth(ops[0], len(encoded) - len("[]"))
    growth = NOTHING
    for op in ops:
        growth = growth.grow_by(_bound_op_growth(op))
    return growth


def _bound_op_growth(op: Op, written: int | None = None) -> Extent:
    if op[0] == "del":
        # Only `del ""` can add: a one digit document becomes {}.
        return Extent(0 if op[1] else len("{}"), 0)
    tokens = op[1].count("/")
    # Each token may become a member, and the value, which ends `set` and `ins`, brings its own.
    keys = tokens + count_keys(op[2] if len(op) > 2 else None)
    written = len(dump_json(op)) if written is None else written
    return Extent(written + _PER_TOKEN * tokens + _LONGEST_NUMBER, keys)

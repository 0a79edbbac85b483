"""Extents of documents: bytes of compact UTF-8 JSON, keys and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from session_mgmt.documents.limits import Extent, Growth
from session_mgmt.documents.operations import Op
from session_mgmt.documents.strict import dump_json
from session_mgmt.documents.values import JSON, bound_number

NOTHING: Final = Growth(0, 0)
# A created parent costs two quotes, a colon, a comma and two braces beside its key.
_PER_TOKEN: Final = 6
# A sum may have more digits than both of its numbers; no double has a longer text.
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
    """Return the size of a document, the number of its keys, and the greatest of its numbers."""
    return Extent(measure_size(value), count_keys(value), bound_number(value))


def bound_growth(ops: Sequence[Op], encoded: bytes | None = None) -> Growth:
    """Return an upper bound of what the operations add to any document; 0 or more. O(ops), without a document.

    ``encoded``: the operations as ``encode_ops`` writes them, if they are at hand: one alone need not be written again.
    """
    if encoded is not None and len(ops) == 1:
        return _bound_op_growth(ops[0], len(encoded) - len("[]"))
    growth = NOTHING
    for op in ops:
        growth = growth.join(_bound_op_growth(op))
    return growth


def _bound_op_growth(op: Op, written: int | None = None) -> Growth:
    if op[0] == "del":
        # Only `del ""` can add: a one digit document becomes {}.
        return Growth(0 if op[1] else len("{}"), 0)
    tokens, value = op[1].count("/"), op[2] if len(op) > 2 else None
    # Each token may become a member, and the value, which ends `set` and `ins`, brings its own.
    keys = tokens + count_keys(value)
    written = len(dump_json(op)) if written is None else written
    number = bound_number(value)
    added, number = (number, 0) if op[0] == "inc" else (0, number)
    return Growth(written + _PER_TOKEN * tokens + _LONGEST_NUMBER, keys, number, added)

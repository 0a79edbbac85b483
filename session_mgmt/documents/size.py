"""Sizes in bytes of compact UTF-8 JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from session_mgmt.documents.operations import Op
from session_mgmt.documents.strict import dump_json
from session_mgmt.documents.values import JSON

# A created parent costs two quotes, a colon, a comma and two braces beside its key.
_PER_TOKEN: Final = 6
_LONGEST_NUMBER: Final = 26


def measure_size(value: JSON) -> int:
    """Return the length of the compact UTF-8 JSON."""
    return len(dump_json(value))


def bound_growth(ops: Iterable[Op]) -> int:
    """Return an upper bound of the bytes that the operations add to any document; 0 or more. O(ops), without a
    document.
    """
    return sum(map(_bound_op_growth, ops))


def _bound_op_growth(op: Op) -> int:
    if op[0] == "del":
        # Only `del ""` can add: a one digit document becomes {}.
        return 0 if op[1] else len("{}")
    path: str = op[1]
    return len(dump_json(op)) + _PER_TOKEN * path.count("/") + _LONGEST_NUMBER

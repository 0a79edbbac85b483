"""JSON values in Python: equality, numbers, depth, and the missing value."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Final, TypeAlias

# Any instead of a recursive union: list and dict are invariant, so a union would refuse a caller's dict[str, int].
JSON: TypeAlias = Any

SAFE_INTEGER: Final = 2**53 - 1
# Stands for a number that may be larger than any integer that documents can hold.
BEYOND: Final = SAFE_INTEGER + 1
# From here on JavaScript prints an exponent. Below, it prints a large float as an integer, which would be refused.
_EXPONENT_FROM: Final = 1e21


class Missing(Enum):
    """Value of a path where nothing is; different from null."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


def is_number(value: JSON) -> bool:
    """Return True for int and float, but not for bool, although it is an int in Python."""
    kind = type(value)
    return kind is int or kind is float


def normalise_number(value: float) -> int | float | None:
    """Return the only representation of a number, or None if documents cannot hold it.

    Integral values are int (1.0 and 1 are the same, -0.0 is 0), others are float. None for NaN, infinities, and every
    number that JavaScript prints as an integer beyond 2^53-1.
    """
    if type(value) is int:
        return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else None
    if not math.isfinite(value):
        return None
    if value != math.floor(value):
        return value
    # A number has only one form, or equal documents would have different checksums.
    if -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return int(value)
    return value if abs(value) >= _EXPONENT_FROM else None


def bound_number(value: JSON) -> int:
    """Return the largest absolute value of the numbers in a value, rounded up; at most ``BEYOND``."""
    kind = type(value)
    if kind is int or kind is float:
        size = abs(value)
        return math.ceil(size) if size < BEYOND else BEYOND
    if kind is dict:
        return max(map(bound_number, value.values()), default=0)
    return max(map(bound_number, value), default=0) if kind is list else 0


def are_equal(a: JSON | Missing, b: JSON | Missing) -> bool:
    """Compare two values as JSON: true is not 1, 1 equals 1.0, the order of keys does not matter."""
    # Python's comparison is fast, and its only mistake is that true equals 1.
    return a is b or (bool(a == b) and _same_kinds(a, b))


def _same_kinds(a: JSON, b: JSON) -> bool:
    if a is b:
        return True
    if type(a) is dict:
        return all(_same_kinds(value, b[key]) for key, value in a.items())
    if type(a) is list:
        return all(map(_same_kinds, a, b))
    return (type(a) is bool) == (type(b) is bool)


def measure_depth(value: JSON) -> int:
    """Count the levels of nested containers: 0 for a scalar, 1 for `{}`. O(value), without recursion."""
    level: list[JSON] = [value] if isinstance(value, dict | list) else []
    deep = 0
    while level:
        deep += 1
        level = [child for node in level for child in _list_children(node) if isinstance(child, dict | list)]
    return deep


def _list_children(node: JSON) -> Any:
    return node.values() if isinstance(node, dict) else node

"""Filter of a topic by members of its publications: ``filter`` of PROTOCOL section 7."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from session_mgmt.exceptions import InvalidField

MOST_KEYS: Final = 5
MOST_VALUES: Final = 50
_TEXT_LIMIT = 200
# Not equal to any JSON value.
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Filter:
    """Members with the accepted values of each. Equal filters select the same publications."""

    terms: tuple[tuple[str, frozenset[Any]], ...]

    def matches(self, body: Any) -> bool:
        """Return True if a decoded publication is wanted; False if it lacks a member of the filter."""
        if not isinstance(body, dict):
            return False
        for key, values in self.terms:
            value = body.get(key, _ABSENT)
            # Arrays and objects never match, and cannot be looked up in a set.
            if isinstance(value, list | dict) or _make_comparable(value) not in values:
                return False
        return True


def read(value: Any, keys: Collection[str]) -> Filter:
    """Read a filter from a frame; only the keys that the topic declares are allowed. Raises ``InvalidField``."""
    if not isinstance(value, dict) or not 0 < len(value) <= MOST_KEYS:
        raise InvalidField(f"filter is an object of 1 to {MOST_KEYS} members and their values.", field="filter")
    if any(key not in keys for key in value):
        message = f"The keys of this topic are {', '.join(keys)}." if keys else "This topic has no keys to filter by."
        raise InvalidField(message, field="filter", allowed=list(keys))
    terms = tuple((key, _read_values(value[key])) for key in sorted(value))
    if sum(len(values) for _, values in terms) > MOST_VALUES:
        raise InvalidField(f"A filter has at most {MOST_VALUES} values.", field="filter")
    return Filter(terms)


def _read_values(wanted: Any) -> frozenset[Any]:
    given = wanted.get("in") if isinstance(wanted, dict) and len(wanted) == 1 else [wanted]
    if not isinstance(given, list) or not 0 < len(given) <= MOST_VALUES or not all(map(_is_value, given)):
        raise InvalidField(
            f'A member has one value or {{"in": […]}} with 1 to {MOST_VALUES}: texts of at most {_TEXT_LIMIT}'
            " characters, numbers, true, false or null.",
            field="filter",
        )
    return frozenset(map(_make_comparable, given))


def _is_value(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _TEXT_LIMIT)


def _make_comparable(value: Any) -> Any:
    # In Python, 1 equals true.
    return (value,) if isinstance(value, bool) else value

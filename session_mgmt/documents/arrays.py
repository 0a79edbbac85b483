"""Policies that merge two changed versions of an array. Without a policy (`atomic`) an array is one value."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from session_mgmt.documents import pointer
from session_mgmt.documents.keyed_places import find_item
from session_mgmt.documents.values import JSON, MISSING, Missing, are_equal

# Takes (index for reports, name of the key member, key, base, server, client); returns the merged item, or MISSING.
MergeItem: TypeAlias = Callable[[int, str, Any, JSON | Missing, JSON | Missing, JSON | Missing], JSON | Missing]
_ByKey: TypeAlias = dict[Hashable, JSON]

ATOMIC: Final = "atomic"
APPEND: Final = "append"
SET: Final = "set"
KEYED: Final = "keyed:"
_ANY: Final = "*"
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))


class ArrayPolicies:
    """Array policies by the pointer of the array. In a pattern, `*` matches any one token.

    `{"/log": "append", "/carts/*/tags": "set", "/items": "keyed:id"}`; the first matching pattern counts, else atomic.
    """

    def __init__(self, patterns: Mapping[str, str] | None = None) -> None:
        given = {} if patterns is None else patterns
        if not isinstance(given, Mapping) or not all(isinstance(pattern, str) for pattern in given):
            raise ValueError(f"Array policies are a dictionary by pointer, not {patterns!r}.")
        self._patterns = [(pointer.parse_pointer(pattern), policy) for pattern, policy in given.items()]
        for _, policy in self._patterns:
            is_keyed = isinstance(policy, str) and policy.startswith(KEYED) and policy != KEYED
            if not is_keyed and policy not in (ATOMIC, APPEND, SET):
                raise ValueError(f"An array policy is atomic, append, set or keyed:<field>, not {policy!r}.")

    @property
    def has_merged(self) -> bool:
        """Return True if a policy merges the items of any array."""
        return any(policy not in (ATOMIC, APPEND) for _, policy in self._patterns)

    def merges_items(self, path: str) -> bool:
        """Return True if the array's policy says which items are the same, so that no item may occur twice."""
        return bool(self._patterns) and self.find_policy(path) not in (ATOMIC, APPEND)

    def find_policy(self, path: str) -> str:
        tokens = pointer.parse_pointer(path)
        return next((policy for pattern, policy in self._patterns if _fits_pattern(pattern, tokens)), ATOMIC)


NO_POLICIES: Final = ArrayPolicies()


def find_same_item(policy: str, array: list[JSON], item: JSON) -> int | None:
    """Return the index of the item that is the same by the array's policy; None if there is none."""
    if policy == SET and type(item) in _SCALARS:
        return next((at for at, known in enumerate(array) if type(known) in _SCALARS and are_equal(known, item)), None)
    if policy.startswith(KEYED) and isinstance(item, dict):
        field = policy.removeprefix(KEYED)
        key = item.get(field)
        return find_item(array, field, key) if isinstance(key, str | int) and not isinstance(key, bool) else None
    return None


def merge_arrays(
    policy: str, base: JSON | Missing, server: list[JSON], client: list[JSON], item: MergeItem
) -> JSON | None:
    """Return the merged array; None if the policy does not fit these arrays, which then count as one value each.

    A base that is not an array counts as an empty array.
    """
    before = base if isinstance(base, list) else []
    if policy == APPEND:
        return _merge_appended(before, server, client)
    if policy == SET:
        return _merge_sets(before, server, client)
    if policy.startswith(KEYED):
        return _merge_keyed(policy.removeprefix(KEYED), (before, server, client), item)
    return None


def _fits_pattern(pattern: tuple[str, ...], tokens: tuple[str, ...]) -> bool:
    if len(pattern) != len(tokens):
        return False
    return all(wanted in (_ANY, token) for wanted, token in zip(pattern, tokens, strict=True))


def _merge_appended(base: list[JSON], server: list[JSON], client: list[JSON]) -> list[JSON] | None:
    known = len(base)
    # One side has changed the old items too, so this is not an append.
    if not are_equal(server[:known], base) or not are_equal(client[:known], base):
        return None
    return server + client[known:]


def _merge_sets(base: list[JSON], server: list[JSON], client: list[JSON]) -> list[JSON] | None:
    """Keep the additions and removals of both sides, in the order of the server."""
    # Containers cannot be compared cheaply enough to be members of a set.
    if any(not _SCALARS.issuperset(map(type, side)) for side in (base, server, client)):
        return None
    known, theirs, mine = (_index_by_kind(side) for side in (base, server, client))
    # An item of the base that the client lacks was removed by the client; it could not remove what the server has
    # added.
    kept = [value for text, value in theirs.items() if text in mine or text not in known]
    return kept + [value for text, value in mine.items() if text not in known and text not in theirs]


def _index_by_kind(scalars: list[JSON]) -> dict[Hashable, JSON]:
    # The values alone cannot be keys, because true equals 1. Numbers have only one form, so their type does not matter.
    return {(value.__class__ is bool, value): value for value in scalars}


def _merge_keyed(field: str, sides: tuple[list[JSON], list[JSON], list[JSON]], item: MergeItem) -> list[JSON] | None:
    base, server, client = (_index_by_key(field, side) for side in sides)
    if base is None or server is None or client is None:
        return None
    # If both sides have an item, use the server's index, because a function of the project receives places in the
    # document as it is now.
    places = {key: at for side in (client, server) for at, key in enumerate(side)}
    values = {
        key: item(at, field, key, base.get(key, MISSING), server.get(key, MISSING), client.get(key, MISSING))
        for key, at in places.items()
    }
    surviving = {key: value for key, value in values.items() if value is not MISSING}
    return [surviving[key] for key in _order_keys(list(base), list(server), list(client), surviving)]


def _index_by_key(field: str, items: list[JSON]) -> _ByKey | None:
    """Return the items by their key; None if a key is missing, not a string or integer, or not unique."""
    found: _ByKey = {}
    for value in items:
        key = value.get(field) if isinstance(value, dict) else None
        # Not `isinstance`, because true would be the key 1. If a key is not unique, nobody can know which item is
        # meant.
        if type(key) not in (str, int) or key in found:
            return None
        found[key] = value
    return found


def _order_keys(
    base: list[Hashable], server: list[Hashable], client: list[Hashable], surviving: Iterable[Hashable]
) -> Iterator[Hashable]:
    """Yield the keys in the server's order, unless only the client changed the order; new keys follow
    their neighbour.
    """
    alive = set(surviving)
    common = set(base) & set(server) & set(client)
    orders = [[key for key in side if key in common] for side in (base, server, client)]
    # Compare only common items, because an added or removed item does not change the order of the others.
    first, second = (client, server) if orders[0] == orders[1] != orders[2] else (server, client)
    leading = [key for key in first if key in alive]
    return _interleave_keys(leading, [key for key in second if key in alive])


def _interleave_keys(leading: list[Hashable], other: list[Hashable]) -> Iterator[Hashable]:
    placed = set(leading)
    followers: dict[Hashable, list[Hashable]] = {}
    neighbour: Hashable = None
    for key in other:
        if key in placed:
            neighbour = key
        else:
            followers.setdefault(neighbour, []).append(key)
    yield from followers.get(None, ())
    for key in leading:
        yield key
        yield from followers.get(key, ())

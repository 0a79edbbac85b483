"""Places where two changes conflict only for some kinds of values.

Touched paths are not enough: two appends commute in an array, but overwrite each other in an object; and an operation
that makes a place an object disturbs changes inside it only if it was an array. Such changes have marks, which
``find_places`` compares; the document itself decides the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from session_mgmt.documents import pointer, veil
from session_mgmt.documents.arrays import ATOMIC, KEYED, ArrayPolicies
from session_mgmt.documents.pointer import APPENDED, ITEM, OBJECT
from session_mgmt.documents.values import JSON

_MARKS: Final = (APPENDED, OBJECT, ITEM)
# Pairs of marks at one place that must be examined.
_MEETINGS: Final = frozenset({(APPENDED, APPENDED), (OBJECT, ITEM), (ITEM, OBJECT)})


@dataclass(frozen=True, slots=True)
class Place:
    """Place where two changes meet: either both append there, or one makes it an object."""

    path: str
    is_append: bool


@dataclass(frozen=True, slots=True)
class Kinds:
    """Kinds of values at places: arrays before or after the changes of others, objects after them."""

    arrays: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()

    def is_contested(self, place: Place) -> bool:
        """Return True if the two changes at this place exclude each other."""
        return place.path in (self.objects if place.is_append else self.arrays)


def find_places(mine: Iterable[str], theirs: Iterable[str]) -> set[Place]:
    """Find the places where the marks of both sides meet. O(n + m)."""
    marks: dict[str, set[str]] = {}
    for path in theirs:
        if path[:1] in _MARKS:
            marks.setdefault(path[1:], set()).add(path[0])
    return {
        Place(path[1:], path[0] == APPENDED)
        for path in mine
        if path[:1] in _MARKS and any((path[0], mark) in _MEETINGS for mark in marks.get(path[1:], ()))
    }


def read_kinds(places: Iterable[Place], before: JSON, after: JSON) -> Kinds:
    """Read the values at the places, in the document before and after the changes of others."""
    arrays, objects = set(), set()
    for place in places:
        values = pointer.find_value(before, place.path), pointer.find_value(after, place.path)
        if any(isinstance(value, list) for value in values):
            arrays.add(place.path)
        if isinstance(values[1], dict):
            objects.add(place.path)
    return Kinds(frozenset(arrays), frozenset(objects))


def list_merged_arrays(places: Iterable[Place], policies: ArrayPolicies) -> set[str]:
    """List the arrays of appends in which the policy merges items, because the same item may not occur twice."""
    return {place.path for place in places if place.is_append and policies.merges_items(place.path)}


def list_rekeyed(mine: Iterable[str], theirs: Iterable[str], policies: ArrayPolicies) -> set[str]:
    """List the merged arrays in which both sides have replaced whole items or keys, so two items may be
    the same now.
    """
    # Most projects have no such policy, and need no look at the paths.
    if not policies.has_merged:
        return set()
    # Only if both sides have done so: one side alone cannot make two items the same.
    return _list_replaced_items(mine, policies) & _list_replaced_items(theirs, policies)


def _list_replaced_items(paths: Iterable[str], policies: ArrayPolicies) -> set[str]:
    """List the merged arrays of which a whole item or a key is touched. A hidden token may be any index or key."""
    found = set()
    for path in paths:
        if path[:1] != "/":
            continue
        item = pointer.parent_of(path)
        array, token = pointer.parent_of(item), pointer.parse_pointer(path)[-1]
        is_hidden = veil.may_be_hidden(token)
        if policies.merges_items(item) and (is_hidden or pointer.parse_index(token) is not None):
            found.add(item)
        policy = policies.find_policy(array) if item else ATOMIC
        if policy.startswith(KEYED) and (is_hidden or policy == KEYED + token):
            found.add(array)
    return found


def list_contested(
    mine: Iterable[str], theirs: Iterable[str], before: JSON, after: JSON, policies: ArrayPolicies
) -> set[str]:
    """List the places where two changes conflict, using the document."""
    found = list_rekeyed(mine, theirs, policies)
    places = find_places(mine, theirs)
    if not places:
        return found
    kinds = read_kinds(places, before, after)
    return found | list_merged_arrays(places, policies) | {place.path for place in places if kinds.is_contested(place)}

"""Places where two changes commute or not, depending on the kind of value that is there.

Touched paths alone do not tell it: two appends commute in an array and overwrite each other as members of an object,
and making a place an object disturbs those who work inside it only if it was an array. So such changes leave marks,
which ``find_places`` compares; the document itself decides the rest.
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
# Marks of two changes at one place that are to be looked at.
_MEETINGS: Final = frozenset({(APPENDED, APPENDED), (OBJECT, ITEM), (ITEM, OBJECT)})


@dataclass(frozen=True, slots=True)
class Place:
    """Place where two changes meet; both have appended there, or else one has made it an object."""

    path: str
    is_append: bool


@dataclass(frozen=True, slots=True)
class Kinds:
    """Kinds of values at places: arrays before or after the changes of others, and objects after them."""

    arrays: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()

    def is_contested(self, place: Place) -> bool:
        """Tell whether two changes of this place exclude each other."""
        return place.path in (self.objects if place.is_append else self.arrays)


def find_places(mine: Iterable[str], theirs: Iterable[str]) -> set[Place]:
    """Find the places where marks meet. O(n + m)."""
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
    """Look the places up in the document before and after the changes of others."""
    arrays, objects = set(), set()
    for place in places:
        values = pointer.find_value(before, place.path), pointer.find_value(after, place.path)
        if any(isinstance(value, list) for value in values):
            arrays.add(place.path)
        if isinstance(values[1], dict):
            objects.add(place.path)
    return Kinds(frozenset(arrays), frozenset(objects))


def list_merged_arrays(places: Iterable[Place], policies: ArrayPolicies) -> set[str]:
    """List the places of appends whose items the project's policy merges: the same item may not come twice."""
    return {place.path for place in places if place.is_append and policies.merges_items(place.path)}


def list_rekeyed(mine: Iterable[str], theirs: Iterable[str], policies: ArrayPolicies) -> set[str]:
    """List the merged arrays in which both changes have replaced whole items or keys: two items may be one now."""
    # Most projects merge no arrays by their items, and for them no path has to be looked at.
    if not policies.has_merged:
        return set()
    # Only where both have done so: a change of one side alone cannot make two items one.
    return _list_replaced_items(mine, policies) & _list_replaced_items(theirs, policies)


def _list_replaced_items(paths: Iterable[str], policies: ArrayPolicies) -> set[str]:
    """List the merged arrays of which a whole item or a key is touched; a hidden token may be any index or key."""
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
    """List the places that two changes contest, with the document at hand."""
    found = list_rekeyed(mine, theirs, policies)
    places = find_places(mine, theirs)
    if not places:
        return found
    kinds = read_kinds(places, before, after)
    return found | list_merged_arrays(places, policies) | {place.path for place in places if kinds.is_contested(place)}

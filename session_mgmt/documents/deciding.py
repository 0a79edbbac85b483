"""Resolution of a conflict in the current document. Pure, so that another process can handle large documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from session_mgmt.documents import operations, pointer, rebuild, replaced, size, touched
from session_mgmt.documents.keyed_places import KeyedPlace
from session_mgmt.documents.limits import Extent, Growth, Limits
from session_mgmt.documents.merge import Value
from session_mgmt.documents.operations import Op
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.strict import check_value
from session_mgmt.documents.values import JSON, MISSING, are_equal

MOVED: Final = "The array has changed since."
CHANGED: Final = "The value has changed since."


@dataclass(frozen=True, slots=True)
class Decision:
    """Value to write at a place, MISSING to remove it.

    ``server`` is the value at the time of the conflict. ``seen`` is the digest of the value that the person who decided
    has seen. ``limits`` apply to a value that was not in the document before.
    """

    place: KeyedPlace
    server: Value
    value: Value
    seen: str | None = None
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """Operations of a decision, with the exact extent of their result; ``refusal`` says why there are none."""

    path: str
    refusal: str = ""
    ops: bytes = b"[]"
    paths: tuple[str, ...] = ()
    growth: Growth = size.NOTHING
    size: Extent | None = None


def find_paths(parts: Parts, places: Sequence[KeyedPlace]) -> list[str]:
    """Return the present pointer of each place; its old pointer if an item on the way was removed."""
    document = rebuild.build_value(parts)
    return [place.find_path(document) or place.path for place in places]


def carry_out(parts: Parts, decision: Decision) -> Decided:
    """Return the operations of a decision. Raises a DocumentError."""
    document, place = rebuild.build_value(parts), decision.place
    found = place.find_path(document)
    path = place.path if found is None else found
    # A keyed place is found wherever its item is now; a plain index may point to another item by now.
    if not place.keys and _is_moved(document, path, decision.server):
        return Decided(path, MOVED)
    if found is not None and decision.seen is not None and decision.seen != _digest_value_at(document, path):
        return Decided(path, CHANGED)
    value = decision.value
    # A value that was in the document before has been checked already, maybe with wider limits.
    if value is not MISSING and decision.limits is not None:
        value = check_value(value, decision.limits, path.count("/"))
    ops = _make_ops(place, found, document, value)
    result = operations.apply_ops(document, ops)
    return Decided(
        path,
        ops=operations.encode_ops(ops),
        # Without paths no version is made: the conflict is closed, and the document stays as it is.
        paths=() if are_equal(result, document) else touched.list_stored_paths(ops),
        growth=size.bound_growth(ops),
        size=size.measure_extent(result),
    )


def _is_moved(document: JSON, path: str, server: Value) -> bool:
    """Return True if a place below an array's index may belong to another item by now."""
    inside = any(isinstance(pointer.find_value(document, above), list) for above in pointer.iter_ancestors(path))
    return inside and not are_equal(pointer.find_value(document, path), server)


def _digest_value_at(document: JSON, path: str) -> str:
    return replaced.digest_value(pointer.find_value(document, path)) or ""


def _make_ops(place: KeyedPlace, path: str | None, document: JSON, value: Value) -> tuple[Op, ...]:
    if path is not None:
        return (("del", path),) if value is MISSING else (("set", path, value),)
    array = place.find_array(document)
    # A removed item is added again at the end. Inside a removed item nothing can be written.
    return () if array is None or value is MISSING else (("ins", f"{array}/-", value),)

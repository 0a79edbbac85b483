"""Turns what clients send into total operations: their own, RFC 6902, RFC 7396, or a whole document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from session_mgmt.documents import operations, pointer
from session_mgmt.documents.errors import InvalidPatch
from session_mgmt.documents.json_patch import from_json_patch
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.operations import Op
from session_mgmt.documents.strict import check
from session_mgmt.documents.values import JSON, MISSING, Missing

__all__ = ["Kind", "from_json_patch", "from_merge", "from_replace", "is_blind", "normalise"]

Kind: TypeAlias = Literal["ops", "patch", "merge", "replace"]

_BLIND: Final = frozenset({"ops", "merge", "replace"})


def is_blind(kind: str) -> bool:
    """True when a change of this kind needs no document; an RFC 6902 patch may fail, so it needs the head."""
    return kind in _BLIND


def normalise(kind: str, body: JSON, head: JSON | Missing, limits: Limits) -> tuple[Op, ...]:
    """The total operations of a change, checked against `limits`; `head` may be MISSING for blind kinds.

    A merge counts as one operation against `limits.ops`, whatever number of members it sets. Raises a DocumentError.
    """
    if kind == "ops":
        return operations.validate(body, limits)
    if kind == "merge":
        return operations.validate(from_merge(check(body, limits)), _roomy(limits))
    if kind == "replace":
        return from_replace(check(body, limits))
    if kind != "patch":
        raise InvalidPatch("A change is ops, patch, merge or replace.")
    if head is MISSING:
        raise InvalidPatch("A JSON Patch is applied to a document.")
    # One RFC 6902 operation becomes at most two total ones (move).
    return operations.validate(from_json_patch(body, head, limits), _roomy(limits))


def from_replace(data: JSON) -> tuple[Op, ...]:
    """The whole document becomes `data`."""
    return (("set", "", data),)


def from_merge(merge: JSON) -> tuple[Op, ...]:
    """An RFC 7396 merge patch, without knowing its target: the result is right for every document.

    Each object of the patch becomes `obj` (what is no object there is replaced by one) before its members.
    """
    return tuple(_merged(merge, ""))


def _merged(value: JSON, path: str) -> Iterator[Op]:
    if not isinstance(value, dict):
        yield ("set", path, value)
        return
    yield ("obj", path)
    for key, item in value.items():
        inner = pointer.child(path, key)
        if item is None:
            yield ("del", inner)
        else:
            yield from _merged(item, inner)


def _roomy(limits: Limits) -> Limits:
    # The sender's own operations were counted; what they expand to is bounded by keys and bytes.
    return replace(limits, ops=max(2 * limits.ops, 2 * limits.keys + 1))

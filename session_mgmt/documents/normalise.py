"""Translate changes from clients into total operations: total operations, RFC 6902, RFC 7396, or whole documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from session_mgmt.documents import operations, pointer
from session_mgmt.documents.errors import InvalidPatch
from session_mgmt.documents.json_patch import translate_json_patch
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.operations import Op
from session_mgmt.documents.strict import check_value
from session_mgmt.documents.values import JSON, MISSING, Missing

__all__ = ["Kind", "is_blind", "make_merge_ops", "make_ops", "make_replace_ops", "translate_json_patch"]

Kind: TypeAlias = Literal["ops", "patch", "merge", "replace"]

_BLIND: Final = frozenset({"ops", "merge", "replace"})


def is_blind(kind: str) -> bool:
    """Return True if a change of this kind needs no document; an RFC 6902 patch may fail, so it needs one."""
    return kind in _BLIND


def make_ops(kind: str, body: JSON, head: JSON | Missing, limits: Limits) -> tuple[Op, ...]:
    """Return the total operations of a change, checked against `limits`; `head` may be MISSING for blind kinds.

    A merge counts as one operation against `limits.ops`, however many members it sets. Raises a DocumentError.
    """
    if kind == "ops":
        return operations.validate_ops(body, limits)
    if kind == "merge":
        # Check the result too, because the path of a deeply nested member has its own limits.
        return operations.check_made_ops(make_merge_ops(check_value(body, limits)), _widen_op_limit(limits))
    if kind == "replace":
        return make_replace_ops(check_value(body, limits))
    if kind != "patch":
        raise InvalidPatch("A change is ops, patch, merge or replace.")
    if head is MISSING:
        raise InvalidPatch("A JSON Patch is applied to a document.")
    # One RFC 6902 operation becomes at most two total ones (move).
    return operations.check_made_ops(translate_json_patch(body, head, limits), _widen_op_limit(limits))


def make_replace_ops(data: JSON) -> tuple[Op, ...]:
    """Return operations that replace the whole document by `data`."""
    return (("set", "", data),)


def make_merge_ops(merge: JSON) -> tuple[Op, ...]:
    """Translate an RFC 7396 merge patch without its target; the result is right for every document.

    Each object of the patch becomes an `obj` (which replaces anything but an object), followed by its members.
    """
    return tuple(_walk_merge(merge, ""))


def _walk_merge(value: JSON, path: str) -> Iterator[Op]:
    if not isinstance(value, dict):
        yield ("set", path, value)
        return
    # Before its members: if the target is not an object, RFC 7396 starts with an empty one.
    yield ("obj", path)
    for key, item in value.items():
        inner = pointer.join_token(path, key)
        # RFC 7396 section 2: null removes a member, so a merge patch cannot set null.
        if item is None:
            yield ("del", inner)
        else:
            yield from _walk_merge(item, inner)


def _widen_op_limit(limits: Limits) -> Limits:
    # The sender's own operations were counted already; keys and bytes limit their expansion.
    return replace(limits, ops=max(2 * limits.ops, 2 * limits.keys + 1))

"""The total operations: applied to any JSON document, in any order, they never fail and always agree.

Whatever was acknowledged can be applied, so a revision is accepted from the log alone, without its document. Wire form
is a list; paths are RFC 6901 pointers:

    ["set", path, value]    put a value
    ["del", path]           take it away
    ["ins", path, value]    insert into an array, later items move up
    ["inc", path, number]   add to a number
    ["obj", path]           make it an object, unless it is one

Way down: an object is entered by key, an array by the index (RFC 6901 section 4) of an item it has; any other token on
an array makes the whole operation do nothing. A missing or scalar value on the way becomes `{}`; for `del` it means
that there is nothing to do.

At the last token, `-` first makes an array of a missing or scalar value (but not for `del`). Then, on an object:
`set` and `ins` put the value, `inc` and `obj` a value computed from the old one. On an array: an index that exists is
replaced, the index just behind the end or `-` appends, any other token does nothing; `ins` moves later items up
instead of replacing; `del` takes an item that exists out.

At the root (path `""`): `set` and `ins` replace the document, `del` makes it `{}`.

`inc` on anything but a number (missing, text, true) gives the amount itself; it does nothing when documents
cannot carry the sum (`values.normalise_number`). Sums are normalised: 1.5 + 0.5 is the integer 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

import orjson

from session_mgmt.documents import pointer
from session_mgmt.documents.errors import InvalidPatch, TooDeep, TooManyOps, UnreadableBody
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.strict import check_key, check_number, check_value, dump_json
from session_mgmt.documents.values import JSON, MISSING, Missing, is_number, normalise_number

Op: TypeAlias = tuple[Any, ...]

END: Final = "-"
# Members of the wire form by operation.
_LENGTHS: Final = {"set": 3, "del": 2, "ins": 3, "inc": 3, "obj": 2}

# Containers made during one `apply`: nobody else sees them, so later operations may write into them. Keyed by id, and
# holding the container, so that its id cannot pass to another one.
_Owned: TypeAlias = dict[int, JSON]


class _Outcome(Enum):
    NOTHING = "nothing"


_NOTHING: Final = _Outcome.NOTHING


def apply_ops(document: JSON, ops: Iterable[Sequence[Any]]) -> JSON:
    """Return the document after the operations. The input stays as it is; unchanged parts are shared with it.

    Each operation costs its depth and the siblings on its path. An operation that does nothing copies nothing.
    """
    owned: _Owned = {}
    for op in ops:
        changed = _apply_one(document, op, owned)
        if changed is not _NOTHING:
            document = changed
    return document


def validate_ops(ops: JSON, limits: Limits) -> tuple[Op, ...]:
    """Return operations from outside in normal form. Raises a DocumentError.

    A path and its value together stay within `limits.depth`, so no document can grow deeper by operations.
    """
    if not isinstance(ops, list | tuple):
        raise InvalidPatch("Operations come as a list.")
    if len(ops) > limits.ops:
        raise TooManyOps(f"More than {limits.ops} operations.")
    return tuple(_validate_op(op, limits) for op in ops)


def encode_ops(ops: Iterable[Op]) -> bytes:
    """Return the wire form as compact JSON."""
    return dump_json(tuple(ops))


def decode_ops(data: bytes) -> tuple[Op, ...]:
    """Return operations that `encode_ops` wrote. Raises UnreadableBody."""
    try:
        return tuple(map(tuple, orjson.loads(data)))
    except (orjson.JSONDecodeError, TypeError) as error:
        raise UnreadableBody("Stored operations cannot be read.") from error


def _validate_op(op: JSON, limits: Limits) -> Op:
    if not isinstance(op, list | tuple) or not op or not isinstance(op[0], str):
        raise InvalidPatch("An operation is a list that starts with its name.")
    if _LENGTHS.get(op[0]) != len(op) or not isinstance(op[1], str):
        raise InvalidPatch("An operation is set, del, ins, inc or obj with its path and, but for del and obj, a value.")
    tokens = pointer.parse_pointer(op[1])
    if len(tokens) > limits.depth:
        raise TooDeep(f"A path is deeper than {limits.depth}.")
    for token in tokens:
        check_key(token, limits)
    if op[0] == "inc":
        return (op[0], op[1], _check_amount(op[2]))
    return (op[0], op[1], check_value(op[2], limits, len(tokens))) if len(op) > 2 else (op[0], op[1])


def _check_amount(value: JSON) -> int | float:
    if not is_number(value):
        raise InvalidPatch("The amount of inc is a number.")
    return check_number(value)


def _apply_one(root: JSON, op: Sequence[Any], owned: _Owned) -> JSON | _Outcome:
    name, argument = op[0], op[2] if len(op) > 2 else None
    if not op[1]:
        return {} if name == "del" else _new_value(name, root, argument)
    *way, last = pointer.parse_pointer(op[1])
    parents: list[JSON] = []
    node = root
    for token in way:
        parents.append(node)
        node = _enter(node, token)
        if node is _NOTHING:
            return _NOTHING
    changed = _remove_last(node, last, owned) if name == "del" else _put_last(node, last, name, argument, owned)
    if changed is _NOTHING:
        return _NOTHING
    while parents:
        changed = _with_member(parents.pop(), way.pop(), changed, owned)
    return changed


def _enter(node: JSON, token: str) -> JSON | Missing | _Outcome:
    if type(node) is dict:
        return node.get(token, MISSING)
    if type(node) is list:
        at = pointer.parse_index(token)
        return node[at] if at is not None and at < len(node) else _NOTHING
    return MISSING


def _put_last(node: JSON, token: str, name: str, argument: JSON, owned: _Owned) -> JSON | _Outcome:
    if type(node) is list:
        return _put_item(node, token, name, argument, owned)
    if token == END and type(node) is not dict:
        return _put_item(_own_container([], owned), token, name, argument, owned)
    old = node.get(token, MISSING) if type(node) is dict else MISSING
    value = _new_value(name, old, argument)
    return value if value is _NOTHING else _with_member(node, token, value, owned)


def _put_item(node: list[JSON], token: str, name: str, argument: JSON, owned: _Owned) -> JSON | _Outcome:
    at = len(node) if token == END else pointer.parse_index(token)
    if at is None or at > len(node):
        return _NOTHING
    value = _new_value(name, node[at] if at < len(node) else MISSING, argument)
    if value is _NOTHING:
        return _NOTHING
    items = _own_container(node, owned)
    if name == "ins" or at == len(node):
        items.insert(at, value)
    else:
        items[at] = value
    return items


def _new_value(name: str, old: JSON | Missing, argument: JSON) -> JSON | _Outcome:
    if name == "inc":
        total = normalise_number(old + argument) if is_number(old) else argument
        return _NOTHING if total is None else total
    if name == "obj":
        return _NOTHING if type(old) is dict else {}
    return argument


def _remove_last(node: JSON, token: str, owned: _Owned) -> JSON | _Outcome:
    if type(node) is dict and token in node:
        members = _own_container(node, owned)
        del members[token]
        return members
    at = pointer.parse_index(token) if type(node) is list else None
    if at is None or at >= len(node):
        return _NOTHING
    items = _own_container(node, owned)
    del items[at]
    return items


def _with_member(node: JSON, token: str, value: JSON, owned: _Owned) -> JSON:
    if type(node) is list:
        items = _own_container(node, owned)
        items[int(token)] = value
        return items
    members = _own_container(node if type(node) is dict else {}, owned)
    members[token] = value
    return members


def _own_container(node: JSON, owned: _Owned) -> JSON:
    if id(node) in owned:
        return node
    copied = node.copy()
    owned[id(copied)] = copied
    return copied

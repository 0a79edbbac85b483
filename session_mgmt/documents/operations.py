"""Total operations: applied to any JSON document, in any order, they never fail, and give the same result everywhere.

So a revision can be accepted by its log alone, without the document: every acknowledged operation can be applied. In
frames an operation is a list; paths are RFC 6901 pointers:

    ["set", path, value]    write a value
    ["del", path]           remove it
    ["ins", path, value]    insert into an array; later items move up
    ["inc", path, number]   add to a number
    ["obj", path]           make it an object, unless it is one

On the way, a token is a key of an object, or the index (RFC 6901 section 4) of an existing item of an array; any
other token on an array makes the whole operation do nothing. A missing or scalar value on the way becomes `{}`, but
`del` then does nothing.

At the last token, `-` first makes an array of a missing or scalar value (but not for `del`). On an object, `set` and
`ins` write the value; `inc` and `obj` write a value computed from the old one. On an array, an existing index is
replaced, and `-` or the index just after the end appends; any other token does nothing. `ins` moves later items up
instead of replacing, and `del` removes an existing item.

At the root (path `""`): `set` and `ins` replace the document, `del` makes it `{}`.

`inc` on anything but a number (missing, text, true) writes the amount itself. It does nothing if documents cannot
hold the sum (`values.normalise_number`). Sums are normalised: 1.5 + 0.5 is the integer 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import orjson

from session_mgmt.documents import pointer
from session_mgmt.documents.editor import Editor
from session_mgmt.documents.errors import DocumentError, InvalidPatch, TooDeep, TooManyOps, UnreadableBody
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.strict import check_key, check_number, check_value, dump_json
from session_mgmt.documents.values import JSON, is_number

Op: TypeAlias = tuple[Any, ...]

# Length of the list in frames, by operation.
_LENGTHS: Final = {"set": 3, "del": 2, "ins": 3, "inc": 3, "obj": 2}


def apply_ops(document: JSON, ops: Iterable[Sequence[Any]]) -> JSON:
    """Return the document after the operations. The input does not change; unchanged parts are shared with it.

    Each container that is changed is copied once.
    """
    return apply_and_list_dropped(document, ops)[0]


def apply_and_list_dropped(document: JSON, ops: Iterable[Sequence[Any]]) -> tuple[JSON, tuple[str, ...]]:
    """Return the document like `apply_ops`, and the path of each `inc` whose sum it cannot hold."""
    editor = Editor(document)
    editor.apply(ops)
    return editor.document, tuple(editor.dropped)


def validate_ops(ops: JSON, limits: Limits) -> tuple[Op, ...]:
    """Return operations from outside in their normal form. Raises a DocumentError.

    A path and its value together stay within `limits.depth`, so no document can grow deeper by operations.
    """
    if not isinstance(ops, list | tuple):
        raise InvalidPatch("Operations come as a list.")
    if len(ops) > limits.ops:
        raise TooManyOps(f"More than {limits.ops} operations.")
    done: list[Op] = []
    try:
        for op in ops:
            done.append(_validate_op(op, limits))
    except DocumentError as error:
        error.add_step(len(done))
        raise
    return tuple(done)


def check_made_ops(ops: Sequence[Op], limits: Limits) -> tuple[Op, ...]:
    """Check operations that were made from another form of a change. Raises a DocumentError without a place, because
    the author of the change does not know these operations.
    """
    if len(ops) > limits.ops:
        raise TooManyOps(f"More than {limits.ops} operations.")
    return tuple(_validate_op(op, limits) for op in ops)


def encode_ops(ops: Iterable[Op]) -> bytes:
    """Return the operations in the form of frames, as compact JSON."""
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
        raise InvalidPatch("An operation is [name, path, value] with set, ins or inc, or [name, path] with del or obj.")
    tokens = pointer.parse_pointer(op[1])
    if len(tokens) > limits.depth:
        raise TooDeep(f"A path is deeper than {limits.depth}.")
    # A path creates keys on its way, so the same rules apply to its tokens.
    for token in tokens:
        check_key(token, limits)
    if op[0] == "inc":
        return (op[0], op[1], _check_amount(op[2]))
    return (op[0], op[1], _check_operand(op[2], limits, len(tokens))) if len(op) > 2 else (op[0], op[1])


def _check_operand(value: JSON, limits: Limits, inside: int) -> JSON:
    try:
        return check_value(value, limits, inside)
    except DocumentError as error:
        error.add_step(2)
        raise


def _check_amount(value: JSON) -> int | float:
    if not is_number(value):
        raise InvalidPatch("The amount of inc is a number.")
    return check_number(value)

"""RFC 6902: strict, atomic, against a known document, turned into total operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from session_mgmt.documents import operations, pointer
from session_mgmt.documents.errors import DocumentTooLarge, InvalidPatch, PatchFailed, TooDeep, TooManyOps
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.operations import END, Op
from session_mgmt.documents.strict import check, dumps
from session_mgmt.documents.values import JSON, MISSING, Missing, depth, equal


def from_json_patch(ops: JSON, head: JSON, limits: Limits) -> tuple[Op, ...]:
    """The total operations with the effect of the patch on `head`.

    `test` is exact (true is not 1, 1 equals 1.0) and leaves nothing behind; `copy` and `move` become their values, each
    charged with its size while applying, so that 700 bytes of copies cannot become 67 MB. Raises InvalidPatch
    (malformed), InvalidPath, PatchFailed (does not apply here), DocumentTooLarge or another DocumentError.
    """
    if not isinstance(ops, list | tuple):
        raise InvalidPatch("A JSON Patch is a list of operations.")
    if len(ops) > limits.ops:
        raise TooManyOps(f"More than {limits.ops} operations.")
    patching = _Patching(head, limits)
    for op in ops:
        patching.step(op)
    return tuple(patching.done)


class _Patching:
    """A document being patched, and the total operations so far."""

    def __init__(self, document: JSON, limits: Limits) -> None:
        self.done: list[Op] = []
        self._document = document
        self._limits = limits
        self._charged = 0

    def step(self, op: JSON) -> None:
        if not isinstance(op, dict):
            raise InvalidPatch("An operation of a JSON Patch is an object.")
        name = op.get("op")
        handler = _HANDLERS.get(name) if isinstance(name, str) else None
        if handler is None:
            raise InvalidPatch("The op of a JSON Patch is add, remove, replace, move, copy or test.")
        handler(self, op)

    def add(self, op: dict[str, Any]) -> None:
        self._add(_member_path(op, "path"), self._value(op))

    def remove(self, op: dict[str, Any]) -> None:
        path = _member_path(op, "path")
        self._existing(path)
        self._remove(path)

    def replace(self, op: dict[str, Any]) -> None:
        path = _member_path(op, "path")
        self._existing(path)
        self._emit(("set", path, self._value(op)))

    def move(self, op: dict[str, Any]) -> None:
        source, target = _member_path(op, "from"), _member_path(op, "path")
        if target.startswith(f"{source}/"):
            raise PatchFailed("A value cannot be moved into itself.")
        value = self._existing(source)
        if source == target:
            return
        self._charge(value, target)
        self._remove(source)
        self._add(target, value)

    def copy(self, op: dict[str, Any]) -> None:
        source, target = _member_path(op, "from"), _member_path(op, "path")
        value = self._existing(source)
        self._charge(value, target)
        self._add(target, value)

    def test(self, op: dict[str, Any]) -> None:
        path = _member_path(op, "path")
        if not equal(self._existing(path), self._value(op)):
            raise PatchFailed("A test of the patch failed.")

    def _value(self, op: dict[str, Any]) -> JSON:
        if "value" not in op:
            raise InvalidPatch("An operation of a JSON Patch lacks its value.")
        return check(op["value"], self._limits)

    def _add(self, path: str, value: JSON) -> None:
        if not path:
            self._emit(("set", path, value))
            return
        parent = self._existing(pointer.parent(path))
        token = pointer.parse(path)[-1]
        if isinstance(parent, dict):
            self._emit(("set", path, value))
            return
        at = _position(parent, token)
        if at is None or at > len(parent):
            raise PatchFailed("The target of an operation does not exist.")
        self._emit(("ins", path, value))

    def _remove(self, path: str) -> None:
        if not path:
            raise PatchFailed("The root cannot be removed.")
        self._emit(("del", path))

    def _existing(self, path: str) -> JSON:
        found = lookup(self._document, path)
        if found is MISSING:
            raise PatchFailed("The target of an operation does not exist.")
        return found

    def _charge(self, value: JSON, target: str) -> None:
        # Depth first: values copied into themselves soon are deeper than the writer goes.
        if depth(value) + target.count("/") > self._limits.depth:
            raise TooDeep(f"The value is nested deeper than {self._limits.depth}.")
        self._charged += len(dumps(value))
        if self._charged > self._limits.document_bytes:
            raise DocumentTooLarge(f"Copies expand to more than {self._limits.document_bytes} bytes.")

    def _emit(self, op: Op) -> None:
        self._document = operations.apply(self._document, (op,))
        self.done.append(op)


_HANDLERS: Final[dict[str, Callable[[_Patching, dict[str, Any]], None]]] = {
    "add": _Patching.add,
    "remove": _Patching.remove,
    "replace": _Patching.replace,
    "move": _Patching.move,
    "copy": _Patching.copy,
    "test": _Patching.test,
}


def lookup(document: JSON, path: str) -> JSON | Missing:
    """The value at a pointer, or MISSING."""
    node = document
    for token in pointer.parse(path):
        if isinstance(node, dict):
            node = node.get(token, MISSING)
        elif isinstance(node, list):
            at = pointer.index(token)
            node = node[at] if at is not None and at < len(node) else MISSING
        else:
            return MISSING
    return node


def _position(parent: JSON, token: str) -> int | None:
    if not isinstance(parent, list):
        return None
    return len(parent) if token == END else pointer.index(token)


def _member_path(op: dict[str, Any], name: str) -> str:
    path = op.get(name)
    if not isinstance(path, str):
        raise InvalidPatch("An operation of a JSON Patch lacks its path.")
    pointer.parse(path)
    return path

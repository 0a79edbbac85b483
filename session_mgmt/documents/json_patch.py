"""RFC 6902: strict, atomic, against a known document, turned into total operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from session_mgmt.documents import operations, pointer
from session_mgmt.documents.errors import DocumentTooLarge, InvalidPatch, PatchFailed, TooDeep, TooManyOps
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.operations import END, Op
from session_mgmt.documents.strict import check_value, dump_json
from session_mgmt.documents.values import JSON, MISSING, are_equal, measure_depth


def translate_json_patch(ops: JSON, head: JSON, limits: Limits) -> tuple[Op, ...]:
    """Return total operations that have the effect of the patch on `head`.

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
        patching.apply_step(op)
    return tuple(patching.done)


class _Patching:
    """Document that is being patched, and the total operations so far."""

    def __init__(self, document: JSON, limits: Limits) -> None:
        self.done: list[Op] = []
        self._document = document
        self._limits = limits
        self._charged = 0

    def apply_step(self, op: JSON) -> None:
        if not isinstance(op, dict):
            raise InvalidPatch("An operation of a JSON Patch is an object.")
        name = op.get("op")
        handler = _HANDLERS.get(name) if isinstance(name, str) else None
        if handler is None:
            raise InvalidPatch("The op of a JSON Patch is add, remove, replace, move, copy or test.")
        handler(self, op)

    def add(self, op: dict[str, Any]) -> None:
        self._add_value(_read_path(op, "path"), self._read_value(op))

    def remove(self, op: dict[str, Any]) -> None:
        path = _read_path(op, "path")
        self._find_existing(path)
        self._remove_value(path)

    def replace(self, op: dict[str, Any]) -> None:
        path = _read_path(op, "path")
        self._find_existing(path)
        self._emit_op(("set", path, self._read_value(op)))

    def move(self, op: dict[str, Any]) -> None:
        source, target = _read_path(op, "from"), _read_path(op, "path")
        if target.startswith(f"{source}/"):
            raise PatchFailed("A value cannot be moved into itself.")
        value = self._find_existing(source)
        if source == target:
            return
        self._charge_copy(value, target)
        self._remove_value(source)
        self._add_value(target, value)

    def copy(self, op: dict[str, Any]) -> None:
        source, target = _read_path(op, "from"), _read_path(op, "path")
        value = self._find_existing(source)
        self._charge_copy(value, target)
        self._add_value(target, value)

    def test(self, op: dict[str, Any]) -> None:
        path = _read_path(op, "path")
        if not are_equal(self._find_existing(path), self._read_value(op)):
            raise PatchFailed("A test of the patch failed.")

    def _read_value(self, op: dict[str, Any]) -> JSON:
        if "value" not in op:
            raise InvalidPatch("An operation of a JSON Patch lacks its value.")
        return check_value(op["value"], self._limits)

    def _add_value(self, path: str, value: JSON) -> None:
        if not path:
            self._emit_op(("set", path, value))
            return
        parent = self._find_existing(pointer.parent_of(path))
        token = pointer.parse_pointer(path)[-1]
        if isinstance(parent, dict):
            self._emit_op(("set", path, value))
            return
        at = _find_insert_index(parent, token)
        if at is None or at > len(parent):
            raise PatchFailed("The target of an operation does not exist.")
        self._emit_op(("ins", path, value))

    def _remove_value(self, path: str) -> None:
        if not path:
            raise PatchFailed("The root cannot be removed.")
        self._emit_op(("del", path))

    def _find_existing(self, path: str) -> JSON:
        found = pointer.find_value(self._document, path)
        if found is MISSING:
            raise PatchFailed("The target of an operation does not exist.")
        return found

    def _charge_copy(self, value: JSON, target: str) -> None:
        # Depth first: values copied into themselves soon are deeper than the writer goes.
        if measure_depth(value) + target.count("/") > self._limits.depth:
            raise TooDeep(f"The value is nested deeper than {self._limits.depth}.")
        self._charged += len(dump_json(value))
        if self._charged > self._limits.document_bytes:
            raise DocumentTooLarge(f"Copies expand to more than {self._limits.document_bytes} bytes.")

    def _emit_op(self, op: Op) -> None:
        self._document = operations.apply_ops(self._document, (op,))
        self.done.append(op)


_HANDLERS: Final[dict[str, Callable[[_Patching, dict[str, Any]], None]]] = {
    "add": _Patching.add,
    "remove": _Patching.remove,
    "replace": _Patching.replace,
    "move": _Patching.move,
    "copy": _Patching.copy,
    "test": _Patching.test,
}


def _find_insert_index(parent: JSON, token: str) -> int | None:
    if not isinstance(parent, list):
        return None
    return len(parent) if token == END else pointer.parse_index(token)


def _read_path(op: dict[str, Any], name: str) -> str:
    path = op.get(name)
    if not isinstance(path, str):
        raise InvalidPatch("An operation of a JSON Patch lacks its path.")
    pointer.parse_pointer(path)
    return path

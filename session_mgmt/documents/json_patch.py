"""RFC 6902 patches: strict and atomic, applied to a known document, and translated into total operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from session_mgmt.documents import pointer
from session_mgmt.documents.editor import Editor
from session_mgmt.documents.errors import (
    DocumentError,
    DocumentTooLarge,
    InvalidPatch,
    PatchFailed,
    TooDeep,
    TooManyOps,
)
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.operations import Op
from session_mgmt.documents.pointer import END
from session_mgmt.documents.strict import check_value, dump_json
from session_mgmt.documents.values import JSON, MISSING, are_equal, measure_depth

# About a second of copying. No patch needs more, and other requests wait meanwhile.
_MOST_WORK: Final = 40_000_000


def translate_json_patch(ops: JSON, head: JSON, limits: Limits) -> tuple[Op, ...]:
    """Return total operations that have the effect of the patch on `head`.

    `test` is exact (true is not 1, 1 equals 1.0) and leaves no operation. `copy` and `move` are replaced by their
    values; the size of each counts against a limit, so that copies in a patch of 700 bytes cannot grow to 67 MB. Raises
    InvalidPatch (malformed), InvalidPath, PatchFailed (does not apply here), DocumentTooLarge or another DocumentError.
    """
    if not isinstance(ops, list | tuple):
        raise InvalidPatch("A JSON Patch is a list of operations.")
    if len(ops) > limits.ops:
        raise TooManyOps(f"More than {limits.ops} operations.")
    # The editor copies what it changes, so a patch that fails in the middle leaves the document as it was.
    patching = _Patching(head, limits)
    for index, op in enumerate(ops):
        try:
            patching.apply_step(op)
        except DocumentError as error:
            error.add_step(index)
            raise
    return tuple(patching.done)


class _Patching:
    """Document that is being patched, and the total operations made so far."""

    def __init__(self, document: JSON, limits: Limits) -> None:
        self.done: list[Op] = []
        self._editor = Editor(document)
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
        # RFC 6902 section 4.2: a missing target must fail the whole patch, while `del` would do nothing.
        self._require(path)
        self._remove_value(path)

    def replace(self, op: dict[str, Any]) -> None:
        path = _read_path(op, "path")
        # RFC 6902 section 4.3: a missing target is an error, while `set` would create it.
        self._require(path)
        self._emit_op(("set", path, self._read_value(op)))

    def move(self, op: dict[str, Any]) -> None:
        source, target = _read_path(op, "from"), _read_path(op, "path")
        # RFC 6902 section 4.4 forbids it: after its removal, the value has no place inside itself.
        if target.startswith(f"{source}/"):
            raise PatchFailed("A value cannot be moved into itself.")
        value = self._find_existing(source)
        # A move to the same place changes nothing (RFC 6902 section 4.4), so its size need not count.
        if source == target:
            return
        copied = self._copy_charged(value, target)
        self._remove_value(source)
        self._add_value(target, copied)

    def copy(self, op: dict[str, Any]) -> None:
        source, target = _read_path(op, "from"), _read_path(op, "path")
        self._add_value(target, self._copy_charged(self._find_existing(source), target))

    def test(self, op: dict[str, Any]) -> None:
        path = _read_path(op, "path")
        if not are_equal(self._find_existing(path), self._read_value(op)):
            raise PatchFailed("A test of the patch failed.")

    def _read_value(self, op: dict[str, Any]) -> JSON:
        if "value" not in op:
            raise InvalidPatch("An operation of a JSON Patch lacks its value.")
        try:
            return check_value(op["value"], self._limits)
        except DocumentError as error:
            error.add_step("value")
            raise

    def _add_value(self, path: str, value: JSON) -> None:
        if not path:
            self._emit_op(("set", path, value))
            return
        parent = pointer.parent_of(path)
        count = self._editor.count_items(parent)
        if count is not None:
            token = pointer.parse_pointer(path)[-1]
            at = count if token == END else pointer.parse_index(token)
            # RFC 6902 section 4.1: an index beyond the end is an error, while the total operation would do nothing.
            if at is None or at > count:
                raise PatchFailed("The target of an operation does not exist.")
            self._emit_op(("ins", path, value))
        elif self._editor.is_object(parent):
            self._emit_op(("set", path, value))
        else:
            raise PatchFailed("The target of an operation does not exist.")

    def _remove_value(self, path: str) -> None:
        if not path:
            # A document always has a value; `del` of the root would leave an empty object.
            raise PatchFailed("The root cannot be removed.")
        self._emit_op(("del", path))

    def _find_existing(self, path: str) -> JSON:
        found = self._editor.find_value(path)
        if found is MISSING:
            raise PatchFailed("The target of an operation does not exist.")
        return found

    def _require(self, path: str) -> None:
        if not self._editor.has_value(path):
            raise PatchFailed("The target of an operation does not exist.")

    def _copy_charged(self, value: JSON, target: str) -> JSON:
        # Check the depth first, because values copied into themselves soon get too deep for the encoder.
        if measure_depth(value) + target.count("/") > self._limits.depth:
            raise TooDeep(f"The value is nested deeper than {self._limits.depth}.")
        text = dump_json(value)
        self._charged += len(text)
        if self._charged > self._limits.document_bytes:
            raise DocumentTooLarge(f"Copies expand to more than {self._limits.document_bytes} bytes.")
        # Return a copy: the document is edited in place, so no value may be in it twice.
        return orjson.loads(text)

    def _emit_op(self, op: Op) -> None:
        self._editor.apply((op,))
        if self._editor.work > _MOST_WORK:
            raise TooManyOps(f"The operations copy more than {_MOST_WORK} items of arrays.")
        self.done.append(op)


_HANDLERS: Final[dict[str, Callable[[_Patching, dict[str, Any]], None]]] = {
    "add": _Patching.add,
    "remove": _Patching.remove,
    "replace": _Patching.replace,
    "move": _Patching.move,
    "copy": _Patching.copy,
    "test": _Patching.test,
}


def _read_path(op: dict[str, Any], name: str) -> str:
    path = op.get(name)
    if not isinstance(path, str):
        raise InvalidPatch("An operation of a JSON Patch lacks its path.")
    # Parse it only for its error: a malformed path is refused for every document.
    pointer.parse_pointer(path)
    return path

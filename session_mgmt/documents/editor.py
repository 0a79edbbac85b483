"""Apply total operations to a document. The cost of copying depends on the changes, not on the document.

A container is copied when it is first changed, and then changed in place. An insertion at the front of a long array
still moves all its items, so an array that is changed often is split into blocks until the result is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

from session_mgmt.documents import pointer
from session_mgmt.documents.pointer import END
from session_mgmt.documents.values import JSON, MISSING, Missing, are_equal, is_number, normalise_number

# To move fewer items than this costs less than to find a block (4 us, measured).
_LONG: Final = 10_000
_BLOCK: Final = 2_000


class _Nothing(Enum):
    NOTHING = "nothing"
    BEYOND = "beyond"


_NOTHING: Final = _Nothing.NOTHING
_BEYOND: Final = _Nothing.BEYOND
_Changed: TypeAlias = JSON | _Nothing


class Editor:
    """Document that is being edited. ``private``: nothing else refers to its values, so nothing needs to be copied."""

    def __init__(self, document: JSON, *, private: bool = False) -> None:
        self._root = document
        self._private = private
        # Copies made by this editor, by id. They are kept, so that an id cannot be used again for another container.
        self._owned: dict[int, JSON] = {}
        self._blocks: dict[int, _Blocks] = {}
        # Arrays that were made longer or shorter once; the second time they are split into blocks.
        self._moved: set[int] = set()
        # Number of items copied so far; callers may refuse an expensive change.
        self.work = 0
        # Paths of each `inc` without effect, because a document cannot hold its sum.
        self.dropped: list[str] = []

    @property
    def document(self) -> JSON:
        """Present document. The editor still uses it, and may change it later."""
        self._join_blocks()
        return self._root

    def apply(self, ops: Iterable[Sequence[Any]]) -> None:
        """Apply the operations. An operation without effect copies nothing."""
        for op in ops:
            self.apply_one(op)

    def apply_one(self, op: Sequence[Any]) -> bool:
        """Apply an operation; return True if it changed anything."""
        changed = self._apply_one(op)
        if isinstance(changed, _Nothing):
            if changed is _BEYOND:
                self.dropped.append(op[1])
            return False
        self._root = changed
        return True

    def find_value(self, path: str) -> JSON | Missing:
        """Return the value at a pointer; MISSING if there is none."""
        node = self._find_node(path)
        if isinstance(node, dict | list):
            # Arrays inside it may be split into blocks.
            self._join_blocks()
        return node

    def has_value(self, path: str) -> bool:
        """Return True if there is a value at a pointer."""
        return self._find_node(path) is not MISSING

    def is_object(self, path: str) -> bool:
        """Return True if there is an object at a pointer."""
        return type(self._find_node(path)) is dict

    def count_items(self, path: str) -> int | None:
        """Count the items of the array at a pointer; None if it is not an array."""
        node = self._find_node(path)
        return self._count(node) if type(node) is list else None

    def list_arrays(self, path: str) -> list[tuple[int, int]]:
        """List depth and length of each array that a pointer passes through; an array still to be made has length 0."""
        found: list[tuple[int, int]] = []
        node: JSON | Missing = self._root
        tokens = pointer.parse_pointer(path)
        for depth, token in enumerate(tokens):
            if type(node) is list:
                found.append((depth, self._count(node)))
            elif token == END and depth + 1 == len(tokens) and type(node) is not dict:
                found.append((depth, 0))
            node = MISSING if node is MISSING else self._find_member(node, token)
        return found

    def _find_node(self, path: str) -> JSON | Missing:
        node = self._root
        for token in pointer.parse_pointer(path):
            node = self._find_member(node, token)
            if node is MISSING:
                return MISSING
        return node

    def _join_blocks(self) -> None:
        for blocks in self._blocks.values():
            self.work += blocks.count
            blocks.join()
        self._blocks.clear()

    def _find_member(self, node: JSON, token: str) -> JSON | Missing:
        if type(node) is not list:
            return node.get(token, MISSING) if type(node) is dict else MISSING
        at = pointer.parse_index(token)
        return MISSING if at is None or at >= self._count(node) else self._item(node, at)

    def _apply_one(self, op: Sequence[Any]) -> _Changed:
        name, argument = op[0], op[2] if len(op) > 2 else None
        if not op[1]:
            return _make_value("set" if name == "del" else name, self._root, {} if name == "del" else argument)
        *way, last = pointer.parse_pointer(op[1])
        parents: list[JSON] = []
        node = self._root
        for token in way:
            parents.append(node)
            entered = self._find_member(node, token)
            # An array has only its items, so nothing can be created on the way.
            if entered is MISSING and type(node) is list:
                return _NOTHING
            node = entered
        changed = self._remove(node, last) if name == "del" else self._put(node, last, name, argument)
        if isinstance(changed, _Nothing):
            return changed
        # From the inside out, because each container above may have to be copied first.
        while parents:
            changed = self._set_member(parents.pop(), way.pop(), changed)
        return changed

    def _put(self, node: JSON, token: str, name: str, argument: JSON) -> _Changed:
        if type(node) is list:
            return self._put_item(node, token, name, argument)
        if token == END and type(node) is not dict:
            return self._put_item([], token, name, argument)
        old = node.get(token, MISSING) if type(node) is dict else MISSING
        value = _make_value(name, old, argument)
        return value if isinstance(value, _Nothing) else self._set_member(node, token, value)

    def _put_item(self, node: list[JSON], token: str, name: str, argument: JSON) -> _Changed:
        count = self._count(node)
        at = count if token == END else pointer.parse_index(token)
        # An item may be added directly after the last one, but not further: arrays have no holes.
        if at is None or at > count:
            return _NOTHING
        is_new = name == "ins" or at == count
        value = _make_value(name, MISSING if is_new else self._item(node, at), argument)
        if isinstance(value, _Nothing):
            return value
        items = self._own(node)
        if is_new:
            self._insert(items, at, value)
        else:
            self._set_item(items, at, value)
        return items

    def _remove(self, node: JSON, token: str) -> _Changed:
        if type(node) is dict and token in node:
            members = self._own(node)
            del members[token]
            return members
        at = pointer.parse_index(token) if type(node) is list else None
        if at is None or at >= self._count(node):
            return _NOTHING
        items = self._own(node)
        self._delete(items, at)
        return items

    def _set_member(self, node: JSON, token: str, value: JSON) -> JSON:
        if type(node) is list:
            items = self._own(node)
            self._set_item(items, int(token), value)
            return items
        members = self._own(node if type(node) is dict else {})
        members[token] = value
        return members

    def _own(self, node: JSON) -> JSON:
        if self._private or id(node) in self._owned:
            return node
        # A shallow copy: inner containers are shared until they are changed.
        copied = node.copy()
        self.work += len(copied)
        self._owned[id(copied)] = copied
        return copied

    # -- arrays owned by the editor, with or without blocks ------------------------------------------------------------

    def _count(self, node: list[JSON]) -> int:
        blocks = self._blocks.get(id(node))
        return len(node) if blocks is None else blocks.count

    def _item(self, node: list[JSON], at: int) -> JSON:
        blocks = self._blocks.get(id(node))
        if blocks is None:
            return node[at]
        block, inside = blocks.locate(at)
        return block[inside]

    def _set_item(self, items: list[JSON], at: int, value: JSON) -> None:
        blocks = self._blocks.get(id(items))
        if blocks is None:
            items[at] = value
        else:
            block, inside = blocks.locate(at)
            block[inside] = value

    def _insert(self, items: list[JSON], at: int, value: JSON) -> None:
        blocks = self._cut_into_blocks(items, at)
        if blocks is None:
            items.insert(at, value)
        else:
            blocks.insert(at, value)

    def _delete(self, items: list[JSON], at: int) -> None:
        blocks = self._cut_into_blocks(items, at)
        if blocks is None:
            del items[at]
        else:
            blocks.delete(at)

    def _cut_into_blocks(self, items: list[JSON], at: int) -> _Blocks | None:
        key = id(items)
        found = self._blocks.get(key)
        # If few items move, a plain list is the fastest.
        if found is not None or len(items) - at < _LONG:
            return found
        # A single insertion is not worth the split.
        if key not in self._moved:
            self._moved.add(key)
            # Keep it, because its id could be used again for another list.
            self._owned[key] = items
            return None
        self.work += len(items)
        found = self._blocks[key] = _Blocks(items)
        return found


class _Blocks:
    """Long array in blocks. The array itself is out of date until ``join``."""

    def __init__(self, items: list[JSON]) -> None:
        self._items = items
        self._blocks = [items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK)]
        self.count = len(items)

    def locate(self, at: int) -> tuple[list[JSON], int]:
        """Return the block of an item, and the index in the block; the end of the array belongs to the last block."""
        for block in self._blocks:
            if at < len(block):
                return block, at
            at -= len(block)
        return self._blocks[-1], at + len(self._blocks[-1])

    def insert(self, at: int, value: JSON) -> None:
        block, inside = self.locate(at)
        block.insert(inside, value)
        self.count += 1

    def delete(self, at: int) -> None:
        block, inside = self.locate(at)
        del block[inside]
        self.count -= 1

    def join(self) -> None:
        """Write all items back into the array."""
        # In place, because the document refers to this list object.
        self._items[:] = [item for block in self._blocks for item in block]


def _make_value(name: str, old: JSON | Missing, argument: JSON) -> _Changed:
    if name == "obj":
        return _NOTHING if type(old) is dict else {}
    value = argument
    if name == "inc" and is_number(old):
        value = normalise_number(old + argument)
        if value is None:
            return _BEYOND
    return _NOTHING if are_equal(old, value) else value

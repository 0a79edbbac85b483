"""Places in arrays with the policy `keyed`. They are found again by the keys of the items, even if the items moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from session_mgmt.documents import pointer
from session_mgmt.documents.values import JSON

# A character that no pointer contains, because no key may contain it.
_SEPARATOR = "\0"
# Index of the token that is an array index, the name of the key member of the item there, and the item's key.
ItemKey: TypeAlias = tuple[int, str, str | int]


@dataclass(frozen=True, slots=True)
class KeyedPlace:
    """Pointer at an earlier time, and the keys of the items on its way."""

    path: str
    keys: tuple[ItemKey, ...] = ()

    def find_path(self, document: JSON) -> str | None:
        """Return the pointer of the same place in a document; None if an item on the way was removed."""
        tokens = self.path.split("/")[1:]
        for at, field, key in self.keys:
            index = find_item(pointer.find_value(document, _join(tokens[:at])), field, key)
            if index is None:
                return None
            tokens[at] = str(index)
        return _join(tokens)

    def find_array(self, document: JSON) -> str | None:
        """Return the pointer of the array that a removed item belonged to; None if the array was removed too.

        Also None if the place is inside the item.
        """
        if not self.keys or self.keys[-1][0] != self.path.count("/") - 1:
            return None
        above = KeyedPlace(pointer.parent_of(self.path), self.keys[:-1]).find_path(document)
        return above if above is not None and isinstance(pointer.find_value(document, above), list) else None

    def encode(self) -> str:
        """Return the place as text."""
        return self.path + (_SEPARATOR + orjson.dumps(self.keys).decode() if self.keys else "")


def decode_place(text: str) -> KeyedPlace:
    """Return an encoded place. Raises ValueError."""
    path, _, keys = text.partition(_SEPARATOR)
    return KeyedPlace(path, tuple((at, field, key) for at, field, key in orjson.loads(keys)) if keys else ())


def find_item(array: Any, field: str, key: str | int) -> int | None:
    """Return the index of the item with this key; None if there is none."""
    if not isinstance(array, list):
        return None
    for at, item in enumerate(array):
        found = item.get(field) if isinstance(item, dict) else None
        # Compare the types too, because in Python true equals 1.
        if type(found) is type(key) and found == key:
            return at
    return None


def _join(tokens: Iterable[str]) -> str:
    return "".join(f"/{token}" for token in tokens)

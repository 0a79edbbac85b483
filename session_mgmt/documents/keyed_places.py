"""Places inside arrays of policy `keyed`: found again by the keys of the items, wherever those stand by now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from session_mgmt.documents import pointer
from session_mgmt.documents.values import JSON

# No pointer has this character, since no key has.
_SEPARATOR = "\0"
# Number of the token that is an index, the member that holds the key of the item there, and the key.
ItemKey: TypeAlias = tuple[int, str, str | int]


@dataclass(frozen=True, slots=True)
class KeyedPlace:
    """Pointer as it was once, and the keys of the items on the way."""

    path: str
    keys: tuple[ItemKey, ...] = ()

    def find_path(self, document: JSON) -> str | None:
        """Return the pointer of the same place in a document; None if an item on the way is gone."""
        tokens = self.path.split("/")[1:]
        for at, field, key in self.keys:
            index = find_item(pointer.find_value(document, _join(tokens[:at])), field, key)
            if index is None:
                return None
            tokens[at] = str(index)
        return _join(tokens)

    def find_array(self, document: JSON) -> str | None:
        """Return the pointer of the array that an item, which is gone, belonged to; None if it is gone too.

        Also None if the place is inside of the item.
        """
        if not self.keys or self.keys[-1][0] != self.path.count("/") - 1:
            return None
        above = KeyedPlace(pointer.parent_of(self.path), self.keys[:-1]).find_path(document)
        return above if above is not None and isinstance(pointer.find_value(document, above), list) else None

    def encode(self) -> str:
        """Return the place as text."""
        return self.path + (_SEPARATOR + orjson.dumps(self.keys).decode() if self.keys else "")


def decode_place(text: str) -> KeyedPlace:
    """Return a place that was encoded. Raises ValueError."""
    path, _, keys = text.partition(_SEPARATOR)
    return KeyedPlace(path, tuple((at, field, key) for at, field, key in orjson.loads(keys)) if keys else ())


def find_item(array: Any, field: str, key: str | int) -> int | None:
    """Return the index of the item with this key; None if there is none."""
    if not isinstance(array, list):
        return None
    for at, item in enumerate(array):
        found = item.get(field) if isinstance(item, dict) else None
        # The types are compared too, because for Python true equals 1.
        if type(found) is type(key) and found == key:
            return at
    return None


def _join(tokens: Iterable[str]) -> str:
    return "".join(f"/{token}" for token in tokens)

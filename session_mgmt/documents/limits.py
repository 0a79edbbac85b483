"""The limits of a document and of a change to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

# A frame or a body, its operations, and one of them: the JSON around a value.
_AROUND: Final = 3
_MEMBERS_OF_AN_OPERATION: Final = 3
_MEMBERS_OF_A_FRAME: Final = 32


class Extent(NamedTuple):
    """Bytes of compact UTF-8 JSON and members of all objects: of a document, or an upper bound of both."""

    bytes: int
    keys: int

    def grow_by(self, more: Extent) -> Extent:
        return Extent(self.bytes + more.bytes, self.keys + more.keys)

    def fits_into(self, most: Extent) -> bool:
        return self.bytes <= most.bytes and self.keys <= most.keys


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, each inclusive and each with its own error code.

    `document_bytes` compact UTF-8 JSON; `depth` nested containers (a scalar has 0); `keys` members of all objects of
    one value, and of the whole document, together; `key_bytes` and `string_bytes` UTF-8; `ops` operations of one
    change (RFC 6902 or total).
    """

    document_bytes: int = 5 * 2**20
    depth: int = 64
    keys: int = 100_000
    key_bytes: int = 1024
    string_bytes: int = 2**20
    ops: int = 500

    @property
    def extent(self) -> Extent:
        """Return the most that a document may have."""
        return Extent(self.document_bytes, self.keys)


@lru_cache(maxsize=4)
def widen_limits(limits: Limits) -> Limits:
    """Return the limits of a text that carries values of these limits, with room for everything around them.

    A document may be sent just as it may be kept. The values themselves are still to be checked.
    """
    members = limits.keys + _MEMBERS_OF_AN_OPERATION * limits.ops + _MEMBERS_OF_A_FRAME
    return replace(limits, depth=limits.depth + _AROUND, keys=members)

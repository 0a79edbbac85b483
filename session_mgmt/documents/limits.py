"""The limits of a document and of a change to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from session_mgmt.documents.values import BEYOND

# A frame or a body, its operations, and one of them: the JSON around a value.
_AROUND: Final = 3
_MEMBERS_OF_AN_OPERATION: Final = 3
_MEMBERS_OF_A_FRAME: Final = 32


# A trillion and more: an ordinary number says nothing of itself.
_NUMBER_STEP: Final = 2**40


def round_number(bound: int) -> int:
    """Return an upper bound of numbers as it is stored in clear, also beside a document that is encrypted."""
    # By whole numbers: a float would lose the last digits, and the bound could end below the number.
    return -(-bound // _NUMBER_STEP) * _NUMBER_STEP


class Growth(NamedTuple):
    """Upper bounds of what operations add to any document.

    ``number`` is the greatest magnitude of the numbers that they put, ``added`` the sum of what every `inc` adds.
    """

    bytes: int
    keys: int
    number: int = 0
    added: int = 0

    def join(self, more: Growth) -> Growth:
        return Growth(
            self.bytes + more.bytes, self.keys + more.keys, max(self.number, more.number), self.added + more.added
        )


class Extent(NamedTuple):
    """Bytes of compact UTF-8 JSON, members of all objects, and the greatest magnitude of all numbers: of a document,
    or upper bounds of them. ``number`` ends at ``BEYOND``.
    """

    bytes: int
    keys: int
    number: int = 0

    def grow_by(self, more: Growth) -> Extent:
        # It ends there, because more says nothing more and the column is a BIGINT.
        number = min(max(self.number, more.number) + more.added, BEYOND)
        return Extent(self.bytes + more.bytes, self.keys + more.keys, number)

    def fits_into(self, most: Extent) -> bool:
        return self.bytes <= most.bytes and self.keys <= most.keys and self.number <= most.number

    def may_overflow(self, more: Growth) -> bool:
        """Tell whether an `inc` may meet a number to which it cannot be added."""
        return more.added > 0 and self.grow_by(more).number == BEYOND


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
        return Extent(self.document_bytes, self.keys, BEYOND)


@lru_cache(maxsize=4)
def widen_limits(limits: Limits) -> Limits:
    """Return the limits of a text that carries values of these limits, with room for everything around them.

    A document may be sent just as it may be kept. The values themselves are still to be checked.
    """
    members = limits.keys + _MEMBERS_OF_AN_OPERATION * limits.ops + _MEMBERS_OF_A_FRAME
    return replace(limits, depth=limits.depth + _AROUND, keys=members)

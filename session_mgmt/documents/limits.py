"""Limits of a document, and of changes to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from session_mgmt.documents.values import BEYOND

# Levels of JSON around a value: a frame or a body, its operations, and one operation.
_AROUND: Final = 3
_MEMBERS_OF_AN_OPERATION: Final = 3
_MEMBERS_OF_A_FRAME: Final = 32


# More than 10^12, so that the stored bound says nothing about an ordinary number.
_NUMBER_STEP: Final = 2**40


def round_number(bound: int) -> int:
    """Round an upper bound of numbers up. The result may be stored unencrypted beside an encrypted document."""
    # With integers only: a float would lose the last digits, and the bound could become smaller than the number.
    return -(-bound // _NUMBER_STEP) * _NUMBER_STEP


class Growth(NamedTuple):
    """Upper bounds of what operations add to any document.

    ``number`` is the largest absolute value of the numbers that they write; ``added`` is the sum of all `inc` amounts.
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
    """Size of a document in bytes of compact UTF-8 JSON, number of members of all its objects, and largest absolute
    value of its numbers (at most ``BEYOND``); or upper bounds of them.
    """

    bytes: int
    keys: int
    number: int = 0

    def grow_by(self, more: Growth) -> Extent:
        # Stop at BEYOND, because a larger number says nothing more, and the column is a BIGINT.
        number = min(max(self.number, more.number) + more.added, BEYOND)
        return Extent(self.bytes + more.bytes, self.keys + more.keys, number)

    def fits_into(self, most: Extent) -> bool:
        return self.bytes <= most.bytes and self.keys <= most.keys and self.number <= most.number

    def may_overflow(self, more: Growth) -> bool:
        """Return True if an `inc` may meet a number to which it cannot be added."""
        return more.added > 0 and self.grow_by(more).number == BEYOND


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds. Each is inclusive, and has its own error code.

    `document_bytes`: compact UTF-8 JSON. `depth`: nested containers (a scalar has 0). `keys`: members of all objects of
    a value, and of the whole document. `key_bytes` and `string_bytes`: UTF-8. `ops`: operations of one change (RFC 6902
    or total).
    """

    document_bytes: int = 5 * 2**20
    depth: int = 64
    keys: int = 100_000
    key_bytes: int = 1024
    string_bytes: int = 2**20
    ops: int = 500

    @property
    def extent(self) -> Extent:
        """Largest extent that a document may have."""
        return Extent(self.document_bytes, self.keys, BEYOND)


@lru_cache(maxsize=4)
def widen_limits(limits: Limits) -> Limits:
    """Return the limits of a text that contains values of these limits, with room for the JSON around them.

    A document may be sent if it may be stored. The values themselves must still be checked.
    """
    members = limits.keys + _MEMBERS_OF_AN_OPERATION * limits.ops + _MEMBERS_OF_A_FRAME
    return replace(limits, depth=limits.depth + _AROUND, keys=members)

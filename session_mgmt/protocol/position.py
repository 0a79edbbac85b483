"""Place in a log: epoch, offset and tag, always together.

Why three. A backup restores a stream to offset 100 in the same epoch; a client is at 118. Twenty-five publications
later 118 exists again, with other content; only the tag (64 random bits of the entry, or a document's chain) tells
the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_OFFSET = 2**53 - 1
_TEXT_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Position:
    """Place in a log; ``offset`` counts entries from 1, and 0 is before the first and has the tag ``""``."""

    epoch: str
    offset: int
    tag: str

    def as_json(self) -> list[Any]:
        """Build the form of the wire: ``["6dc1e0a4", 118, "00f1a2b3c4d5e6f7"]``."""
        return [self.epoch, self.offset, self.tag]

    def as_bytes(self) -> bytes:
        """Build the same as JSON text; epochs and tags that a server has made hold nothing that must be escaped."""
        return b'["%s",%d,"%s"]' % (self.epoch.encode(), self.offset, self.tag.encode())


def parse(value: Any) -> Position | None:
    """Read a position from the wire.

    ``None`` stands for anything that cannot be one; a verdict then reports it as unreadable.
    """
    match value:
        case [str() as epoch, int() as offset, str() as tag] if not isinstance(offset, bool):
            pass
        case _:
            return None
    # Numbers beyond 2**53 are not exact in JavaScript; long texts would only be echoed into logs.
    if not 0 <= offset <= MAX_OFFSET or len(epoch) > _TEXT_LIMIT or len(tag) > _TEXT_LIMIT:
        return None
    return Position(epoch, offset, tag)


def parse_text(text: str) -> Position | None:
    """Read a position as addresses have it, ``epoch.offset.tag``; ``None`` for anything that cannot be one."""
    *epoch, offset, tag = ["", "", *text.rsplit(".", 2)][-3:]
    # `isdigit` alone accepts digits of every script, and `int` would read them.
    is_number = offset.isascii() and offset.isdigit() and len(offset) <= len(str(MAX_OFFSET))
    if text.count(".") < 2 or not is_number or not text.isprintable():
        return None
    return parse([*epoch, int(offset), tag])

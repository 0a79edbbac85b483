"""Position in a log: epoch, offset and tag, always together.

All three are necessary. Suppose that a backup restores a stream to offset 100 in the same epoch, while a client is at
118. After 25 more publications, 118 exists again with other content; only the tag (64 random bits of the entry, or a
document's chain) shows the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_OFFSET = 2**53 - 1
_TEXT_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Position:
    """Position in a log. ``offset`` counts entries from 1; 0 is before the first entry, and its tag is ``""``."""

    epoch: str
    offset: int
    tag: str

    def as_json(self) -> list[Any]:
        """Return the form in frames: ``["6dc1e0a4", 118, "00f1a2b3c4d5e6f7"]``."""
        return [self.epoch, self.offset, self.tag]

    def as_bytes(self) -> bytes:
        """Return the same as JSON text; epochs and tags made by a server contain nothing that must be escaped."""
        return b'["%s",%d,"%s"]' % (self.epoch.encode(), self.offset, self.tag.encode())


def parse(value: Any) -> Position | None:
    """Read a position from a frame.

    Return None for anything that cannot be a position; a verdict then reports it as unreadable.
    """
    match value:
        case [str() as epoch, int() as offset, str() as tag] if not isinstance(offset, bool):
            pass
        case _:
            return None
    # JavaScript is not exact above 2**53; a long text would only be copied into logs.
    if not 0 <= offset <= MAX_OFFSET or len(epoch) > _TEXT_LIMIT or len(tag) > _TEXT_LIMIT:
        return None
    return Position(epoch, offset, tag)


def parse_text(text: str) -> Position | None:
    """Read a position from a URL, ``epoch.offset.tag``; return None for anything that cannot be one."""
    *epoch, offset, tag = ["", "", *text.rsplit(".", 2)][-3:]
    # `isdigit` alone accepts digits of every script, and `int` would read them.
    is_number = offset.isascii() and offset.isdigit() and len(offset) <= len(str(MAX_OFFSET))
    if text.count(".") < 2 or not is_number or not text.isprintable():
        return None
    return parse([*epoch, int(offset), tag])

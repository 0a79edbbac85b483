"""Names and entries of logs, and their frames, which are built from stored bytes without decoding them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from session_mgmt.protocol.position import Position

SESSION = "session"
STATE = "state:"
TOPIC = "topic:"
# Before a topic's name: the topic that reports its members.
PRESENCE = "presence:"

DOCUMENT_KEY = "d:"
STREAM_KEY = "s:"
TIMELINE_KEY = "e:"

END = b"]}"
END_RECOVERED = b'],"recovered":true}'


class Entry(NamedTuple):
    """Entry of any log; ``body`` is compact JSON."""

    offset: int
    tag: str
    body: bytes

    def as_json(self) -> bytes:
        """Build the entry in the form that clients receive."""
        return b'[%d,"%s",%s]' % (self.offset, self.tag.encode(), self.body)


def document_key(document: int) -> str:
    """Build the name of a document's log that processes use among themselves."""
    return f"{DOCUMENT_KEY}{document}"


def stream_key(topic: str) -> str:
    """Build the name of a topic's log that processes use among themselves; the topic needs no stream."""
    return f"{STREAM_KEY}{topic}"


def timeline_key(session: UUID) -> str:
    """Build the name of a session's own log that processes use among themselves."""
    return f"{TIMELINE_KEY}{session.hex}"


def split_by_bytes(entries: Sequence[Entry], most: int) -> Iterator[Sequence[Entry]]:
    """Split entries into parts of at most ``most`` bytes. A part has at least one entry, even a larger one."""
    start = size = 0
    for index, entry in enumerate(entries):
        # A part always takes its first entry; otherwise an entry that is too large would never be sent.
        if index > start and size + len(entry.body) > most:
            yield entries[start:index]
            start, size = index, 0
        size += len(entry.body)
    yield entries[start:]


def begin_entries_frame(name: str, epoch: str) -> bytes:
    """Return the beginning of an ``entries`` frame (PROTOCOL section 4); entries with commas, and an end, must follow.

    ``name`` has been checked: only quotes and backslashes in it need to be escaped.
    """
    return b'{"type":"entries","log":%s,"epoch":"%s","entries":[' % (_quote(name), epoch.encode())


def build_range_end(prev: int, position: Position, *, conflated: bool = False, recovered: bool = False) -> bytes:
    """Return the end of an ``entries`` frame for a range that may lack some of its entries."""
    flags = (b',"conflated":true' if conflated else b"") + (b',"recovered":true' if recovered else b"")
    return b'],"prev":%d,"position":%s%s}' % (prev, position.as_bytes(), flags)


def build_entries_frame(name: str, epoch: str, entries: Iterable[Entry]) -> bytes:
    """Build an ``entries`` frame."""
    body = b",".join(entry.as_json() for entry in entries)
    return begin_entries_frame(name, epoch) + body + END


def _quote(text: str) -> bytes:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return b'"' + escaped.encode() + b'"'

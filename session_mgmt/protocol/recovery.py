"""Verdict on a client's position: the same rule for documents, topics and session logs."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from session_mgmt.protocol.position import Position


class Mode(StrEnum):
    """Verdict on one log (PROTOCOL section 4)."""

    UP_TO_DATE = "up_to_date"
    ENTRIES = "entries"
    LOST = "lost"  # becomes a snapshot for a document and a gap for a topic


class Reason(StrEnum):
    """Reason of a verdict."""

    NOTHING_MISSED = "nothing_missed"
    MISSED = "missed"
    FROM_NOW = "from_now"
    FIRST = "first"
    EPOCH_CHANGED = "epoch_changed"
    HISTORY_LOST = "history_lost"
    TRIMMED = "trimmed"
    TOO_MANY = "too_many"
    UNREADABLE_POSITION = "unreadable_position"


class Window(NamedTuple):
    """Part of a log that the server holds.

    ``head`` is the position of the newest entry. Entries from ``oldest`` to ``head.offset`` can be read.
    ``tag_at_asked`` is the tag of the entry at the asked offset, or None if the log does not hold that entry. The
    caller may leave it out if the asked offset is the head.
    """

    head: Position
    oldest: int = 1
    tag_at_asked: str | None = None


class Verdict(NamedTuple):
    """Verdict with its range: ``first`` to ``last`` are the missed entries (``ENTRIES``) or the lost ones (``LOST``).

    ``first`` is 0 if it is not known.
    """

    mode: Mode
    reason: Reason
    first: int = 0
    last: int = 0


def decide(asked: Position, window: Window, *, most: int = 10_000) -> Verdict:
    """Return the verdict for a client at ``asked``; ``most`` is the largest number of entries to replay.

    The order of the checks matters. In another epoch the offset has no meaning, so it is not compared; and a tag can be
    compared only if the offset is one that the log holds.
    """
    head = window.head
    # The log was started again, for example after a restored backup; its offsets belong to other entries.
    if asked.epoch != head.epoch:
        return Verdict(Mode.LOST, Reason.EPOCH_CHANGED, 0, head.offset)
    # The client has seen more than the server has, so the server has lost entries.
    if asked.offset > head.offset:
        return Verdict(Mode.LOST, Reason.HISTORY_LOST, 0, head.offset)
    # A client at `oldest` - 1 has lost nothing: the next entry that it needs is there.
    if asked.offset + 1 < window.oldest:
        return Verdict(Mode.LOST, Reason.TRIMMED, asked.offset + 1, head.offset)
    if not _proves_itself(asked, window):
        return Verdict(Mode.LOST, Reason.HISTORY_LOST, 0, head.offset)
    if asked.offset == head.offset:
        return Verdict(Mode.UP_TO_DATE, Reason.NOTHING_MISSED)
    if head.offset - asked.offset > most:
        return Verdict(Mode.LOST, Reason.TOO_MANY, asked.offset + 1, head.offset)
    return Verdict(Mode.ENTRIES, Reason.MISSED, asked.offset + 1, head.offset)


def _proves_itself(asked: Position, window: Window) -> bool:
    if asked.offset == 0:
        return asked.tag == ""
    if asked.offset == window.head.offset:
        return asked.tag == window.head.tag
    return asked.tag == window.tag_at_asked


def is_dense(offsets: Iterable[int], *, after: int) -> bool:
    """Return True if a page starts directly after ``after`` and has no hole; a purge may run between two reads."""
    expected = after
    for offset in offsets:
        expected += 1
        if offset != expected:
            return False
    return True

"""Verdict on a position that a client names: one rule for documents, topics and session logs."""

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

    ``head`` is the newest entry's position. Entries ``oldest`` … ``head.offset`` can be read. ``tag_at_asked`` is the
    tag that the log holds at the asked offset, or ``None`` if it holds none there (the caller may leave it out when
    the asked offset is the head).
    """

    head: Position
    oldest: int = 1
    tag_at_asked: str | None = None


class Verdict(NamedTuple):
    """Verdict with its range: ``first`` to ``last`` are the missed entries (``ENTRIES``) or the lost ones (``LOST``).

    ``first`` is 0 if nobody knows it.
    """

    mode: Mode
    reason: Reason
    first: int = 0
    last: int = 0


def decide(asked: Position, window: Window, *, most: int = 10_000) -> Verdict:
    """Give the verdict for a client at ``asked``; ``most`` bounds how many entries are replayed.

    The order matters: an epoch or tag that differs makes the offset meaningless, so it is never compared before them.
    """
    head = window.head
    # The log was begun anew, for example by a restored backup; its numbers mean other entries.
    if asked.epoch != head.epoch:
        return Verdict(Mode.LOST, Reason.EPOCH_CHANGED, 0, head.offset)
    # The client has seen more than the server has: entries were lost on the side of the server.
    if asked.offset > head.offset:
        return Verdict(Mode.LOST, Reason.HISTORY_LOST, 0, head.offset)
    # Equal to `oldest` - 1 is still whole: the next entry that this client needs is there.
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
    """Tell a page that starts right after ``after`` and has no hole; a purge may run between two reads."""
    expected = after
    for offset in offsets:
        expected += 1
        if offset != expected:
            return False
    return True

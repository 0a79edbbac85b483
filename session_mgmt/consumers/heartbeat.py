"""Signs of life of one connection: beats that were answered, beats that were missed, and how long answers took.

A pure state machine: time is an argument, and the caller sends the pings and closes the connection.
"""

from __future__ import annotations

import math
import random
from array import array
from typing import NamedTuple

# The weight that TCP gives to a new round trip (RFC 6298 section 2).
AVERAGE_OVER = 8
# Number of round trips from which the 95th percentile and the jitter are computed; some minutes at the usual interval.
KEPT = 32
# Share of an interval by which the first beat may come early; otherwise clients of one storm would have the same beat.
FIRST_SPREAD = 0.5
# The same for later beats. Small, because beats that come early add up to more beats.
SPREAD = 0.04
# Seconds that an answer may be late before its beat counts as missed.
GRACE = 0.3
# A turn that comes this much late was delayed by this process, which says nothing about the peer.
HELD_UP = 2.0


class Turn(NamedTuple):
    """Result of one turn: a beat that is due, and beats missed in a row if there is one more."""

    is_due: bool = False
    missed: int = 0
    is_lost: bool = False


class Heartbeat:
    """Any received frame is a sign of life; a sent one never is.

    Beat k counts as missed ``interval`` times k after the last sign of life, so that a peer that is gone is found
    within ``interval`` times ``missed_limit`` and a second, wherever between two beats it went.
    """

    def __init__(self, now: float, interval: float, missed_limit: int, *, tick: float = 0.0) -> None:
        self.interval, self.missed_limit, self._tick = interval, missed_limit, tick
        self.heard_at = now
        self.beats = self.missed = self.missed_in_a_row = 0
        self.rtt_average_ms: float | None = None
        # Created with the first answer; an array of floats needs an eighth of the memory of a list.
        self._rtts: array[float] | None = None
        self._asked_at = self._unanswered_since = now
        self._beat_at = now + self._draw_gap(FIRST_SPREAD)
        self.due_at = self._beat_at

    def configure(self, now: float, interval: float, missed_limit: int) -> None:
        """Go on with other values; the next beat comes as the new interval says."""
        self.interval, self.missed_limit = interval, missed_limit
        self._beat_at = now + self._draw_gap(FIRST_SPREAD)
        self.due_at = min(self.due_at, self._beat_at)

    def rest(self, now: float) -> None:
        """Do not count the silence up to now, because the peer's answers could not be read."""
        self.heard_at = now

    def turn(self, now: float) -> Turn:
        """Check the connection; ``due_at`` is then the time of the next check."""
        self._leave_out_standstill(now)
        missed = self._count_missed(now)
        is_lost = self.missed_in_a_row >= self.missed_limit
        is_due = not is_lost and now >= self._beat_at - self._tick
        if is_due:
            self._note_beat(now)
        self._find_due()
        return Turn(is_due, missed, is_lost)

    def build_ping(self) -> str:
        """Build the frame of the beat that is due; it contains the last round trip."""
        rtt = self.rtt_ms
        # A rounded float looks the same in Python and in JSON.
        return f'{{"type":"ping","ping":{self.beats},"rtt_ms":{"null" if rtt is None else rtt}}}'

    def take_pong(self, ping: int, now: float) -> None:
        """Measure the round trip; the answer to an older beat measures nothing."""
        if ping != self.beats:
            return
        rtt = round((now - self._asked_at) * 1000, 1)
        before = rtt if self.rtt_average_ms is None else self.rtt_average_ms
        self.rtt_average_ms = round(before + (rtt - before) / AVERAGE_OVER, 1)
        self._rtts = array("d") if self._rtts is None else self._rtts
        self._rtts.append(rtt)
        del self._rtts[:-KEPT]
        # Its absence need not be looked for any more, so the next turn is that of the next beat.
        self.missed_in_a_row = 0
        self._find_due()

    @property
    def rtt_ms(self) -> float | None:
        """Last round trip in milliseconds."""
        return self._rtts[-1] if self._rtts else None

    @property
    def rtt_p95_ms(self) -> float | None:
        """Return the round trip that one of twenty of the last ones exceeds."""
        if not self._rtts:
            return None
        return sorted(self._rtts)[math.ceil(len(self._rtts) * 0.95) - 1]

    @property
    def rtt_jitter_ms(self) -> float | None:
        """Return by how much a round trip differs from the one before, on average."""
        if not self._rtts:
            return None
        steps = [abs(after - before) for before, after in zip(self._rtts, self._rtts[1:], strict=False)]
        return round(sum(steps) / len(steps), 1) if steps else 0.0

    def _find_due(self) -> None:
        self.due_at = min(self._beat_at, self.heard_at + self.interval * (self.missed_in_a_row + 1) + GRACE)

    def _draw_gap(self, spread: float) -> float:
        # One tick earlier, because the wheel is up to one tick late.
        gap = self.interval * random.uniform(1 - spread, 1) - self._tick
        return max(gap, self.interval / 2)

    def _note_beat(self, now: float) -> None:
        self.beats += 1
        if self.heard_at >= self._unanswered_since:
            self._unanswered_since = now
        self._asked_at = now
        self._beat_at = now + self._draw_gap(SPREAD)

    def _leave_out_standstill(self, now: float) -> None:
        held_up = now - self.due_at
        if held_up > HELD_UP:
            self.heard_at = min(now, self.heard_at + held_up)

    def _count_missed(self, now: float) -> int:
        """Count at most one beat, and only if one was sent and has no answer yet."""
        if self.heard_at >= self._unanswered_since:
            self.missed_in_a_row = 0
            return 0
        silence = now - self.heard_at
        if silence < self.interval * (self.missed_in_a_row + 1) + GRACE or now - self._unanswered_since < GRACE:
            return 0
        self.missed += 1
        self.missed_in_a_row += 1
        return self.missed_in_a_row

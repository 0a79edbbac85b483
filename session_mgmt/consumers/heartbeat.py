"""Signs of life of one connection: beats that were answered, beats that were missed, and how long an answer took."""

from __future__ import annotations

from typing import Any

# The weight that TCP gives to a new round trip (RFC 6298 section 2).
AVERAGE_OVER = 8


class Heartbeat:
    """Any received frame is a sign of life; a sent one never is."""

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self.beats = self.missed = self.missed_in_a_row = 0
        self.rtt_ms: float | None = None
        self.rtt_average_ms: float | None = None
        self._asked_at = now

    def count_last_beat(self) -> None:
        """Count the last beat as missed unless anything was heard since."""
        # Anything that was heard counts, not only the answer: a busy client may be late with that.
        if self.beats and self.heard_at < self._asked_at:
            self.missed += 1
            self.missed_in_a_row += 1
        else:
            self.missed_in_a_row = 0

    def build_ping(self, now: float) -> dict[str, Any]:
        """Build the next beat; it tells the client the last round trip."""
        self.beats += 1
        self._asked_at = now
        return {"type": "ping", "ping": self.beats, "rtt_ms": self.rtt_ms}

    def take_pong(self, ping: int, now: float) -> None:
        """Measure the round trip; the answer to an older beat measures nothing."""
        if ping != self.beats:
            return
        self.rtt_ms = round((now - self._asked_at) * 1000, 1)
        before = self.rtt_ms if self.rtt_average_ms is None else self.rtt_average_ms
        self.rtt_average_ms = round(before + (self.rtt_ms - before) / AVERAGE_OVER, 1)

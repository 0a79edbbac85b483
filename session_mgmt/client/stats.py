"""Counters of one client."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

from session_mgmt.client.transports.carrier import TransportName

LATENCIES_KEPT = 100


@dataclass(slots=True)
class Stats:
    """Counters since `start`. Round trips are in milliseconds, as the server measured them; None before the first."""

    state: str = "connecting"
    transport: TransportName | None = None
    connections: int = 0
    losses: int = 0
    missed_beats: int = 0
    frames_received: int = 0
    frames_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    pending: int = 0
    generation: int = 0
    client_id: str | None = None
    latency_ms: float | None = None
    latency_average_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_jitter_ms: float | None = None
    last_close: str | None = None
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT), repr=False)

    def add_latency(self, milliseconds: float | None) -> None:
        """Take a round trip; the first beat of a connection has none."""
        if milliseconds is None:
            return
        self._latencies.append(milliseconds)
        kept = list(self._latencies)
        steps = [abs(after - before) for before, after in pairwise(kept)]
        self.latency_ms = milliseconds
        self.latency_average_ms = sum(kept) / len(kept)
        self.latency_p95_ms = sorted(kept)[math.ceil(len(kept) * 0.95) - 1]
        self.latency_jitter_ms = sum(steps) / len(steps) if steps else 0.0

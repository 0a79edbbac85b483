"""Counters of one client."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

from session_mgmt.client.transports.carrier import TransportName

LATENCIES_KEPT = 100
# Says whether frames can pass, and if not, whether the client is trying to reconnect.
Status: TypeAlias = Literal["connecting", "connected", "reconnecting", "disconnected", "failed"]


@dataclass(frozen=True, slots=True)
class Latency:
    """Round trip times in milliseconds; None before the first one.

    Over a WebSocket the server measures each beat; over HTTP the client measures calls that are answered at once.
    `jitter_ms` is the average difference between two successive times.
    """

    last_ms: float | None = None
    average_ms: float | None = None
    p95_ms: float | None = None
    jitter_ms: float | None = None


@dataclass(slots=True)
class Stats:
    """Counters since `start`."""

    state: Status = "connecting"
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
    latency: Latency = Latency()
    last_close: str | None = None
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT), repr=False)

    def add_latency(self, milliseconds: float | None) -> None:
        """Add a round trip time in milliseconds; None, as on the first beat of a connection, is ignored."""
        if milliseconds is None:
            return
        self._latencies.append(milliseconds)
        kept = list(self._latencies)
        steps = [abs(after - before) for before, after in pairwise(kept)]
        self.latency = Latency(
            last_ms=milliseconds,
            average_ms=sum(kept) / len(kept),
            p95_ms=sorted(kept)[math.ceil(len(kept) * 0.95) - 1],
            jitter_ms=sum(steps) / len(steps) if steps else 0.0,
        )

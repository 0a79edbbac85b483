"""Counters of one client."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counters since `start`; `latency_ms` is the last round trip that the server measured, None before the first."""

    state: str = "connecting"
    connections: int = 0
    losses: int = 0
    frames_received: int = 0
    frames_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    pending: int = 0
    generation: int = 0
    client_id: str | None = None
    latency_ms: float | None = None
    last_close: str | None = None

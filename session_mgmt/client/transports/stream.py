"""Frames of an event stream, read from the body of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from session_mgmt.client.clock import Clock
from session_mgmt.client.transports.carrier import Frame

# Seconds for the first bytes, in addition to a round trip, and then for the first `ping`.
FIRST_BYTES_WITHIN = 2.0
PING_WITHIN = 3.0
SILENCE_SECONDS = 35.0


class FlowWatch:
    """Time limits in which a stream must show that data arrives."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._within: asyncio.Timeout | None = None
        # True until the first `ping`: before it, silence means that something buffers the stream.
        self.is_in_test = True
        self._has_bytes = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, within: asyncio.Timeout, patience: float) -> None:
        """Start to watch. If nothing comes in time, at first within `patience` seconds, end the block of `within`."""
        self._within = within
        self._plan(patience)

    def note_bytes(self) -> None:
        if self.is_in_test and self._has_bytes:
            return
        self._has_bytes = True
        self._plan(PING_WITHIN if self.is_in_test else SILENCE_SECONDS)

    def note_ping(self) -> None:
        self.is_in_test = False
        self.note_bytes()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self, seconds: float) -> None:
        self.stop()
        self._timer = self._clock.call_later(seconds, self._end)

    def _end(self) -> None:
        if self._within is not None:
            self._within.reschedule(0.0)


async def read_events(chunks: AsyncIterator[bytes], watch: FlowWatch) -> AsyncIterator[tuple[Frame, int]]:
    """Yield the frames of a stream as they arrive, each with its size in bytes."""
    rest = b""
    async for chunk in chunks:
        watch.note_bytes()
        # Decode complete events only, because the bytes of one character may arrive in two parts.
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            if (frame := _read_event(event)) is None:
                continue
            if frame["type"] == "ping":
                watch.note_ping()
            yield frame, len(event)


def _read_event(event: bytes) -> Frame | None:
    if not event.startswith(b"data:"):
        return None
    try:
        frame = json.loads(event.removeprefix(b"data:"))
    except ValueError:
        return None
    return frame if isinstance(frame, dict) and isinstance(frame.get("type"), str) else None

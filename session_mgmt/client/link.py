"""Connections of one client, one after another: open, receive, wait, and open again until the client stops."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from session_mgmt.client.attaches import Attaches
from session_mgmt.client.clock import Clock
from session_mgmt.client.core import Core
from session_mgmt.client.effects import Leave
from session_mgmt.client.stats import Stats
from session_mgmt.client.transports.carrier import SILENCE, SWITCH, UNREADABLE, Carrier, Frame, TransportName
from session_mgmt.protocol.codes import CLIENT_HEARTBEAT_LOST, CLIENT_OUT_OF_ORDER, Close

# Deadline until the server has named its own.
FIRST_DEADLINE = 15.0
# Seconds that a beat may be late before it counts as missed.
BEAT_LATE = 1.0
# Seconds that a connection must last after everything was recovered, so that its loss counts as a new one. The
# longer time is for a connection that ended because of a frame, which may come again at once.
LASTING, LASTING_UNREAD = 1.0, 30.0
# Two replacements within this time mean that a copy of this client runs elsewhere.
CLONE_SECONDS = 10.0

# Close codes of this client itself; its attach may have arrived before them.
_OWN_CODES = frozenset({CLIENT_HEARTBEAT_LOST, CLIENT_OUT_OF_ORDER})

# Another process has this client's name, so an attach would take its connection away.
TAKEN = Leave(Close.REPLACED, "replaced", reconnect=False)

logger = logging.getLogger(__name__)


class LinkPort(Protocol):
    """Calls that `Link` needs from the shell."""

    async def settle(self) -> Leave | None:
        """Settle the session before a connection; return None, or how to go on if that failed."""

    def build_carrier(self) -> Carrier:
        """Return the carrier of the next connection."""

    def build_connect(self) -> dict[str, Any]:
        """Return the first frame of an attachment, with its token."""

    def take_frame(self, frame: dict[str, Any]) -> None: ...

    def handle_loss(self, leave: Leave) -> Leave:
        """Handle the end of a connection or of an attempt; return how to go on."""

    def handle_switch(self) -> None:
        """Handle the end of an attachment that is followed by another one at once."""

    def note_transport(self, name: TransportName) -> None: ...

    def tell_missed(self, missed: int) -> None:
        """Report how many of the server's beats in a row did not come."""

    def become_new_client(self) -> None: ...

    def has_lost_storage(self) -> bool:
        """Return True if another process uses the storage of this client."""


class Link:
    """Link that reconnects. Before each connection the session is settled."""

    def __init__(self, core: Core, stats: Stats, clock: Clock, port: LinkPort) -> None:
        self._core, self._stats, self._clock, self._port = core, stats, clock, port
        self._attaches = Attaches()
        self._replaced_at = -math.inf
        # Time since which everything is recovered on this connection; infinity before that.
        self._whole_at = math.inf
        self._carrier: Carrier | None = None
        self._leaving: Leave | None = None
        self.departure: Leave | None = None

    async def run(self) -> Leave:
        """Reconnect as the close codes and the retry policy say; return the reason of the end."""
        failures = 0
        while True:
            self._whole_at = math.inf
            leave = TAKEN if self._port.has_lost_storage() else await self._port.settle()
            # From here on, a departure concerns the connection that begins now.
            self.departure = None
            leave = leave or await self._connect_once()
            # Otherwise a server that attaches clients and then fails would be flooded with attempts.
            failures = 0 if self._has_lasted(leave) else failures + 1
            # Read it before `mark_disconnected` resets it.
            was_ready = self._core.ready
            self._core.mark_disconnected()
            self._stats.last_close = f"{leave.code} {leave.name}"
            leave = self._judge_end(leave, was_ready=was_ready)
            leave = self._port.handle_loss(leave)
            # The application has closed the client, so the server's close codes no longer matter.
            if self._leaving is not None:
                return self._leaving
            if not leave.reconnect or self._core.backoff.is_exhausted(failures):
                return leave
            await self._clock.sleep(self._choose_delay(leave, failures))

    def send_frame(self, frame: Mapping[str, Any]) -> bool:
        """Send a frame if the connection is open and the server has answered `connected`; else return False."""
        if self._carrier is None or not self._core.ready:
            return False
        self._carrier.send_frame(frame)
        return True

    async def depart(self) -> None:
        """Close the present connection if `departure` is set; then `run` goes on as that says."""
        if self.departure is not None:
            await self.close_connection(self.departure.code)

    async def close_connection(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        """Close the present connection, if there is one; `run` decides how to go on."""
        if self._carrier is not None:
            await self._carrier.close(code, last)

    async def stop(self, last: Mapping[str, Any] | None) -> None:
        """Close for good, after a `last` frame."""
        self._leaving = Leave(1000, "closed", reconnect=False)
        # Set it before the connection ends; otherwise `run` would reconnect.
        await self.close_connection(1000, last)

    def _judge_end(self, leave: Leave, *, was_ready: bool) -> Leave:
        """Return how to go on. If another connection of this client has replaced this one, decide which one that is.

        Before `connected`, or while an answer is missing, it is an earlier attach of this client that the server served
        late. If it happens twice in a short time, a copy of this client runs elsewhere.
        """
        if leave.code != Close.REPLACED:
            if not was_ready and leave.code >= Close.DRAINING and leave.code not in _OWN_CODES:
                self._attaches.note_refused()
            return leave
        if self._port.has_lost_storage():
            return leave
        now = asyncio.get_running_loop().time()
        is_clone = now - self._replaced_at < CLONE_SECONDS
        if was_ready and not is_clone and not self._attaches.may_arrive:
            return leave
        self._replaced_at = now
        if is_clone:
            self._port.become_new_client()
        return replace(leave, reconnect=True)

    def _has_lasted(self, leave: Leave) -> bool:
        """Return True if the connection lasted so long that its end has nothing to do with the failure before."""
        least = LASTING_UNREAD if leave.code == CLIENT_OUT_OF_ORDER else LASTING
        return self._clock.now() - self._whole_at >= least

    def _choose_delay(self, leave: Leave, failures: int) -> float:
        backoff = self._core.backoff
        if leave.retry_after is None:
            return backoff.choose_delay(failures)
        return backoff.spread_delay(leave.retry_after, failures)

    async def _connect_once(self) -> Leave:
        carrier = self._port.build_carrier()
        try:
            leave = await carrier.open()
            if leave is None:
                self._carrier = carrier
                self._attach(carrier)
                leave = await self._receive_frames(carrier)
                await carrier.close(leave.code)
            return leave
        finally:
            self._carrier = None
            carrier.traffic.move_to(self._stats)
            await carrier.abandon()

    def _attach(self, carrier: Carrier) -> None:
        # The core may be in another session already, which this token does not open.
        if self.departure is None:
            self._attaches.note_begun()
            carrier.send_frame(self._port.build_connect())

    async def _receive_frames(self, carrier: Carrier) -> Leave:
        """Receive until the connection ends; any frame counts as a sign of life."""
        while self.departure is None:
            received = await self._receive_frame(carrier)
            carrier.traffic.move_to(self._stats)
            if received is SWITCH:
                self._core.mark_disconnected()
                self._port.handle_switch()
                self._attach(carrier)
                continue
            if isinstance(received, Leave):
                return self.departure or received
            if self.departure is not None:
                break
            try:
                self._port.take_frame(received)
            except (KeyError, TypeError, ValueError, IndexError):
                logger.exception("A frame of the server cannot be understood.")
                # The frame may be applied in part, so a new connection must begin at the stored positions.
                return UNREADABLE
            if received["type"] == "connected":
                self._attaches.note_answered(self._core.generation)
            # A new client has nothing to recover.
            if received["type"] == "recovery" or (received["type"] == "connected" and self._core.generation == 1):
                self._whole_at = min(self._whole_at, self._clock.now())
            if self._core.ready:
                self._port.note_transport(carrier.name)
        return self.departure

    async def _receive_frame(self, carrier: Carrier) -> Frame | Leave:
        """Return the next frame, or the reason of the end; report each beat that was missed meanwhile."""
        if not carrier.has_beats:
            return await carrier.receive_frame(None)
        waited, missed = 0.0, 0
        while True:
            # Read it every time, because the beats may be configured during the wait.
            beats = self._core.heartbeat
            deadline, interval = beats.get("deadline") or FIRST_DEADLINE, beats.get("interval") or math.inf
            until = min(deadline, interval * (missed + 1) + BEAT_LATE)
            received = await carrier.receive_frame(max(until - waited, 0.0))
            waited = max(until, waited)
            if received is not SILENCE or waited >= deadline:
                return received
            missed += 1
            self._port.tell_missed(missed)

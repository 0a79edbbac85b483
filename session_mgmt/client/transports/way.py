"""Experience of a client with its transports over all connections: whether and when to try a socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection

from session_mgmt.client.clock import Clock
from session_mgmt.client.effects import Leave
from session_mgmt.client.transports.carrier import Frame, TransportName, is_lost
from session_mgmt.client.transports.memory import Memory

# Seconds after which a living socket counts as useful.
USEFUL_AFTER = 10.0
# Number of useless sockets in a row after which the next connection begins over HTTP.
ENOUGH_USELESS = 3
# Number of lost sockets in a row before HTTP is tried, if earlier sockets got through.
ENOUGH_FAILURES = 3
# Seconds before each attempt to open a socket while HTTP is in use; the last one is repeated.
PROBES = (5.0, 30.0, 120.0, 600.0)
# Seconds before the first attempt if sockets got through before, because the server may just have restarted.
FIRST_PROBE = 0.2


class Way:
    """Experience of one client with the transports that it may use."""

    def __init__(
        self,
        allowed: Collection[TransportName],
        memory: Memory,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._allowed, self._memory, self._clock, self._chance = allowed, memory, clock, chance
        self.useless = 0
        # Before the first socket of a client there are no failures to wait for, so begin at the limit.
        self._failures = ENOUGH_FAILURES
        self._has_carried = False
        self._failed_probes = 0

    @property
    def is_open_to_sockets(self) -> bool:
        """False if a socket would only cost time."""
        return self.useless < ENOUGH_USELESS and not self._memory.is_blocked

    @property
    def prefers_streams(self) -> bool:
        return "sse" in self._allowed and not self._memory.is_buffered

    def note_buffered(self) -> None:
        self._memory.note_buffered()

    def note_blocked(self) -> None:
        """Note that a socket failed while HTTP got through."""
        self._memory.note_failure()

    def note_carried(self) -> None:
        """Note that a socket carries an attachment."""
        self._has_carried, self._failures = True, 0

    def blames_server(self) -> bool:
        """Note that a socket was lost before it carried frames; return True while this is probably the server's fault.

        Sockets got through before, and a restarting server refuses them for a while.
        """
        self._failures += 1
        return self._failures <= ENOUGH_FAILURES

    def note_use(self) -> None:
        """Note that a socket was useful."""
        self.useless = self._failed_probes = 0
        self._memory.clear_failures()

    def note_useless(self) -> None:
        """Note that a socket was lost before it was useful."""
        self.useless += 1
        if self.useless >= ENOUGH_USELESS:
            self._memory.note_failure()

    def watch_use(self) -> SocketUse:
        """Watch whether the socket that was attached now is useful."""
        return SocketUse(self, self._clock)

    def choose_probe_wait(self) -> float:
        """Return the seconds before the next attempt to open a socket."""
        is_first = self._has_carried and self.is_open_to_sockets and self._failed_probes == 0
        wait = FIRST_PROBE if is_first else PROBES[min(self._failed_probes, len(PROBES) - 1)]
        # Counts as failed until it succeeds.
        self._failed_probes += 1
        return wait * (0.8 + 0.4 * self._chance())


class SocketUse:
    """Watch of one attached socket, which is useful after its first beat or after some time."""

    def __init__(self, way: Way, clock: Clock) -> None:
        self._way = way
        self._is_useful = False
        self._timer: asyncio.TimerHandle | None = clock.call_later(USEFUL_AFTER, self._note_use)

    def note_frame(self, frame: Frame) -> None:
        if not self._is_useful and frame["type"] in ("ping", "pong"):
            self._note_use()

    def end(self, leave: Leave | None) -> None:
        """Handle the end of the socket; `leave` is None if this client has ended it."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_useful and leave is not None and is_lost(leave):
            self._way.note_useless()

    def _note_use(self) -> None:
        self._is_useful = True
        self._way.note_use()

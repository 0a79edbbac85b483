"""Way of one client to its server, over all its connections: whether sockets are worth a try, and when the next is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection

from session_mgmt.client.clock import Clock
from session_mgmt.client.effects import Leave
from session_mgmt.client.transports.carrier import Frame, TransportName, is_lost
from session_mgmt.client.transports.memory import Memory

# Seconds after which a socket that lives has been of use.
USEFUL_AFTER = 10.0
# Sockets in a row that opened and died, after which the next connection is over HTTP.
ENOUGH_USELESS = 3
# Sockets in a row that are lost, where some got through, before HTTP is tried.
ENOUGH_FAILURES = 3
# Seconds before the tries for a socket while HTTP carries; the last one again and again.
PROBES = (5.0, 30.0, 120.0, 600.0)
# Seconds before the first one of a client whose sockets got through: its server may just have started again.
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
        # Of a client that never had a socket, too many.
        self._failures = ENOUGH_FAILURES
        self._has_carried = False
        self._failed_probes = 0

    @property
    def is_open_to_sockets(self) -> bool:
        """False where a socket would only cost time."""
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
        """Note that a socket was lost before it carried; return True while that is rather the server's fault.

        A moment ago sockets got through, and a server that starts again refuses them for a while.
        """
        self._failures += 1
        return self._failures <= ENOUGH_FAILURES

    def note_use(self) -> None:
        """Note that a socket was of use."""
        self.useless = self._failed_probes = 0
        self._memory.clear_failures()

    def note_useless(self) -> None:
        """Note that a socket was lost before it was of use."""
        self.useless += 1
        if self.useless >= ENOUGH_USELESS:
            self._memory.note_failure()

    def watch_use(self) -> SocketUse:
        """Watch whether a socket that is attached now is of use."""
        return SocketUse(self, self._clock)

    def choose_probe_wait(self) -> float:
        """Return the seconds before the next try for a socket."""
        is_first = self._has_carried and self.is_open_to_sockets and self._failed_probes == 0
        wait = FIRST_PROBE if is_first else PROBES[min(self._failed_probes, len(PROBES) - 1)]
        # It fails, until it has succeeded.
        self._failed_probes += 1
        return wait * (0.8 + 0.4 * self._chance())


class SocketUse:
    """Use of one attached socket: its first beat shows it, or its age."""

    def __init__(self, way: Way, clock: Clock) -> None:
        self._way = way
        self._is_useful = False
        self._timer: asyncio.TimerHandle | None = clock.call_later(USEFUL_AFTER, self._note_use)

    def note_frame(self, frame: Frame) -> None:
        if not self._is_useful and frame["type"] in ("ping", "pong"):
            self._note_use()

    def end(self, leave: Leave | None) -> None:
        """Take the end; None if this client has ended it."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_useful and leave is not None and is_lost(leave):
            self._way.note_useless()

    def _note_use(self) -> None:
        self._is_useful = True
        self._way.note_use()

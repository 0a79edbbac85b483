"""Admission of connects: a client that would wait too long is refused before any work, and told when to come again.

So a storm slows connected clients down by single groups only, and no connected client is sent away.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from session_mgmt.exceptions import Busy

# Promise R1 names this bound. A client that gives up waiting comes again and has cost twice, so it is refused early.
LONGEST_WAIT = 2.0
# So many may wait at any pace: they are a few groups.
ALWAYS_ADMITTED = 128
# Connects a second, as long as no storm has shown the pace of this machine.
FIRST_PACE = 500.0
MEASURED_GROUPS = 8
# A disk that stops for a moment makes one or two groups slow, or as many turns of the event loop, and tells nothing of
# those that follow. So the slowest are taken for as slow as the next one, for so many seconds together; a database that
# is slow for longer, or for more groups, is slow.
HICCUPS, HICCUP_SECONDS = 2, 2.0
# A database that was away for a moment must not be taken for slow for ever: nobody would be let in to show that it is
# not. So a measurement counts for this long, and nobody is sent away for more than twice as long.
MEASURED_SECONDS = 10.0


class _Group(NamedTuple):
    """Group that was measured: its members, the seconds that they took, and when they were answered."""

    members: int
    seconds: float
    measured_at: float

    @property
    def cost(self) -> float:
        """Return the seconds of one member."""
        return self.seconds / self.members


class Admission:
    """Pace of connects, measured by the last groups, and the number of those that wait."""

    def __init__(self, clock: Callable[[], float], spread: Callable[[], float] = random.random) -> None:
        self._clock, self._spread = clock, spread
        self._groups: deque[_Group] = deque(maxlen=MEASURED_GROUPS)
        self._answered_at = 0.0
        self.waiting = 0

    @property
    def pace(self) -> float:
        """Return how many connects a second are answered under load."""
        while self._groups and self._groups[0].measured_at + MEASURED_SECONDS <= self._clock():
            self._groups.popleft()
        members = sum(group.members for group in self._groups)
        seconds = sum(group.seconds for group in self._groups) - self._find_forgiven()
        return members / seconds if seconds else FIRST_PACE

    def _find_forgiven(self) -> float:
        """Return the seconds that hiccups have added to the groups."""
        # Where too few were measured, the pace of before any was is as good a witness as theirs.
        costs = sorted([*(group.cost for group in self._groups), *[1 / FIRST_PACE] * HICCUPS], reverse=True)
        added = sum(max(0.0, group.seconds - group.members * costs[HICCUPS]) for group in self._groups)
        return min(added, HICCUP_SECONDS)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a connect as waiting. Raises ``Busy``, with the time after which to try again."""
        # Whoever fits into the next group is let in, however slow the last ones were: the first connects of a process
        # are slow, and a group costs little more than they do.
        if self.waiting >= ALWAYS_ADMITTED and (self.waiting + 1) / (pace := self.pace) >= LONGEST_WAIT:
            wait = min(self.waiting / pace, MEASURED_SECONDS)
            # Twice the wait at most: those who were sent away must not come all at once.
            raise Busy(retry_after=round(wait * (1 + self._spread()), 3))
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextmanager
    def step_aside(self, count: int = 1) -> Iterator[None]:
        """Do not count admitted connects while they wait for the application, which delays no others."""
        self.waiting -= count
        try:
            yield
        finally:
            self.waiting += count

    def note_group(self, members: int, *, taken_at: float, is_under_load: bool) -> None:
        """Measure a group whose answers have reached the event loop, with whatever else the loop did meanwhile.

        A group after which nobody waited may have been small for want of clients: it counts only if it was faster.
        """
        now = self._clock()
        # Groups overlap: the time until the last answer was counted with the group before.
        seconds = now - max(taken_at, self._answered_at)
        self._answered_at = now
        if seconds > 0 and (is_under_load or members / seconds > self.pace):
            self._groups.append(_Group(members, seconds, now))

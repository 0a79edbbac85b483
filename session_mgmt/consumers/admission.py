"""Admission of connects: a client that would wait too long is refused before any work, with the time to come again.

So a storm delays connected clients only by single groups, and no connected client is sent away.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from session_mgmt.exceptions import Busy

# Promise R1 names this limit. A client that stops waiting connects again and so costs twice: refuse it early.
LONGEST_WAIT = 2.0
# Up to this number may wait at any pace, because they make only a few groups.
ALWAYS_ADMITTED = 128
# Connects per second that are assumed before a storm has shown the pace of this machine.
FIRST_PACE = 500.0
MEASURED_GROUPS = 8
# A disk that stops for a moment makes one or two groups slow, or as many turns of the event loop, which says nothing
# about later ones. So the slowest count no more than the next slowest, for up to this many seconds in total. If the
# database is slow for longer, or for more groups, it counts as slow.
HICCUPS, HICCUP_SECONDS = 2, 2.0
# A short outage must not count for ever, because no client would be admitted to show that the database is fast again.
# So a measurement counts for this long, and no client is sent away for more than twice as long.
MEASURED_SECONDS = 10.0


class _Group(NamedTuple):
    """Measured group: its members, the seconds that it took, and when it was answered."""

    members: int
    seconds: float
    measured_at: float

    @property
    def cost(self) -> float:
        """Return the seconds of one member."""
        return self.seconds / self.members


class Admission:
    """Pace of connects, measured by the last groups, and the number of waiting connects."""

    def __init__(self, clock: Callable[[], float], spread: Callable[[], float] = random.random) -> None:
        self._clock, self._spread = clock, spread
        self._groups: deque[_Group] = deque(maxlen=MEASURED_GROUPS)
        self._answered_at = 0.0
        # Moment for which the last refused client was told to come again.
        self._booked_at = 0.0
        self.waiting = 0

    @property
    def pace(self) -> float:
        """Connects per second that are answered under load."""
        while self._groups and self._groups[0].measured_at + MEASURED_SECONDS <= self._clock():
            self._groups.popleft()
        members = sum(group.members for group in self._groups)
        seconds = sum(group.seconds for group in self._groups) - self._find_forgiven()
        return members / seconds if seconds else FIRST_PACE

    def _find_forgiven(self) -> float:
        """Return the seconds that short delays have added to the groups."""
        # If too few groups were measured, use the assumed pace for the missing ones.
        costs = sorted([*(group.cost for group in self._groups), *[1 / FIRST_PACE] * HICCUPS], reverse=True)
        added = sum(max(0.0, group.seconds - group.members * costs[HICCUPS]) for group in self._groups)
        return min(added, HICCUP_SECONDS)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a connect as waiting. Raises ``Busy`` with the time after which to try again."""
        # Admit every client that fits into the next group, even if the last groups were slow: the first connects of a
        # process are slow, and a group costs little more than they do.
        if self.waiting >= ALWAYS_ADMITTED and (self.waiting + 1) / (pace := self.pace) >= LONGEST_WAIT:
            raise Busy(retry_after=round(self._book_return(pace), 3))
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def _book_return(self, pace: float) -> float:
        """Return the seconds after which a refused client comes again: at most twice the wait.

        Each has its turn behind those who wait and those who were refused before it, because they must not all come
        back at once. If more are refused than that time has turns, they come back at random.
        """
        wait, now = min(self.waiting / pace, MEASURED_SECONDS), self._clock()
        booked_at = max(self._booked_at, now + wait) + 1 / pace
        if booked_at > now + 2 * wait:
            return wait * (1 + self._spread())
        self._booked_at = booked_at
        return booked_at - now

    @contextmanager
    def step_aside(self, count: int = 1) -> Iterator[None]:
        """Do not count admitted connects while they wait for the application, which delays nobody else."""
        self.waiting -= count
        try:
            yield
        finally:
            self.waiting += count

    def note_group(self, members: int, *, taken_at: float, is_under_load: bool) -> None:
        """Measure a group whose answers have reached the event loop, including other work of the loop meanwhile.

        If nobody waited after a group, it may have been small because few clients came: it counts only if it was
        faster.
        """
        now = self._clock()
        # Groups overlap: the time until the last answer was counted for the previous group.
        seconds = now - max(taken_at, self._answered_at)
        self._answered_at = now
        if seconds > 0 and (is_under_load or members / seconds > self.pace):
            self._groups.append(_Group(members, seconds, now))

"""Admission of connects: whoever would wait too long is told when to come again, before any work is done for him.

So a storm takes from those who are connected no more than the groups that they wait for, and nobody is sent away who
is connected.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from session_mgmt.exceptions import Busy

LONGEST_WAIT = 2.0
# Connects a second, as long as no storm has shown the pace of this machine.
FIRST_PACE = 500.0
MEASURED_GROUPS = 8


class Admission:
    """Pace of connects, measured by the last groups, and the number of those that wait."""

    def __init__(self, clock: Callable[[], float], spread: Callable[[], float] = random.random) -> None:
        self._clock, self._spread = clock, spread
        # Members and seconds of groups.
        self._groups: deque[tuple[int, float]] = deque(maxlen=MEASURED_GROUPS)
        self._answered_at = 0.0
        self.waiting = 0

    @property
    def pace(self) -> float:
        """Return how many connects a second are answered under load."""
        seconds = sum(group[1] for group in self._groups)
        return sum(group[0] for group in self._groups) / seconds if seconds else FIRST_PACE

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a connect among those that wait. Raises ``Busy``, with the time after which to come again."""
        wait = self.waiting / self.pace
        if (self.waiting + 1) / self.pace >= LONGEST_WAIT:
            # Twice the wait at most: whoever comes next must not come all at once.
            raise Busy(retry_after=round(wait * (1 + self._spread()), 3))
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextmanager
    def step_aside(self) -> Iterator[None]:
        """Count an admitted connect out while it waits for the application, which takes nothing from the others."""
        self.waiting -= 1
        try:
            yield
        finally:
            self.waiting += 1

    def note_group(self, members: int, *, taken_at: float, is_under_load: bool) -> None:
        """Measure a group whose answers have reached the event loop, with whatever else the loop did meanwhile.

        A group after which nobody waited says only that there was little to do.
        """
        now = self._clock()
        seconds = now - max(taken_at, self._answered_at)
        self._answered_at = now
        if is_under_load and seconds > 0:
            self._groups.append((members, seconds))

"""Clock for tests: no time passes by itself."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """Seconds that pass when a test says so, and the timers that wait for them; called, it gives the time."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Wait with a callback, as an event loop does."""
        self.timers.append((self.now + seconds, callback))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and call back whoever is due."""
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer not in due]
        for _, callback in due:
            callback()

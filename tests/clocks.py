"""Clocks for tests: no time passes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any


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


class LoopTime:
    """Clock of an event loop, and of the database, from now on; everything else of the loop is its own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._began = self._loop.time()
        self._date = datetime.now(UTC)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        """Return the time as the loop does."""
        return self.now

    def read(self, using: str) -> datetime:
        """Return the time as the clock of the database does."""
        return self._date + timedelta(seconds=self.now - self._began)

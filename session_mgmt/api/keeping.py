"""Cache for answers that many callers ask for at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any


class Kept:
    """Value that is computed again after some seconds, by one caller while the others wait for the result."""

    def __init__(self, compute: Callable[[], Any], seconds: float) -> None:
        self._compute, self._seconds = compute, seconds
        self._lock = threading.Lock()
        self._value: Any = None
        self._until = 0.0

    def read(self) -> Any:
        """Return the value, at most ``seconds`` old."""
        # Hold the lock while computing, so that a hundred callers at once cost one computation.
        with self._lock:
            if monotonic() >= self._until:
                self._value = self._compute()
                # Take the time after the computation, which may have been slow itself.
                self._until = monotonic() + self._seconds
            return self._value

    def forget(self) -> None:
        """Forget the value, so that the next call computes it again."""
        with self._lock:
            self._until = 0.0

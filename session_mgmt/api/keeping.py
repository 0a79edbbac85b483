"""Answers that are computed for many callers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any


class Kept:
    """Value that is computed anew after some seconds, by one caller while the others wait for it."""

    def __init__(self, compute: Callable[[], Any], seconds: float) -> None:
        self._compute, self._seconds = compute, seconds
        self._lock = threading.Lock()
        self._value: Any = None
        self._until = 0.0

    def read(self) -> Any:
        """Return the value, at most ``seconds`` old."""
        # Held while the value is computed: a hundred callers at once cost one computation, not a hundred.
        with self._lock:
            if monotonic() >= self._until:
                self._value = self._compute()
                # After the computation, which may have taken long itself.
                self._until = monotonic() + self._seconds
            return self._value

    def forget(self) -> None:
        """Compute the value anew at the next call."""
        with self._lock:
            self._until = 0.0

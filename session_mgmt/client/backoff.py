"""Waits between attempts to connect."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Backoff:
    """Retry policy with full jitter: up to `min(maximum, initial * factor ** attempt)` seconds (PROTOCOL section 10).

    The jitter is full because all clients begin to wait at the same moment when a server restarts.
    """

    initial: float = 0.5
    maximum: float = 20.0
    factor: float = 2.0
    attempts: int = 0

    def choose_delay(self, attempt: int, chance: Callable[[], float] = random.random) -> float:
        """Return the seconds before attempt `attempt` (0 is the first); `chance` returns numbers in [0, 1)."""
        return self.compute_bound(attempt) * chance()

    def spread_delay(self, told: float, attempt: int, chance: Callable[[], float] = random.random) -> float:
        """Return the seconds before an attempt if the server asked for `told` seconds: at least `told`, up to 1 s more.

        Clients that received the same number must not all come at the same moment.
        """
        return told + min(1.0, self.compute_bound(attempt)) * chance() if told > 0 else 0.0

    def compute_bound(self, attempt: int) -> float:
        try:
            return min(self.maximum, self.initial * self.factor**attempt)
        except OverflowError:  # days without a network
            return self.maximum

    def is_exhausted(self, attempt: int) -> bool:
        """Return True after as many failed attempts as the policy allows; 0 allows any number."""
        return bool(self.attempts) and attempt >= self.attempts


def read_policy(policy: Mapping[str, Any], before: Backoff) -> Backoff:
    """Read the `retry` member of `connected`; keep the values of `before` that it leaves out."""
    return Backoff(
        initial=float(policy.get("initial", before.initial)),
        maximum=float(policy.get("maximum", before.maximum)),
        factor=float(policy.get("factor", before.factor)),
        attempts=int(policy.get("attempts", before.attempts)),
    )

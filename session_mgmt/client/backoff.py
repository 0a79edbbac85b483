"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: between 0 and `min(maximum, initial * factor ** attempt)` seconds (PROTOCOL section 10).

    Full jitter and not a spread around the middle: after a restart every client starts its wait at the same moment.
    """

    initial: float = 0.5
    maximum: float = 20.0
    factor: float = 2.0
    attempts: int = 0

    def delay(self, attempt: int, chance: Callable[[], float] = random.random) -> float:
        """Seconds before attempt `attempt` (0 is the first); `chance` gives numbers in [0, 1)."""
        return self.ceiling(attempt) * chance()

    def ceiling(self, attempt: int) -> float:
        try:
            return min(self.maximum, self.initial * self.factor**attempt)
        except OverflowError:  # days without a network
            return self.maximum

    def exhausted(self, attempt: int) -> bool:
        """Whether `attempt` failed attempts are all that the server's policy allows; 0 allows any number."""
        return bool(self.attempts) and attempt >= self.attempts


def from_policy(policy: Mapping[str, Any], before: Backoff) -> Backoff:
    """The `retry` member of `connected`; what it leaves out stays as it was."""
    return Backoff(
        initial=float(policy.get("initial", before.initial)),
        maximum=float(policy.get("maximum", before.maximum)),
        factor=float(policy.get("factor", before.factor)),
        attempts=int(policy.get("attempts", before.attempts)),
    )

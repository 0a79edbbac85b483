"""Budgets of callers for rate limits: token buckets in the memory of this process, which a restart refills."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

# Each costs about 200 bytes. The one that was used the longest time ago gives way: it is probably full again.
MOST_BUCKETS = 50_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Charge(NamedTuple):
    """Cost of one call to one bucket, which refills by ``rate`` a second up to ``burst``."""

    key: str
    cost: float
    rate: float
    burst: float


class Budgets:
    """Token buckets by key. Times are seconds of any clock that does not go back."""

    def __init__(self, most: int = MOST_BUCKETS) -> None:
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def spend(self, charges: Iterable[Charge], now: float) -> float:
        """Take all charges, or none if one bucket lacks tokens. Return the seconds to wait, 0 if they were taken."""
        with self._lock:
            found = [(self._find_bucket(charge, now), charge) for charge in charges]
            waits = [(charge.cost - bucket.tokens) / charge.rate for bucket, charge in found]
            # None are taken then: a call that is refused must not make its caller wait longer for the next one.
            if (wait := max(waits, default=0.0)) > 0:
                return wait
            for bucket, charge in found:
                bucket.tokens -= charge.cost
            return 0.0

    def fine(self, charges: Iterable[Charge], now: float) -> None:
        """Take charges even from empty buckets. The debt of a bucket is at most one such charge."""
        with self._lock:
            for charge in charges:
                bucket = self._find_bucket(charge, now)
                # Without this bound the debt of a storm of failures would lock out all who
                # share the address long after it.
                bucket.tokens = max(bucket.tokens - charge.cost, -charge.cost)

    def clear(self) -> None:
        """Fill all buckets."""
        with self._lock:
            self._buckets.clear()

    def _find_bucket(self, charge: Charge, now: float) -> _Bucket:
        bucket = self._buckets.get(charge.key)
        if bucket is None:
            bucket = self._buckets[charge.key] = _Bucket(charge.burst, now)
            if len(self._buckets) > self._most:
                # Bounded, because anybody can make up tokens, each of which has a bucket.
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(charge.key)
        bucket.tokens = min(bucket.tokens + max(now - bucket.at, 0.0) * charge.rate, charge.burst)
        bucket.at = now
        return bucket


@lru_cache(maxsize=1)
def _budgets_of(pid: int) -> Budgets:
    # By process id: a fork would share the state of the lock, which another thread may
    # hold, and nobody would release it.
    return Budgets()


def budgets() -> Budgets:
    """Return the budgets of this process."""
    return _budgets_of(os.getpid())

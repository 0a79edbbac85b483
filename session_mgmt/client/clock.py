"""Clock and timers of a client. Tests replace them, so that they need not wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable


class Clock:
    """Clock of the machine. It counts seconds since 1970, because ages outlive the process; it may be set back."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


@contextlib.asynccontextmanager
async def limit_time(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError if the block takes longer by this clock."""
    async with asyncio.timeout(None) as within:
        timer = clock.call_later(seconds, lambda: within.reschedule(0.0))
        try:
            yield
        finally:
            timer.cancel()

"""Time of a client: the ages of its tokens and all its waits, so that tests can let it pass."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable


class Clock:
    """Clock of the machine. Ages must outlive the process, so it counts from 1970, and may be set back."""

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

"""Timer for the exchange of tokens while a connection is open."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from session_mgmt.client.clock import Clock
from session_mgmt.client.errors import Refused, Stopped, Unanswered

RENEW_AGAIN = 5.0


class Renewal:
    """Timer by the age of the tokens. `renew` exchanges them; `leave` ends the connection if a new one is necessary."""

    def __init__(
        self,
        clock: Clock,
        find_due_in: Callable[[], float],
        renew: Callable[[], Awaitable[bool]],
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        self._clock, self._find_due_in, self._renew, self._leave = clock, find_due_in, renew, leave
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_active = False

    def plan(self) -> None:
        """Schedule the next exchange, and further ones until `stop`."""
        self._is_active = True
        self._plan_after(self._find_due_in())

    def stop(self) -> None:
        """Schedule nothing more; the next connection settles the tokens before it opens."""
        self._is_active = False
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """Stop, and cancel an exchange that is running: its nonce is stored, so the next start repeats it."""
        self.stop()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _plan_after(self, seconds: float) -> None:
        self._cancel_timer()
        if self._is_active and seconds < math.inf:
            self._timer = self._clock.call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._exchange())

    async def _exchange(self) -> None:
        try:
            is_settled = await self._renew()
        except Stopped:
            return
        except Unanswered:
            self._plan_after(RENEW_AGAIN)
        except Refused as error:
            if error.temporary:
                self._plan_after(max(RENEW_AGAIN, error.retry_after or 0.0))
            else:
                await self._leave()
        else:
            if is_settled:
                # Also if nothing was due yet, because a timer may fire a few milliseconds before the clock says so.
                self._plan_after(self._find_due_in())
            else:
                await self._leave()

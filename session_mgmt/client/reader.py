"""Queue between a callback and an `async for`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol

from session_mgmt.client.errors import ClientError, Stopped, TooSlow
from session_mgmt.client.listeners import Listeners

WAITING_LIMIT = 1000


class ReaderPort(Protocol):
    """Parts of a client that end its readers."""

    events: Listeners

    @property
    def stopped(self) -> Stopped | None:
        """Reason why the client has stopped; None while it has not."""


class Reader:
    """Queue of values between a callback and an `async for`; at most `limit` values wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Any] = deque()
        self._changed = asyncio.Event()
        self._error: ClientError | None = None

    def put(self, value: Any) -> None:
        """Add a value; end the reading with TooSlow if too many wait."""
        if len(self._waiting) < self._limit:
            self._waiting.append(value)
        else:
            self._error = self._error or TooSlow(len(self._waiting))
        self._changed.set()

    async def read(self, port: ReaderPort) -> AsyncIterator[Any]:
        """Yield the values in order. Raises TooSlow, Stopped or the error given to `fail`, after the waiting values."""
        if port.stopped is not None:
            raise port.stopped
        forget = port.events.add("stopped", self._stop)
        try:
            while True:
                while self._waiting:
                    yield self._waiting.popleft()
                if self._error is not None:
                    raise self._error
                # Clear only after everything was read, because a value that arrives later sets it again.
                self._changed.clear()
                await self._changed.wait()
        finally:
            forget()

    def fail(self, error: ClientError) -> None:
        """End the reading with an error, after the values that are waiting."""
        self._error = self._error or error
        self._changed.set()

    def _stop(self, reason: dict[str, Any]) -> None:
        self.fail(Stopped(reason["code"], reason["name"]))

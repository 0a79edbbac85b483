"""Messages that the application's handler works on right now, by their numbers: a repetition waits for the same answer.

A handler may take longer than a call over HTTP, or than a socket lives. The client then sends the message again, and it
must not be begun a second time beside the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from session_mgmt.actions.outcome import Outcome

# Client, number and digest of the request.
Name: TypeAlias = tuple[int, int, bytes]


class Sends:
    """One per event loop."""

    def __init__(self) -> None:
        self._running: dict[Name, asyncio.Task[Outcome]] = {}

    async def run(self, name: Name, begin: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Return the outcome of a message: of the handler that is running, or of one that is begun now.

        Whoever gives up waiting leaves the handler running.
        """
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.get_running_loop().create_task(self._finish(name, begin), name="send")
            # Everybody who waited may have left; a failure is then nobody's.
            task.add_done_callback(_take_failure)
        return await asyncio.shield(task)

    async def _finish(self, name: Name, begin: Callable[[], Awaitable[Outcome]]) -> Outcome:
        try:
            return await begin()
        finally:
            del self._running[name]


def _take_failure(task: asyncio.Task[Outcome]) -> None:
    if not task.cancelled():
        task.exception()

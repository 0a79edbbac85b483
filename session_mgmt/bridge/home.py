"""Event loop of a process that serves clients over HTTP, also for views that run in threads.

With ASGI it is the server's loop. A process of a WSGI server has none, so it gets one in a thread when the first
client comes. So the same code serves both.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")

# Seconds for the farewell on our own loop.
STOP_SECONDS = 10.0


class HomeLoop:
    """Run work of threads on the loop; ``farewell`` is awaited before a loop of our own ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: asyncio.AbstractEventLoop | None = None
        self._own: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._farewell: Callable[[], Awaitable[None]] | None = None

    def adopt(self) -> None:
        """Use the running loop, which belongs to an ASGI server."""
        self._server = asyncio.get_running_loop()

    def run(self, work: Callable[[], Coroutine[Any, Any, R]], farewell: Callable[[], Awaitable[None]]) -> R:
        """Run work on the loop, and wait in this thread for its result."""
        return asyncio.run_coroutine_threadsafe(work(), self._find_loop(farewell)).result()

    def _find_loop(self, farewell: Callable[[], Awaitable[None]]) -> asyncio.AbstractEventLoop:
        server = self._server
        if server is not None and server.is_running():
            return server
        with self._lock:
            if self._own is None:
                self._own, self._farewell = asyncio.new_event_loop(), farewell
                # A daemon, because the end of the process must not wait for it.
                self._thread = threading.Thread(target=self._own.run_forever, name="session_mgmt-home", daemon=True)
                self._thread.start()
            return self._own

    def close(self) -> None:
        """End a loop of our own."""
        with self._lock:
            loop, thread, farewell = self._own, self._thread, self._farewell
            self._own = self._thread = self._farewell = None
        if loop is None or thread is None or farewell is None:
            return
        asyncio.run_coroutine_threadsafe(_call_and_wait(farewell), loop).result(STOP_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_SECONDS)
        loop.close()


async def _call_and_wait(farewell: Callable[[], Awaitable[None]]) -> None:
    await farewell()

"""Threads for the calls of clients that pass through Django, which would start and end one for each request."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from inspect import signature

from asgiref.sync import ThreadSensitiveContext

# Kept while nobody calls; a storm has more, which end after it.
MOST_IDLE = 16
# Older ones take no executor from outside, and Django starts its threads itself then.
_CAN_LEND = "executor" in signature(ThreadSensitiveContext.__init__).parameters


class RequestThreads:
    """One per application. Each thread serves one request at a time, with everything that is sync in it."""

    def __init__(self) -> None:
        # Threads give themselves back: its methods are atomic.
        self._idle: deque[ThreadPoolExecutor] = deque()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[None]:
        """Have sync code of the block run on one thread that others have used before."""
        if not _CAN_LEND:
            yield
            return
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="session_mgmt-request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                yield
        finally:
            # Behind what may still run there: a client that has left ends the request, and not the thread's work.
            thread.submit(_do_nothing).add_done_callback(partial(self._take_back, thread))

    def _take_back(self, thread: ThreadPoolExecutor, _: Future[None]) -> None:
        if len(self._idle) < MOST_IDLE:
            self._idle.append(thread)
        else:
            thread.shutdown(wait=False)


def _do_nothing() -> None:
    """Come after everything else on a thread."""

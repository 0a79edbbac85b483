"""Background work of one connection: it ends with the connection at the latest, and a failure ends the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeAlias

from session_mgmt.consumers.inbox import REQUEST_COST, Inbox
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.codes import Close

logger = logging.getLogger(__name__)

# Requests of a connection that are handled at the same time; more of them wait in the socket.
MOST_REQUESTS = 16

Work: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]


class Worker(Protocol):
    """Interface of the connection for which the work is done."""

    inbox: Inbox

    def push_error(self, error: SessionMgmtError) -> None:
        """Send an error that answers no request."""

    def stop(self, code: Close) -> None:
        """Say goodbye and close."""


class SideWork:
    """Tasks of one connection."""

    __slots__ = ("_connection", "_loop", "_requests", "_tasks")

    def __init__(self, connection: Worker) -> None:
        self._loop = asyncio.get_running_loop()
        # None after the end, because then there is no more work.
        self._connection: Worker | None = connection
        # Kept, because an event loop holds its tasks by weak references only.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._requests = asyncio.Semaphore(MOST_REQUESTS)

    def start(self, work: Work) -> None:
        """Begin a piece of work."""
        if self._connection is None:
            return
        # Not a coroutine, because one that is cancelled before its first step would never be awaited.
        task = self._loop.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Work) -> None:
        try:
            await work()
        except SessionMgmtError as error:
            if self._connection is not None:
                self._connection.push_error(error)
        except Exception:
            logger.exception("Work of a connection failed")
            if self._connection is not None:
                self._connection.stop(Close.INTERNAL_ERROR)

    def start_request(self, work: Work) -> None:
        """Begin to answer a request; until it is answered, it counts in the inbox."""
        if self._connection is not None:
            inbox = self._connection.inbox
            inbox.add_frame(REQUEST_COST)
            self.start(partial(self._answer_request, work, inbox))

    async def _answer_request(self, work: Work, inbox: Inbox) -> None:
        try:
            # Others wait here and count in the inbox, which stops the reading when there are many (promise R5).
            async with self._requests:
                await work()
        finally:
            inbox.finish_frame(REQUEST_COST)

    def stop(self) -> None:
        """Cancel all running work, and start nothing more."""
        self._connection = None
        # A copy, because a task removes itself from the set when it ends.
        for task in tuple(self._tasks):
            task.cancel()

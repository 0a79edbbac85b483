"""Client for programs without asyncio: the same calls, which block until their answer."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from session_mgmt.client.presence import Presence
from session_mgmt.client.session import SessionClient
from session_mgmt.client.topics import Subscription

OWN_THREAD = "A callback must not wait for the client: put the value into a queue.Queue, or read in a loop."
OTHER_PROCESS = "The client belongs to the process that made it: make another one after a fork."
CLOSED = "The client is closed: make another one."


class LoopThread:
    """Event loop in a thread of its own. Any other thread may run functions on it."""

    def __init__(self, patience: float | None) -> None:
        self._patience, self._process = patience, os.getpid()
        self._loop = asyncio.new_event_loop()
        # Without it, work that is given to the loop while it ends would never begin. A signal handler may take it
        # again in the same thread.
        self._lock, self._is_ended = threading.RLock(), False
        # A daemon thread, so that a program that never calls `close` can end. With a file as storage nothing is lost.
        self._thread = threading.Thread(target=self._run_loop, name="session-client", daemon=True)
        self._thread.start()

    def run(self, function: Callable[[], Any]) -> Any:
        """Call a function on the loop and return its result, awaited if it is awaitable. Raises TimeoutError."""
        return self.wait_for(_settle(function), self._patience)

    def wait_for(self, work: Coroutine[Any, Any, Any], patience: float | None = None) -> Any:
        """Return the result of a coroutine. Raises TimeoutError after `patience` seconds; None sets no limit."""
        try:
            running = self._begin(work)
        except RuntimeError:
            work.close()
            raise
        try:
            return running.result(patience)
        except BaseException as problem:
            # Also if the program is interrupted, because then nobody waits for the answer any more.
            running.cancel()
            if isinstance(problem, CancelledError) and self._is_ended:
                raise RuntimeError(CLOSED) from problem
            raise

    def check_caller(self) -> None:
        """Raise RuntimeError in a callback, which would wait for itself, and in another process."""
        if os.getpid() != self._process:
            raise RuntimeError(OTHER_PROCESS)
        if threading.current_thread() is self._thread:
            raise RuntimeError(OWN_THREAD)

    def end(self) -> None:
        """End the loop and its thread, with everything that still runs there."""
        with self._lock:
            self._is_ended = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        self.check_caller()
        with self._lock:
            if self._is_ended:
                raise RuntimeError(CLOSED)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run_loop(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(_cancel_others())
        self._loop.close()


class Blocking:
    """Wrapper of a part of the client: its methods block until their answer, and its iterators are plain iterators."""

    def __init__(self, part: Any, thread: LoopThread) -> None:
        self._part, self._thread = part, thread

    def __repr__(self) -> str:
        return f"<Blocking {self._part!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        # Read it on the loop, where nothing can change at the same time.
        found = self._thread.run(lambda: getattr(self._part, name))
        return self._wrap(found) if callable(found) else found

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = self._thread.run(lambda: function(*arguments, **named))
            if isinstance(result, AsyncIterator):
                return self._iterate(result)
            if isinstance(result, Subscription):
                return Subscription(self._wrap(result), result.complete)
            if isinstance(result, Presence):
                return Blocking(result, self._thread)
            # For example the function that removes a listener.
            return self._wrap(result) if inspect.isfunction(result) else result

        return call

    def _iterate(self, values: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    value = self._thread.wait_for(values.__anext__())
                except StopAsyncIteration:
                    return
                yield value
        finally:
            with contextlib.suppress(RuntimeError):
                self._thread.run(values.aclose)


class SyncSessionClient:
    """`SessionClient` whose calls wait for their answer. It may be used by several threads at once.

    It has the methods and properties of `SessionClient`, including `state`, `document(name)`, `topics` and `sessions`,
    and takes the same options. It returns the answer instead of a future, and plain iterators instead of asynchronous
    ones. Callbacks are called in the client's own thread, and must not call the client.
    """

    def __init__(self, url: str, *, timeout: float | None = None, **options: Any) -> None:
        """Start, and return when the client is connected. Raises Refused, Unanswered or Stopped.

        A call that takes longer than `timeout` seconds raises TimeoutError, but a write goes on. The start and
        iterators have no such limit.
        """
        if timeout is not None and (
            isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0
        ):
            raise ValueError(f"timeout is a number of seconds above 0, or None, not {timeout!r}")
        self._thread = LoopThread(timeout)
        # A signal handler may close the client while the same thread closes it.
        self._lock, self._is_closed = threading.RLock(), False
        try:
            self._client: SessionClient = self._thread.wait_for(_start(url, options))
        except BaseException:
            self._thread.end()
            raise
        self._face = Blocking(self._client, self._thread)
        self.state, self.topics, self.sessions = (
            Blocking(part, self._thread) for part in (self._client.state, self._client.topics, self._client.sessions)
        )

    def __repr__(self) -> str:
        return f"<Sync{repr(self._client)[1:]}"

    def __enter__(self) -> SyncSessionClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._face, name)

    def document(self, name: str) -> Blocking:
        """Return a document of the session; the document `main` is also `state`."""
        return Blocking(self._thread.run(lambda: self._client.document(name)), self._thread)

    def run(self, function: Callable[[SessionClient], Any]) -> Any:
        """Call `function(client)` with the asynchronous client on its loop, and return its awaited result.

        With it, several writes need not wait for each other:
        `client.run(lambda c: asyncio.gather(c.send(1), c.send(2)))`.
        """
        return self._thread.run(lambda: function(self._client))

    def logout(self) -> None:
        """End the session: send unsent writes for at most 2 s, then leave nothing in the storage."""
        self._end(self._client.logout)

    def close(self) -> None:
        """Close the connection and end the thread; a second call does nothing."""
        self._end(self._client.close)

    def _end(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        # Before the lock, which is held by the thread that waits for this callback.
        self._thread.check_caller()
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                try:
                    self._thread.wait_for(end())
                finally:
                    self._thread.end()


async def _cancel_others() -> None:
    """Cancel all tasks of the loop; otherwise threads that wait for one of them would wait for ever."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _settle(function: Callable[[], Any]) -> Any:
    result = function()
    return await result if inspect.isawaitable(result) else result


async def _start(url: str, options: dict[str, Any]) -> SessionClient:
    return await SessionClient.start(url, **options)

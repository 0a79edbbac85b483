"""Threads that hold database connections and carry out jobs in a fair order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from time import monotonic
from typing import Any, TypeVar

from django.db import connections

R = TypeVar("R")

# Seconds for the end of all threads of a process together, because a thread that hangs must not prevent the end.
STOP_SECONDS = 10.0


class Threads:
    """Small pool of threads, started when needed.

    Jobs of one key run one at a time and in order; keys take turns, so that a key with many jobs does not delay others.
    Jobs without a key run as soon as a thread is free.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._condition = threading.Condition()
        self._jobs: dict[Hashable, deque[tuple[Future[Any], Callable[[], Any]]]] = {}
        # Keys that have a job but no thread, in the order of their turns.
        self._ready: deque[Hashable] = deque()
        self._threads: list[threading.Thread] = []
        self._free = 0
        self._closing = False
        self.waiting = 0

    def submit(self, work: Callable[[], R], key: Hashable = None) -> Future[R]:
        """Queue a job; its future holds the result."""
        future: Future[R] = Future()
        # A unique key, so that no other job waits behind this one.
        key = object() if key is None else key
        with self._condition:
            if self._closing:
                raise RuntimeError("The threads are closed.")
            self.waiting += 1
            if key in self._jobs:
                # Wake no thread: the one that runs the present job will put the key back into the queue.
                self._jobs[key].append((future, work))
                return future
            self._jobs[key] = deque([(future, work)])
            self._ready.append(key)
            # A free thread may be about to take an earlier job, so count all jobs that are ready.
            if self._free < len(self._ready) and len(self._threads) < self._most:
                self._start_thread()
            self._condition.notify()
        return future

    def finish(self) -> list[threading.Thread]:
        """Accept no more jobs. Return the threads, which finish the waiting jobs, close their connections and end."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        return self._threads

    def close(self) -> None:
        """Finish waiting work, end the threads, and close their database connections."""
        join_threads(self.finish())

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        # Daemons, because a function of the project that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._work_off, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work_off(self) -> None:
        try:
            while (key := self._take_turn()) is not None:
                future, work = self._jobs[key][0]
                if future.set_running_or_notify_cancel():
                    fulfil(future, work)
                    _close_broken_connections()
                # Otherwise an idle thread would keep the last job and its result in memory.
                del future, work
                self._end_turn(key)
        finally:
            # Django's connections belong to their threads; without this, they stay open after the thread's end (promise
            # R3).
            connections.close_all()

    def _take_turn(self) -> Hashable | None:
        with self._condition:
            self._free += 1
            self._condition.wait_for(lambda: self._ready or self._closing)
            self._free -= 1
            # Also while closing, because waiting jobs are finished first.
            return self._ready.popleft() if self._ready else None

    def _end_turn(self, key: Hashable) -> None:
        with self._condition:
            self.waiting -= 1
            jobs = self._jobs[key]
            jobs.popleft()
            if jobs:
                # At the end of the queue, so that all other keys have their turn first.
                self._ready.append(key)
                self._condition.notify()
            else:
                del self._jobs[key]


def join_threads(threads: Iterable[threading.Thread], until: float | None = None) -> None:
    """Wait for the end of threads, together at most ``STOP_SECONDS`` or until a time of the monotonic clock."""
    until = monotonic() + STOP_SECONDS if until is None else until
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))


def _close_broken_connections() -> None:
    """Let the next job open a new connection if a database has failed meanwhile.

    The job may have handled the error, and code of the project may use another database; Django checks this only at the
    end of a request.
    """
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


def fulfil(future: Future[R], work: Callable[[], R]) -> None:
    """Run a job, and set its result or its error on its future."""
    try:
        result = work()
    except Exception as error:
        future.set_exception(error)
    except BaseException as error:
        # If it were raised again where it is awaited, it would end the event loop and so the server.
        ended = RuntimeError(f"The work of a thread ended with {error!r}.")
        ended.__cause__ = error
        future.set_exception(ended)
    else:
        future.set_result(result)

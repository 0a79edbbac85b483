"""Threads for requests that wait: as many as there are requests, and a few that stay for later ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from django.db import connections

from session_mgmt.bridge.threads import fulfil

R = TypeVar("R")
Job = tuple[Future[Any], Callable[[], Any]]

# Threads that are kept between calls, and for how long; a storm has more of them, which end after it.
MOST_IDLE = 16
IDLE_SECONDS = 10.0


class RequestThreads:
    """Threads that each run one request from start to end, so that requests that wait for each other
    are never queued.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        # Number of threads that wait for a job, or that are about to take one from the queue.
        self._idle = 0
        self._closing = False

    def submit(self, work: Callable[[], R]) -> Future[R]:
        """Begin a job at once; its future holds the result."""
        future: Future[R] = Future()
        with self._lock:
            if self._closing:
                raise RuntimeError("The threads are closed.")
            if self._idle:
                self._idle -= 1
                self._jobs.put((future, work))
                return future
        # A daemon, because a middleware that hangs must not keep the process from ending.
        threading.Thread(target=self._work_off, args=((future, work),), name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """End the threads that wait; the others end after their request."""
        with self._lock:
            self._closing = True
            for _ in range(self._idle):
                self._jobs.put(None)
            self._idle = 0

    def _work_off(self, job: Job | None) -> None:
        try:
            while job is not None:
                future, work = job
                if future.set_running_or_notify_cancel():
                    fulfil(future, work)
                # Otherwise an idle thread would keep the last job and its result in memory.
                del future, work
                job = None
                job = self._wait_for_job() if self._may_wait() else None
        finally:
            # Django's connections belong to their threads.
            connections.close_all()

    def _may_wait(self) -> bool:
        with self._lock:
            if self._closing or self._idle >= MOST_IDLE:
                return False
            self._idle += 1
            return True

    def _wait_for_job(self) -> Job | None:
        try:
            return self._jobs.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if self._idle:
                    self._idle -= 1
                    return None
        # Meanwhile a job was queued for this thread.
        return self._jobs.get()

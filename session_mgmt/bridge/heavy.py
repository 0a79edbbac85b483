"""Process for heavy work, because decoding 5 MB in a thread blocks the event loop for 400 ms (measured)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from session_mgmt.bridge.threads import Threads, join_threads
from session_mgmt.conf import settings
from session_mgmt.exceptions import TooHeavy
from session_mgmt.worker.parent import exit_with_parent

R = TypeVar("R")


class HeavyWorker:
    """One process, started at first use, that does pure work.

    Jobs of one key run one after another, and keys take turns. A job that takes too long is killed with its process.
    """

    def __init__(self) -> None:
        # One thread with one job at a time, so that a killed process takes no other job with it.
        self._turns = Threads("session_mgmt-heavy", 1)
        self._pool: ProcessPoolExecutor | None = None

    def start_work(self, work: Callable[[], R], key: Hashable = None) -> Future[R]:
        """Queue work; its future holds the result."""
        return self._turns.submit(partial(self._run_in_process, work), key)

    def _run_in_process(self, work: Callable[[], R]) -> R:
        # Limits apply to the size of a document, but not to all the work that a hostile change can cause.
        seconds = settings().heavy_seconds
        try:
            return self._send(work).result(seconds)
        except TimeoutError as error:
            self._kill()
            # Not a temporary error, because a repetition would take as long.
            raise TooHeavy(f"This takes more than {seconds:g} seconds of work.", limit=seconds) from error

    def _send(self, work: Callable[[], R]) -> Future[R]:
        """Pass work to the process. If it was killed, start a new one, because a pool never recovers by itself."""
        try:
            return self._open_pool().submit(work)
        except BrokenProcessPool:
            self._pool = None
            return self._open_pool().submit(work)

    def _open_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # A fork would copy locks held by other threads, which nobody in the copy would release.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=exit_with_parent)
        return self._pool

    def _kill(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            # A pool cannot stop a running job, and has no public access to its processes before Python 3.14.
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self, until: float | None = None) -> None:
        """End the process and drop work that has not begun; wait at most until ``until``."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        join_threads(self._turns.finish(), until)

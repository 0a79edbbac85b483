"""The crossing itself: pools of threads that hold their database connections, the lane, and one process for heavy
decoding.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connections, transaction

from session_mgmt.actions import group_commit, notify
from session_mgmt.actions.group_commit import Decision, Group, Write
from session_mgmt.actions.outcome import refused
from session_mgmt.actions.state.prepare import HeadCache
from session_mgmt.backends import doorbell
from session_mgmt.backends.doorbell import Listener, RemoteListener, is_shared
from session_mgmt.bridge.lane import Lane, QueuedWrite, Sink
from session_mgmt.conf import settings
from session_mgmt.exceptions import Busy, Unavailable
from session_mgmt.heads import Recent
from session_mgmt.worker import end_with_parent

P = ParamSpec("P")
R = TypeVar("R")

WRITE_TIMEOUT = 30.0
QUEUE_PER_THREAD = 500
_CACHED_HEADS = 10_000


class Bridge:
    """One per process. Nothing is started before it is needed, so that importing, forking and WSGI cost nothing."""

    def __init__(self) -> None:
        self.using = settings().database
        # SQLite's busy handler is unfair (3 s at worst, measured); a lock of our own makes this process's writers
        # take turns.
        self._gate: AbstractContextManager[Any] = threading.RLock() if self._is_sqlite() else nullcontext()
        self._reads = ThreadPoolExecutor(settings().read_threads, thread_name_prefix="session_mgmt-read")
        self._control = ThreadPoolExecutor(1, thread_name_prefix="session_mgmt-control")
        self.head_cache: HeadCache = Recent(_CACHED_HEADS)
        self._heavy: ProcessPoolExecutor | None = None
        self._heavy_lock = threading.Lock()
        self._waiting = 0
        self.inline = False
        self._test_blocks = 0
        self.lane = Lane(self.using, self._gate)
        doorbell().listen(self._heard)

    def _is_sqlite(self) -> bool:
        return connections[self.using].vendor == "sqlite"

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear the doorbells of this process, on whatever thread rings; returns the way to stop."""
        return doorbell().listen(listener)

    def remote_listener(self, heard: Listener) -> RemoteListener | None:
        """Hear the doorbells of other processes, if the channel layer reaches them."""
        return RemoteListener(heard) if is_shared() else None

    def _heard(self, heads: dict[str, int], payload: dict[str, Any] | None) -> None:
        if notify.OUTBOX in heads and not self.inline:
            self.lane.nudge()

    # -- reads and rare verbs --------------------------------------------------------------------------------------

    async def read(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a verb that only reads."""
        return await self._run(self._reads, partial(verb, *args, **kwargs))

    async def call(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a rare verb that writes in its own transaction."""
        return await self._run(self._reads, partial(self._gated, partial(verb, *args, **kwargs)))

    async def control(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a verb that must not queue behind a storm: revocation and position checks have a connection of their
        own.
        """
        return await self._run(self._control, partial(verb, *args, **kwargs))

    async def heavy(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run pure work in another process: decoding 5 MB in a thread stalls the event loop for 400 ms (measured)."""
        try:
            return await asyncio.wrap_future(self._start_heavy(partial(work, *args, **kwargs)))
        except BrokenProcessPool as error:
            raise Unavailable(retry_after=1.0) from error

    def run_in_worker(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The sync face of ``heavy``, for edges that run in threads."""
        try:
            return self._start_heavy(partial(work, *args, **kwargs)).result(WRITE_TIMEOUT)
        except BrokenProcessPool as error:
            # Somebody killed the process in the middle; the next call has a new one.
            raise Unavailable(retry_after=1.0) from error
        except TimeoutError as error:
            raise Busy(retry_after=1.0) from error

    def _start_heavy(self, work: Callable[[], R]) -> Future[R]:
        """Hand work to the other process, to a new one if the last was killed: a pool never recovers by itself."""
        with self._heavy_lock:
            try:
                return self._processes().submit(work)
            except BrokenProcessPool:
                self._heavy = None
                return self._processes().submit(work)

    def _processes(self) -> ProcessPoolExecutor:
        if self._heavy is None:
            context = multiprocessing.get_context("spawn")
            self._heavy = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
        return self._heavy

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], R]) -> R:
        if self.inline:
            return await self._run_inline(work)
        if self._waiting > QUEUE_PER_THREAD * settings().read_threads:
            raise Busy(retry_after=1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, self._guarded, work)
        finally:
            self._waiting -= 1

    async def _run_inline(self, work: Callable[[], R]) -> R:
        """For tests inside a transaction: on the thread that holds it."""
        if threading.current_thread() is threading.main_thread():
            return _on_this_thread(work)
        return await sync_to_async(work, thread_sensitive=True)()

    def _guarded(self, work: Callable[[], R]) -> R:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            # The connection may be dead (a restarted database); the next call opens a new one.
            connections[self.using].close()
            raise Unavailable(retry_after=1.0) from error

    def _gated(self, work: Callable[[], R]) -> R:
        with self._gate:
            return work()

    # -- hot writes ------------------------------------------------------------------------------------------------

    def submit(self, write: Write, token: Any, sink: Sink) -> bool:
        """Queue a write on the lane; ``sink`` is called on the lane's thread. False: the queue is full."""
        if self.inline:
            self._execute_inline(QueuedWrite(write, token, sink))
            return True
        return self.lane.submit(QueuedWrite(write, token, sink))

    def write(self, write: Write) -> Decision:
        """Write now and wait for the answer; for sync code outside transactions."""
        answer: Future[Decision] = Future()
        if not self.submit(write, answer, _resolve):
            return refused(Busy(retry_after=1.0))
        return answer.result(WRITE_TIMEOUT)

    async def awrite(self, write: Write) -> Decision:
        """Write now and await the answer."""
        answer: Future[Decision] = Future()
        if not self.submit(write, answer, _resolve):
            return refused(Busy(retry_after=1.0))
        return await asyncio.wait_for(asyncio.wrap_future(answer), WRITE_TIMEOUT)

    def _execute_inline(self, queued: QueuedWrite) -> None:
        if threading.current_thread() is threading.main_thread():
            _on_this_thread(lambda: self.lane.execute([queued], wait=True))
        else:
            self.lane.execute([queued], wait=True)

    def drain(self) -> int:
        """Carry out what the outbox holds, on the calling thread; returns how many entries it was. For commands, tasks
        and tests.
        """
        total = 0
        while True:
            group = Group()
            with self._gate:
                group_commit.execute(self.using, [], group, wait=True)
            total += group.drained
            self.lane.tell(group)
            if group.drained < group_commit.DRAIN_LIMIT:
                return total

    def inside_transaction(self) -> bool:
        """Whether the caller holds a transaction on our database, so that only the outbox may be used."""
        return len(transaction.get_connection(self.using).atomic_blocks) > self._test_blocks

    def run_inline(self, inline: bool) -> None:
        """Tests only: do everything on the calling thread; the transaction that a test itself holds counts as none."""
        self.inline = inline
        self._test_blocks = len(transaction.get_connection(self.using).atomic_blocks) if inline else 0

    def close(self) -> None:
        """Finish what waits and end all threads."""
        self.lane.stop()
        self._reads.shutdown(wait=True)
        self._control.shutdown(wait=True)
        if self._heavy is not None:
            self._heavy.shutdown(wait=False, cancel_futures=True)


def _resolve(group: Group, results: list[tuple[Any, Decision]]) -> None:
    for answer, decision in results:
        # Whoever waited may have left, and an error here would leave the others of the group without their answers.
        if answer.set_running_or_notify_cancel():
            answer.set_result(decision)


def _on_this_thread(work: Callable[[], R]) -> R:
    """Let sync ORM code run on the thread of a running event loop; only tests do so, where nobody else waits for the
    loop.
    """
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    try:
        return work()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
        else:
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@lru_cache(maxsize=1)
def _bridge_of(pid: int) -> Bridge:
    return Bridge()


def bridge() -> Bridge:
    """The bridge of this process; a forked child makes its own."""
    return _bridge_of(os.getpid())

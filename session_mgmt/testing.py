"""Tools for your own tests: no threads, no waiting, everything inside your test's transaction.

    from session_mgmt.testing import inline_bridge

    class CartTest(TestCase):
        def test_coupon(self):
            with inline_bridge() as bridge:
                session = create_session().session
                state.update(session, {"cart": {"coupon": "WELCOME"}})
                with transaction.atomic():
                    publish("orders:1", {"status": "paid"})
                bridge.drain()                       # as a server does after a commit

Works in ``TestCase``, ``TransactionTestCase`` and pytest, sync and async.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from session_mgmt.actions import notify
from session_mgmt.actions.group_commit import Write
from session_mgmt.bridge import Bridge, bridge
from session_mgmt.bridge.connecting import QueuedAsk
from session_mgmt.bridge.crossing import replace_bridge
from session_mgmt.bridge.lane import QueuedWrite, Sink, emit_signals
from session_mgmt.bridge.threads import Threads

__all__ = ["inline_bridge"]

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def inline_bridge() -> Iterator[Bridge]:
    """Run every read and write of the app on the calling thread, inside the test's open transaction.

    Writes outside your own ``atomic()`` blocks are applied at once; those inside wait in the outbox until you call
    ``drain()``.
    """
    inline = InlineBridge(bridge())
    before = replace_bridge(inline)
    try:
        yield inline
    finally:
        replace_bridge(before)


class InlineBridge(Bridge):
    """Bridge without threads. It ignores the transaction that the test case itself holds."""

    def __init__(self, original: Bridge) -> None:
        # Everything else is shared, so that listeners of the original lane also see the test's writes.
        vars(self).update(vars(original))
        self._blocks_of_test = len(transaction.get_connection(self.using).atomic_blocks)

    def nudge(self) -> None:
        """Leave the outbox to ``drain()``."""

    def submit(self, write: Write, token: Any, sink: Sink) -> bool:
        """Carry out a write at once."""
        # Waits for locks: there is no slow lane here to which a locked row could be sent.
        queued = [QueuedWrite(write, token, sink)]
        # The loops of async tests run on the main thread, where Django refuses the ORM; any
        # other thread is free to use it.
        if threading.current_thread() is threading.main_thread():
            _run_here(lambda: emit_signals(self.lane.write_batch(queued, wait=True)))
        else:
            emit_signals(self.lane.write_batch(queued, wait=True))
        return True

    def connect(self, asks: list[QueuedAsk]) -> None:
        """Carry out connects at once, one after the other."""
        for queued in asks:
            if threading.current_thread() is threading.main_thread():
                _run_here(partial(self._connect_one, queued))
            else:
                self._connect_one(queued)

    def _connect_one(self, queued: QueuedAsk) -> None:
        notify.send_events(self.connecting.carry_out([queued], wait=True))

    def ask_application(self, session: uuid.UUID, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Ask for permission at once."""
        answer: Future[R] = Future()
        answer.set_result(_run_here(partial(verb, *args, **kwargs)))
        return answer

    def run_at_home(self, work: Callable[[], Coroutine[Any, Any, R]], farewell: Callable[[], Awaitable[None]]) -> R:
        """Run work on a loop of its own, on the thread that holds the test's transaction."""

        async def work_and_leave() -> R:
            try:
                return await work()
            finally:
                await farewell()

        return asyncio.run(work_and_leave())

    def inside_transaction(self) -> bool:
        """Return whether the caller holds a transaction of its own, besides the test's."""
        return len(transaction.get_connection(self.using).atomic_blocks) > self._blocks_of_test

    async def _run_on(self, threads: Threads, work: Callable[[], R], key: Hashable = None) -> R:
        """Run on the thread that holds the test's transaction."""
        if threading.current_thread() is threading.main_thread():
            return _run_here(work)
        return await sync_to_async(work, thread_sensitive=True)()


def _run_here(work: Callable[[], R]) -> R:
    """Allow sync ORM code on the thread of a running event loop: in a test nothing else waits for the loop."""
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    try:
        return work()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
        else:
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before

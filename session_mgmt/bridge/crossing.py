"""Crossing between async code and the ORM: pools of threads that hold their database connections, and the lane."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from django.db import Error, connections, transaction

from session_mgmt.actions import drains, group_commit, notify
from session_mgmt.actions.drains import NO_LOOKS, Looked, Unmeasured
from session_mgmt.actions.group_commit import Decision, Group, Write
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.outcome import Outcome, refuse_write
from session_mgmt.actions.state.prepare import HeadCache
from session_mgmt.actions.state.stored_rows import Runner
from session_mgmt.actions.timeline import handlers
from session_mgmt.backends import doorbell
from session_mgmt.backends.doorbell import describe_carrier, find_carrier
from session_mgmt.backends.rings import Listener, RemoteListener
from session_mgmt.bridge.connecting import ConnectingLane, QueuedAsk
from session_mgmt.bridge.gate import Gate
from session_mgmt.bridge.heavy import HeavyWorker
from session_mgmt.bridge.home import HomeLoop
from session_mgmt.bridge.lane import Lane, QueuedWrite, Sink
from session_mgmt.bridge.request_threads import RequestThreads
from session_mgmt.bridge.threads import STOP_SECONDS, Threads, join_threads
from session_mgmt.conf import settings
from session_mgmt.exceptions import Busy, SessionMgmtError, Unavailable
from session_mgmt.models.outages import explain_outage, is_outage, is_unmigrated
from session_mgmt.worker.head_cache import Recent

P = ParamSpec("P")
R = TypeVar("R")

# Seconds for a write or a piece of heavy work, including its time in the queue.
WRITE_TIMEOUT = 30.0
# Jobs in one queue of threads. More would wait longer than their callers do.
MOST_WAITING = 2000
_CACHED_HEADS = 10_000


class Bridge:
    """Threads, lane and worker of one process.

    Nothing is started before it is needed, so that importing, forking and WSGI cost nothing.
    """

    def __init__(self) -> None:
        self.using = settings().database
        # SQLite's busy handler is unfair (3 s at worst, measured), so a gate lets the writers of this process take
        # turns.
        gate = Gate() if self._is_sqlite() else None
        self._gate: AbstractContextManager[Any] = gate or nullcontext()
        self._reads = Threads("session_mgmt-read", settings().read_threads)
        # One thread is enough. Nothing else may use it, because revocations and position checks must not wait for a
        # storm.
        self._control = Threads("session_mgmt-control", 1)
        # SQLite tells a connection only that others have committed. So leases are renewed on the connection that asks
        # for it, which then does not count them.
        self._leases = Threads("session_mgmt-leases", 1) if gate else None
        # Functions of the project may hang. They may delay others of their kind, but no reads and no connects.
        self._handlers = Threads("session_mgmt-handler", settings().handler_threads)
        self._patient = Threads("session_mgmt-patient", settings().read_threads)
        self._worker = HeavyWorker()
        self.home = HomeLoop()
        self._requests = RequestThreads("session_mgmt-request")
        self.head_cache: HeadCache = Recent(_CACHED_HEADS)
        self.lane = Lane(self.using, gate.enter_as_lane if gate else nullcontext)
        self._permissions = Threads("session_mgmt-permission", settings().handler_threads)
        self.connecting = ConnectingLane(
            self.using,
            gate.enter_connecting if gate else nullcontext,
            self._send_events,
            # Without a gate, no write waits for a group of connects.
            (lambda: self.lane.batches) if gate else (lambda: 0),
        )

    def _send_events(self, events: list[EmittedEvent]) -> None:
        """Call receivers on the lane's thread for signals, one at a time; nothing waits for them."""
        self.lane.send_signals(Group(events=events))

    def _is_sqlite(self) -> bool:
        return connections[self.using].vendor == "sqlite"

    # -- clients over HTTP -----------------------------------------------------------------------------------------

    def run_at_home(self, work: Callable[[], Coroutine[Any, Any, R]], farewell: Callable[[], Awaitable[None]]) -> R:
        """Run work on the loop that serves clients over HTTP, for a view in a thread; ``farewell`` ends a loop of our
        own.
        """
        return self.home.run(work, farewell)

    def start_request(self, work: Callable[[], R]) -> Future[R]:
        """Run a request of a client over HTTP in a thread of its own."""
        return self._requests.submit(work)

    # -- doorbells -------------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` for every ring of this process, in the ringing thread; return a function that stops it."""
        return doorbell().listen(listener)

    def remote_listener(self, heard: Listener, miss: Callable[[], None]) -> RemoteListener | None:
        """Return a listener for doorbells of other processes; None if there is no carrier.

        It calls ``miss`` if it may have missed some.
        """
        if (carrier := find_carrier()) is None:
            return None
        return carrier.build_listener(heard, miss, doorbell().ring_elsewhere)

    def describe_doorbell(self) -> dict[str, Any]:
        """Return the name of the ``carrier`` of doorbells, or None, and whether this process is ``deaf``."""
        return describe_carrier()

    def nudge(self) -> None:
        """Apply the outbox soon, without waiting for it."""
        self.lane.nudge()

    # -- reads and rare verbs --------------------------------------------------------------------------------------

    async def read(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that only reads."""
        return await self._run_on(self._reads, partial(verb, *args, **kwargs))

    async def call(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a rare function that writes in its own transaction."""
        return await self._run_on(self._reads, partial(self._run_gated, partial(verb, *args, **kwargs)))

    async def take_turn(self, session: uuid.UUID, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a rare function of a session, one at a time and in order. It must enter the gate itself if it writes.

        So a session cannot use more threads with more sockets, and a function that need not write waits for no writer.
        """
        return await self._run_on(self._reads, partial(verb, *args, **kwargs), session)

    async def control(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that must not wait behind a storm.

        Revocation and position checks have their own thread and connection.
        """
        return await self._run_on(self._control, partial(verb, *args, **kwargs))

    async def renew(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that writes leases, and nothing else, in its own transaction."""
        return await self._run_on(self._leases or self._reads, partial(self._run_gated, partial(verb, *args, **kwargs)))

    async def watch(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Ask whether anything was written, leaving out renewed leases; as ``control`` it waits for no writer."""
        # While leases wait for SQLite's lock, another connection is asked, for which all that is new has changed.
        threads = self._control if self._leases is None or self._leases.waiting else self._leases
        return await self._run_on(threads, partial(verb, *args, **kwargs))

    async def run_user_code(self, key: Hashable, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that calls code of the project, one at a time for a key, which is a session or its token.

        Code of the project may be slow, so it has threads of its own, and the function must hold no lock during the
        call.
        """
        return await self._run_on(self._handlers, partial(verb, *args, **kwargs), key)

    def ask_application(self, session: uuid.UUID, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run a function that asks the project for permission, one at a time for a session.

        Connecting clients wait for the answer, so other code of the project must not delay it.
        """
        if self._permissions.waiting > MOST_WAITING:
            raise Busy(retry_after=1.0)
        return self._permissions.submit(partial(self._run_guarded, partial(verb, *args, **kwargs)), session)

    async def run_patiently(self, key: Hashable, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that may wait for the worker process, one at a time for a key, which is a session or a
        document.

        Connecting clients need the threads for reading, and must not wait for heavy work of others.
        """
        return await self._run_on(self._patient, partial(verb, *args, **kwargs), key)

    @property
    def gate(self) -> AbstractContextManager[Any]:
        """Return the lock that a writer outside the lane holds during its whole transaction."""
        return self._gate

    async def _run_on(self, threads: Threads, work: Callable[[], R], key: Hashable = None) -> R:
        if threads.waiting > MOST_WAITING:
            raise Busy(retry_after=1.0)
        return await asyncio.wrap_future(threads.submit(partial(self._run_guarded, work), key))

    def _run_guarded(self, work: Callable[[], R]) -> R:
        try:
            # Receivers of signals are called elsewhere, because a slow one would hold this thread, and the gate if it
            # is entered.
            with notify.pass_events_on(self._send_events):
                return work()
        except Error as error:
            if is_outage(error):
                # The connection may be dead, for example after a restart of the database; the next call opens a new
                # one.
                connections[self.using].close()
            elif not is_unmigrated(error):
                raise
            raise explain_outage(error) from error

    def _run_gated(self, work: Callable[[], R]) -> R:
        # From before the transaction until after its commit, because SQLite's lock is held for this time.
        with self._gate:
            return work()

    # -- heavy work ------------------------------------------------------------------------------------------------

    async def run_heavy(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run pure work in the worker process."""
        try:
            return await asyncio.wrap_future(self._worker.start_work(partial(work, *args, **kwargs)))
        except BrokenProcessPool as error:
            raise Unavailable(retry_after=1.0) from error

    def worker_for(self, key: Hashable) -> Runner:
        """Return ``run_in_worker`` for a session: it waits for its turn among others."""
        return partial(self._run_in_worker, key)

    def run_in_worker(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run pure work in the worker process and wait for it; for code that runs in threads."""
        return self._run_in_worker(None, work, *args, **kwargs)

    def _run_in_worker(self, key: Hashable, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        future = self._worker.start_work(partial(work, *args, **kwargs), key)
        try:
            return future.result(WRITE_TIMEOUT)
        except BrokenProcessPool as error:
            # The process was killed during the work; the next call gets a new one.
            raise Unavailable(retry_after=1.0) from error
        except TimeoutError as error:
            # Nobody needs the answer any more, so work that has not begun need not begin.
            future.cancel()
            raise Busy(retry_after=1.0) from error

    # -- connects --------------------------------------------------------------------------------------------------

    def connect(self, asks: list[QueuedAsk]) -> None:
        """Queue connects on their lane; each one's sink is called on the lane's thread."""
        self.connecting.submit(asks)

    # -- hot writes ------------------------------------------------------------------------------------------------

    def submit(self, write: Write, token: Any, sink: Sink) -> bool:
        """Queue a write in the lane; its ``sink`` is called in the lane's thread. Return False if the queue is full."""
        return self.lane.submit(QueuedWrite(write, token, sink))

    def write(self, write: Write) -> Decision:
        """Write now and wait for the answer; for sync code outside transactions."""
        answer: Future[Decision] = Future()
        if not self.submit(write, answer, _resolve_answers):
            # Refuse at once, because an answer from a full queue would come too late for the caller.
            return refuse_write(Busy(retry_after=1.0))
        try:
            return answer.result(WRITE_TIMEOUT)
        except TimeoutError:
            return _refuse_unanswered()

    async def awrite(self, write: Write) -> Decision:
        """Write now and await the answer."""
        answer: Future[Decision] = Future()
        if not self.submit(write, answer, _resolve_answers):
            return refuse_write(Busy(retry_after=1.0))
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            return _refuse_unanswered()

    async def drain_waiting(self) -> None:
        """Apply the outbox if it is not empty, so that a reader's position includes everything committed before.

        Otherwise these entries come a little later, live. So an error is not raised here.
        """
        with suppress(Error, SessionMgmtError):
            if await self.read(handlers.outbox_waits):
                await self.read(self.drain)

    def drain(self) -> int:
        """Apply the outbox on the calling thread; for commands, tasks and tests.

        Returns the number of entries.
        """
        total, looked = 0, NO_LOOKS
        while True:
            group = Group()
            with self._gate:
                # Wait for locks, because the caller expects the entries to be applied when this returns.
                group_commit.write_group(self.using, [], group, wait=True, looked=looked)
            total += group.drained
            self.lane.announce(group)
            if group.drained < group_commit.DRAIN_LIMIT and not group.unmeasured:
                return total
            if looked and not group.drained:
                # The documents change faster than they can be read.
                return total
            looked = self._look_at_documents(group.unmeasured)
            # Each look failed for a temporary reason; the next drain tries again.
            if group.unmeasured and not looked:
                return total

    def _look_at_documents(self, unmeasured: Iterable[Unmeasured]) -> Looked:
        works = {
            waiting.entry.id: drains.look_at_document(self.using, waiting, cache=self.head_cache)
            for waiting in unmeasured
        }
        return {entry: work for entry, work in works.items() if work is not None}

    def inside_transaction(self) -> bool:
        """Return True if the caller is in a transaction on this app's database, in which only the
        outbox may be used.
        """
        # A wait for the lane inside a transaction could be a deadlock, if the lane waits for a row of the transaction.
        connection = transaction.get_connection(self.using)
        # With autocommit off, everything is inside a transaction, which the project ends itself.
        return bool(connection.atomic_blocks) or (connection.connection is not None and not connection.autocommit)

    def close(self) -> None:
        """Finish waiting work and end all threads, within one common time limit."""
        # First, because the others write the goodbyes of its clients.
        self.home.close()
        self._requests.close()
        until = monotonic() + STOP_SECONDS
        # The connecting lane passes its events to this one.
        self.connecting.stop(until)
        self.lane.stop(until)
        pools = [self._reads, self._control, self._handlers, self._permissions, self._patient]
        pools += [] if self._leases is None else [self._leases]
        # End all, and then wait for all, because functions of the project may hang in each of their threads.
        join_threads([thread for pool in pools for thread in pool.finish()], until)
        self._worker.close(until)
        # Last, because all of them ring.
        doorbell().close()


def _refuse_unanswered() -> Outcome:
    """Return the error for a write that the lane did not answer in time."""
    # It may still be written. Only when it is sent again, its key or its number shows whether it was.
    text = "The database did not say in time whether this was written."
    return refuse_write(Unavailable(text, retry_after=1.0, unknown=True))


def _resolve_answers(group: Group, results: list[tuple[Any, Decision]]) -> None:
    for answer, decision in results:
        # The caller may have left, and an error here would leave the others of the group without answers.
        if answer.set_running_or_notify_cancel():
            answer.set_result(decision)


# At most one. A forked child makes its own; a hook clears this, because a check at each call would cost every frame.
_bridges: dict[None, Bridge] = {}
os.register_at_fork(after_in_child=_bridges.clear)


def bridge() -> Bridge:
    """Return the bridge of this process."""
    return _bridges.get(None) or _make_bridge()


def replace_bridge(new: Bridge | None) -> Bridge | None:
    """Replace this process's bridge and return the previous one; after None, a new one is made when needed."""
    before = _bridges.pop(None, None)
    if new is not None:
        _bridges[None] = new
    return before


def _make_bridge() -> Bridge:
    # Two threads may get here; one bridge is kept, and the other has not started anything yet.
    doorbell().listen(_hear_ring)
    return _bridges.setdefault(None, Bridge())


def _hear_ring(heads: dict[str, int], _: dict[str, Any] | None) -> None:
    if notify.OUTBOX in heads:
        bridge().nudge()

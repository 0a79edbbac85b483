"""Writer lane: all frequent writes of a process share one thread and one connection.

Writes that wait for a commit share one transaction (measured: 24 to 27 times as many acknowledged updates). A write
whose row is locked moves to a slow lane, which waits for locks; a write that fails is refused alone.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connections
from django.dispatch import Signal

from session_mgmt.actions import group_commit, notify
from session_mgmt.actions.drains import Looked, Work
from session_mgmt.actions.group_commit import Decision, Group, Locked, Write
from session_mgmt.actions.outcome import refuse_write
from session_mgmt.bridge.threads import Threads, join_threads
from session_mgmt.conf import settings
from session_mgmt.exceptions import Busy, Unavailable
from session_mgmt.models.outages import explain_outage, is_lock_timeout, is_outage, is_unmigrated

logger = logging.getLogger(__name__)

Sink = Callable[[Group, list[tuple[Any, Decision]]], None]
# Seconds between attempts to write a group. The restart of a database takes longer, and clients send again.
PAUSES = (0.05, 0.25)
# Most transactions whose signals wait; above it their receivers are too slow.
MOST_SIGNALS = 10_000


# Not frozen, because that costs a microsecond for each.
@dataclass(slots=True, eq=False)
class QueuedWrite:
    """Write in the queue. ``sink`` receives ``token`` with the decision."""

    write: Write
    token: Any
    sink: Sink


class Lane:
    """Lanes of one database alias in this process: the fast one, and the slow one for locked rows."""

    def __init__(self, using: str, enter_gate: Callable[[], AbstractContextManager[Any]]) -> None:
        self._using, self._enter_gate = using, enter_gate
        self._listeners: list[Sink] = []
        # One lock with two conditions, because to wake a thread for work of the other one costs a switch per write.
        lock = threading.RLock()
        self._condition, self._slow_condition = threading.Condition(lock), threading.Condition(lock)
        self._fast: deque[QueuedWrite] = deque()
        self._slow: deque[QueuedWrite] = deque()
        # By client, the number of its writes on the slow way, waiting or running. While it is not 0, later writes
        # follow.
        self._slow_clients: Counter[int] = Counter()
        self._nudged = self._stopping = False
        # Filled by whatever reads documents; the next group of either lane takes all of it.
        self._looked: dict[int, Work] = {}
        # Ends a pause between two attempts, during which the conditions wake nobody.
        self._stopped = threading.Event()
        self._emitting = Threads("session_mgmt-signals", 1)
        self._dropping = False
        # True if the last transaction did not reach the database.
        self.is_failing = False
        self._threads: list[threading.Thread] = []
        self.batches = self.written = 0

    def listen(self, sink: Sink) -> Callable[[], None]:
        """Call ``sink`` with the entries of every transaction, before its writes are answered.

        Returns a function that stops it.
        """
        self._listeners.append(sink)
        return lambda: self._listeners.remove(sink) if sink in self._listeners else None

    def submit(self, queued: QueuedWrite) -> bool:
        """Queue a write; False when the queue is full."""
        with self._condition:
            # Count both, because a locked write only moves from one queue to the other.
            if len(self._fast) + len(self._slow) >= settings().lane_queue:
                return False
            fence = queued.write.fence
            slow = fence is not None and self._slow_clients[fence.client] > 0
            if slow and fence is not None:
                self._slow_clients[fence.client] += 1
            queue = self._slow if slow else self._fast
            queue.append(queued)
            # The thread was woken for the first write, and takes all that wait.
            if len(queue) == 1:
                self._wake_threads()
        return True

    def nudge(self) -> None:
        """Apply the outbox soon, without waiting for it."""
        with self._condition:
            self._nudged = True
            self._wake_threads()

    def keep_look(self, entry: int, work: Work) -> None:
        """Keep an entry of the outbox that was prepared from its document; the next group applies it."""
        with self._condition:
            self._looked[entry] = work
        self.nudge()

    def stop(self, until: float | None = None) -> None:
        """Finish waiting work and end the threads; wait at most until ``until``."""
        with self._condition:
            self._stopping = True
            self._stopped.set()
            self._notify_threads()
        join_threads(self._threads, until)
        # Only now, so that receivers get the signals of the last groups.
        join_threads(self._emitting.finish(), until)

    def _wake_threads(self) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(
                    target=self._run_lane, args=(wait,), name=f"session_mgmt-lane-{self._using}-{wait}", daemon=True
                )
                for wait in (False, True)
            ]
            for thread in self._threads:
                thread.start()
        self._notify_threads()

    def _notify_threads(self) -> None:
        self._condition.notify_all()
        # The fast thread drains the outbox, so a nudge does not concern the slow one.
        if self._slow or self._stopping:
            self._slow_condition.notify_all()

    def _run_lane(self, wait: bool) -> None:
        try:
            while (batch := self._take_batch(self._slow if wait else self._fast, wait)) is not None:
                self._carry_out(batch, wait=wait)
        finally:
            # Django's connections belong to their threads, so no other thread can close this one.
            connections[self._using].close()

    def _take_batch(self, queue: deque[QueuedWrite], wait: bool) -> list[QueuedWrite] | None:
        """Take all waiting writes, up to the batch size; return None to stop."""
        condition = self._slow_condition if wait else self._condition
        with condition:
            condition.wait_for(lambda: queue or self._stopping or (self._nudged and not wait))
            if not queue and self._stopping:
                return None
            if not wait:
                # Before the group runs: a nudge that comes during it asks for another look at the outbox.
                self._nudged = False
            return [queue.popleft() for _ in range(min(len(queue), settings().lane_batch))]

    def _carry_out(self, batch: list[QueuedWrite], *, wait: bool) -> None:
        try:
            group = self.write_batch(batch, wait=wait, behind=self._slow if wait else self._fast)
            self.send_signals(group)
        except Exception:
            # The thread must survive, because it serves every later write of the process.
            logger.exception("The lane failed outside its transaction")
        finally:
            if wait:
                with self._condition:
                    # Only now, after their answers, may the client's next write take the fast way again.
                    self._slow_clients.subtract(w.write.fence.client for w in batch if w.write.fence)
                    # This drops the counts that are zero.
                    self._slow_clients += Counter()

    def send_signals(self, group: Group) -> None:
        """Call the project's receivers in a thread of their own, because they may be slow, in the order of commits."""
        if notify.has_listeners(group.events):
            self._emit(partial(emit_signals, group))

    def send_signal(self, signal: Signal, **facts: Any) -> None:
        """Call the project's receivers of one signal in that thread."""
        if signal.has_listeners():
            self._emit(partial(notify.send_signal, signal, **facts))

    def _emit(self, work: Callable[[], None]) -> None:
        if self._emitting.waiting >= MOST_SIGNALS:
            if not self._dropping:
                logger.error("Receivers of signals are too slow; signals are dropped until they have caught up")
            self._dropping = True
            return
        self._dropping = False
        self._emitting.submit(work, key="signals")

    def write_batch(
        self, batch: list[QueuedWrite], *, wait: bool = False, behind: deque[QueuedWrite] | None = None
    ) -> Group:
        """Write a batch, answer its writes and ring; the caller must send the signals.

        While the batch waits for the gate, writes that come ``behind`` it are added.
        """
        group, decisions = self._write_group(batch, wait=wait, behind=behind)
        self.batches += 1
        self.written += len(batch)
        answered: list[tuple[QueuedWrite, Decision]] = [
            (queued, d) for queued, d in zip(batch, decisions, strict=True) if not isinstance(d, Locked)
        ]
        self._move_to_slow([queued for queued, d in zip(batch, decisions, strict=True) if isinstance(d, Locked)])
        self._answer_writes(group, answered)
        # After the answers for this process, because these need no network.
        notify.ring_appended(group.appended)
        # A full portion of the outbox was drained, so there may be more.
        if group.drained >= group_commit.DRAIN_LIMIT:
            self.nudge()
        return group

    def announce(self, group: Group) -> None:
        """Announce the writes of a transaction outside the lane: to listeners here, other processes and receivers."""
        self._answer_writes(group, [])
        notify.ring_appended(group.appended)
        emit_signals(group)

    def _answer_writes(self, group: Group, answered: list[tuple[QueuedWrite, Decision]]) -> None:
        # Listeners come first, so that subscribers have the new entries before the writer has the answer.
        by_sink: dict[Sink, list[tuple[Any, Decision]]] = {sink: [] for sink in self._listeners}
        for queued, decision in answered:
            by_sink.setdefault(queued.sink, []).append((queued.token, decision))
        for sink, results in by_sink.items():
            try:
                sink(group, results)
            except Exception:
                # Other sinks wait for their answers too.
                logger.exception("A sink of the lane failed")

    def _move_to_slow(self, locked: list[QueuedWrite]) -> None:
        """Move writes to the slow lane, followed by later writes of the same clients.

        In the fast lane the later ones would be written first, and be refused with ``seq_gap``.
        """
        if not locked:
            return
        clients = {queued.write.fence.client for queued in locked if queued.write.fence}
        late = set(locked)
        with self._condition:
            # Under the lock of `submit`, so that no write comes in between. Locked writes come first, because they are
            # older.
            behind = list(self._fast)
            self._fast.clear()
            for queued in [*locked, *behind]:
                fence = queued.write.fence
                if queued in late or (fence and fence.client in clients):
                    if fence:
                        self._slow_clients[fence.client] += 1
                    self._slow.append(queued)
                else:
                    self._fast.append(queued)
            self._notify_threads()

    def _write_group(
        self, batch: list[QueuedWrite], *, wait: bool, behind: deque[QueuedWrite] | None = None
    ) -> tuple[Group, list[Decision]]:
        """Run the transaction; retry safe failures, and halve a failing batch until the bad write is alone."""
        rest, unknown = list(batch), _Unknown()
        looked = self._take_looks()
        for pause in (*PAUSES, None):
            # A new group for each attempt, because everything that a failed one has filled in was rolled back.
            group = Group()
            try:
                with self._enter_gate():
                    if behind:
                        rest = self._fill_up(batch, behind)
                    # Not in another attempt, because it may be unknown whether this one was committed.
                    behind = None
                    writes = [queued.write for queued in rest]
                    group_commit.write_group(self._using, writes, group, wait=wait, looked=looked)
                self._note_success()
                return group, unknown.complete(batch, rest, group.decisions)
            except Exception as error:
                # The connection may be dead or in a failed transaction; the next attempt opens a new one.
                connections[self._using].close()
                if is_unmigrated(error):
                    return self._refuse_unmigrated(batch, error)
                if not is_outage(error):
                    # The database or our own code refuses one of the writes, maybe at COMMIT: everything was rolled
                    # back.
                    logger.exception("A group of %d writes failed", len(rest))
                    # Only undecided writes: those with an unknown COMMIT were removed before.
                    done, decisions = self._split_batch(rest, wait=wait)
                    return done, unknown.complete(batch, rest, decisions)
                self._note_failure(error)
                if group.committing:
                    # COMMIT was sent without an answer, so only writes that recognise a repetition may run again.
                    rest, wait = unknown.keep_repeatable(rest), True
                    if not rest:
                        return Group(), unknown.complete(batch, [], [])
                # It has waited as long as allowed; after two more attempts its writer would have given up long ago.
                if pause is None or is_lock_timeout(error) or self._stopped.wait(pause):
                    break
        # `busy` means that nothing was written, which is unknown after COMMIT was sent.
        refusal = unknown.refusal if unknown.has_happened else refuse_write(Busy(retry_after=1.0))
        return Group(), unknown.complete(batch, rest, [refusal for _ in rest])

    def _fill_up(self, batch: list[QueuedWrite], behind: deque[QueuedWrite]) -> list[QueuedWrite]:
        """Add the writes that came while the batch waited for its turn, and return all of them.

        Otherwise a write would wait for this group, and for one more group of connects.
        """
        with self._condition:
            while behind and len(batch) < settings().lane_batch:
                batch.append(behind.popleft())
        return list(batch)

    def _take_looks(self) -> Looked:
        with self._condition:
            looked, self._looked = self._looked, {}
        return looked

    def _refuse_unmigrated(self, batch: Sequence[QueuedWrite], error: Exception) -> tuple[Group, list[Decision]]:
        # Neither another attempt nor a smaller group can create the tables.
        refusal = explain_outage(error)
        logger.error("A group of %d writes was refused: %s", len(batch), refusal)
        return Group(), [refuse_write(refusal) for _ in batch]

    def _split_batch(self, batch: list[QueuedWrite], *, wait: bool) -> tuple[Group, list[Decision]]:
        if len(batch) <= 1:
            # Each half returns its decisions together with its group, so do not join them here.
            return Group(), [refuse_write(Unavailable()) for _ in batch]
        # By halving, one bad write of 256 is found in eight steps, and all others are still committed (promise R5).
        half = len(batch) // 2
        first, early = self._write_group(batch[:half], wait=wait)
        second, late = self._write_group(batch[half:], wait=wait)
        return _join_groups(first, second), [*early, *late]

    def _note_success(self) -> None:
        if self.is_failing:
            self.is_failing = False
            logger.warning("Writes reach the database again")

    def _note_failure(self, error: Exception) -> None:
        """Log only the change of state, not each failure, because a dead database makes hundreds per second."""
        if not self.is_failing:
            self.is_failing = True
            logger.error("Writes do not reach the database; they are tried again: %s", error)


class _Unknown:
    """Writes of a batch with an unknown commit: they may or may not have been written."""

    def __init__(self) -> None:
        self.refusal = refuse_write(Unavailable("The database did not say whether this was written.", unknown=True))
        self.has_happened = False

    def keep_repeatable(self, writes: list[QueuedWrite]) -> list[QueuedWrite]:
        """Return the writes that may run again, because their receipts or keys show an earlier result."""
        self.has_happened = True
        return [queued for queued in writes if queued.write.fence or getattr(queued.write.work, "key", None)]

    def complete(
        self, batch: Sequence[QueuedWrite], rest: Sequence[QueuedWrite], decisions: Sequence[Decision]
    ) -> list[Decision]:
        """Return a decision for each write of the batch, from the decisions for the remaining ones."""
        # Nothing was left out, as for nearly all groups.
        if len(rest) == len(batch):
            return list(decisions)
        decided = dict(zip(rest, decisions, strict=True))
        return [decided.get(queued, self.refusal) for queued in batch]


def emit_signals(group: Group) -> None:
    """Call the project's receivers with the writes of a transaction."""
    notify.call_receivers(group.events)
    notify.send_changes(group.changed)


def _join_groups(first: Group, second: Group) -> Group:
    for key, log in second.appended.items():
        if key in first.appended:
            first.appended[key].entries.extend(log.entries)
        else:
            first.appended[key] = log
    return Group(
        appended=first.appended,
        changed=[*first.changed, *second.changed],
        events=[*first.events, *second.events],
        lagging=[*first.lagging, *second.lagging],
        drained=first.drained + second.drained,
        unmeasured=[*first.unmeasured, *second.unmeasured],
    )

"""Connecting lane: waiting connects are written in one transaction, in their own thread with its own connection.

While one group is written, the next one gathers. A member whose row is locked takes the slow way, which waits for
locks; a member that fails is refused alone.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, TypeAlias

from django.db import Error, connections

from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.sessions import resume
from session_mgmt.actions.sessions.attachments import Ask, AttachedGroup, Attachment, Held
from session_mgmt.bridge.threads import Threads, join_threads
from session_mgmt.exceptions import Busy, SessionMgmtError, Unavailable
from session_mgmt.models.outages import explain_outage, is_deadlock, is_lock_timeout, is_outage, is_unmigrated

logger = logging.getLogger(__name__)

# A member of a group of 128 costs little less, and beside such groups the slowest writes of a storm of 300 clients took
# more than twice as long (measured).
MOST_TOGETHER = 32
# Size beside writes, which wait for one group. In the lane a member of a group of 16 costs an eighth more than one of a
# group of 32, and one of a group of 8 half as much again (measured).
FEWEST_TOGETHER = 16
# Seconds between attempts to write a group. The restart of a database takes longer, and clients connect again.
PAUSES = (0.05, 0.25)
# Each thread holds a database connection while it waits for locks.
HELD_THREADS = 2

Answer: TypeAlias = Attachment | Exception


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of one transaction, by the tokens of their asks.

    ``taken_at`` is the monotonic time when its group was taken; ``left`` is the number of asks that wait behind it.
    ``is_held`` is True for a member that waited for locks, whose time says nothing about the pace.
    """

    results: list[tuple[Any, Answer]]
    taken_at: float
    left: int
    is_held: bool


Sink = Callable[[Answers], None]


@dataclass(frozen=True, slots=True, eq=False)
class QueuedAsk:
    """Ask in the queue. ``sink`` receives ``token`` with the answer, in the lane's thread."""

    ask: Ask
    token: Any
    sink: Sink


class GroupSize:
    """Limit for the size of the next group; ``count_writes`` counts the groups of writes that use the same gate."""

    def __init__(self, count_writes: Callable[[], int]) -> None:
        self._count_writes = count_writes
        self._written = count_writes()
        self._is_beside_writes = False

    @property
    def most(self) -> int:
        # Writes since the last group, or between the last two: their clients may still wait for the gate.
        is_beside = self._is_beside_writes or self._count_writes() != self._written
        return FEWEST_TOGETHER if is_beside else MOST_TOGETHER

    def note_group(self) -> None:
        """Note the end of a group, while it holds the gate."""
        written = self._count_writes()
        self._is_beside_writes, self._written = written != self._written, written


class ConnectingLane:
    """Connects of one process. One may be written again if it is unknown whether it was committed."""

    def __init__(
        self,
        using: str,
        enter_gate: Callable[[], AbstractContextManager[Any]],
        emit: Callable[[list[EmittedEvent]], None],
        count_writes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._using, self._enter_gate, self._emit = using, enter_gate, emit
        self._size = GroupSize(count_writes)
        # Reentrant, because the choice of a group may send members to the slow way, which takes it again.
        self._condition = threading.Condition(threading.RLock())
        self._waiting: deque[QueuedAsk] = deque()
        # Public ids of clients on the slow way. A later ask of the same client must wait behind it: if it were attached
        # first, the earlier ask would fence its connection off.
        self._slow_clients: Counter[str] = Counter()
        self._held = Threads("session_mgmt-held", HELD_THREADS)
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._is_failing = False

    def submit(self, asks: Sequence[QueuedAsk]) -> None:
        """Queue asks; the caller must limit their number."""
        with self._condition:
            # All members at once, under the lock, so that the lane takes them together.
            self._waiting.extend(asks)
            if self._thread is None:
                name = f"session_mgmt-connecting-{self._using}"
                self._thread = threading.Thread(target=self._run_lane, name=name, daemon=True)
                self._thread.start()
            self._condition.notify()

    def stop(self, until: float | None = None) -> None:
        """Finish waiting work and end the threads; wait at most until ``until``."""
        with self._condition:
            self._stopping.set()
            self._condition.notify()
        if self._thread is not None:
            join_threads([self._thread], until)
        # Only now, because the last group may have sent members to the slow way.
        join_threads(self._held.finish(), until)

    def _run_lane(self) -> None:
        try:
            while group := self._take_group():
                self._work_off(group, wait=False)
        finally:
            # Django's connections belong to their threads, so no other thread can close this one.
            connections[self._using].close()

    def _take_group(self) -> list[QueuedAsk]:
        """Take the waiting asks, up to the size of a group and only one of each client; return none at the end."""
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._stopping.is_set())
                is_over, most = not self._waiting, self._size.most
                group: dict[str, QueuedAsk] = {}
                again: list[QueuedAsk] = []
                while self._waiting and len(group) < most:
                    queued = self._waiting.popleft()
                    name = queued.ask.client_id
                    if self._slow_clients[name]:
                        self._go_slowly(queued)
                    elif name in group:
                        # The later ask fences the earlier one off, which must be attached before that.
                        again.append(queued)
                    else:
                        group[name] = queued
                # Back to the front in their order, because they wait only for the next group.
                self._waiting.extendleft(reversed(again))
            # If all of them took the slow way, wait for others.
            if group or is_over:
                return list(group.values())

    def _go_slowly(self, queued: QueuedAsk) -> None:
        """Move a member to the slow way, where members of one client are written one after another."""
        name = queued.ask.client_id
        with self._condition:
            self._slow_clients[name] += 1
        self._held.submit(partial(self._work_off_slowly, queued), key=name)

    def _work_off_slowly(self, queued: QueuedAsk) -> None:
        try:
            self._work_off([queued], wait=True)
        finally:
            with self._condition:
                self._slow_clients[queued.ask.client_id] -= 1
                # This drops the counts that are zero.
                self._slow_clients += Counter()

    def _work_off(self, group: list[QueuedAsk], *, wait: bool) -> None:
        try:
            events = self.carry_out(group, wait=wait)
            if events:
                self._emit(events)
        except Exception:
            # The thread must survive, because it serves every later connect of the process.
            logger.exception("The connecting lane failed outside its transaction")

    def carry_out(self, group: Sequence[QueuedAsk], *, wait: bool = False) -> list[EmittedEvent]:
        """Attach a group and answer its members; return the events, whose receivers the caller must call.

        A group that the database refuses is halved until the bad member is alone.
        """
        taken_at = monotonic()
        attached = self._attach([queued.ask for queued in group], wait=wait)
        if attached is None:
            # By halving, the bad member of 32 is found in five steps, and the others still share transactions.
            half = len(group) // 2
            return [*self.carry_out(group[:half], wait=wait), *self.carry_out(group[half:], wait=wait)]
        self._answer(group, attached, taken_at, wait=wait)
        try:
            attached.ring()
        except Exception:
            # The clients have their answers; other processes find out by themselves.
            logger.exception("A group of connects could not be told to others")
        return attached.events

    def _answer(self, group: Sequence[QueuedAsk], attached: AttachedGroup, taken_at: float, *, wait: bool) -> None:
        by_sink: dict[Sink, list[tuple[Any, Answer]]] = {}
        for queued, result in zip(group, attached.results, strict=True):
            if isinstance(result, Held):
                self._go_slowly(queued)
            else:
                by_sink.setdefault(queued.sink, []).append((queued.token, result))
        for sink, results in by_sink.items():
            try:
                sink(Answers(results, taken_at, len(self._waiting), wait))
            except Exception:
                # Another loop of this process may wait for its answers too.
                logger.exception("A sink of the connecting lane failed")

    def _attach(self, asks: list[Ask], *, wait: bool) -> AttachedGroup | None:
        """Run the transaction, again after a temporary failure; return ``None`` if a smaller group may succeed."""
        refusal: Exception = Unavailable(retry_after=1.0)
        for pause in (*PAUSES, None):
            try:
                with self._enter_gate():
                    attached = resume.attach_group(asks, wait=wait)
                    self._size.note_group()
                self._note_success()
                return attached
            except Exception as error:
                # The connection may be dead or in a failed transaction; the next attempt opens a new one.
                connections[self._using].close()
                if not is_outage(error):
                    # One member may be the cause, and the others must not fail with it.
                    if len(asks) > 1:
                        logger.warning("A group of %d connects failed and is halved: %r", len(asks), error)
                        return None
                    refusal = self._explain_failure(error)
                    if refusal is error or pause is None:
                        break
                    continue
                refusal = explain_outage(error)
                if is_unmigrated(error):
                    logger.error("A group of %d connects was refused: %s", len(asks), refusal)
                    break
                # Only the slow way waits for locks, and it has now waited as long as allowed.
                if is_lock_timeout(error):
                    refusal = Busy(retry_after=1.0)
                    break
                self._note_failure(error)
                if pause is None or self._stopping.wait(pause):
                    break
        return AttachedGroup([refusal] * len(asks))

    def _explain_failure(self, error: Exception) -> Exception:
        """Return the answer to a connect that failed; an error of this app is answered as such."""
        if is_unmigrated(error):
            return explain_outage(error)
        if isinstance(error, SessionMgmtError):
            return error
        logger.error("A connect failed", exc_info=error)
        return Unavailable(retry_after=1.0) if isinstance(error, Error) else error

    def _note_success(self) -> None:
        if self._is_failing:
            self._is_failing = False
            logger.warning("Connects reach the database again")

    def _note_failure(self, error: Exception) -> None:
        """Log only the change of state, not each failure. Deadlocks are normal with many writers, and temporary."""
        if not self._is_failing and not is_deadlock(error):
            self._is_failing = True
            logger.error("Connects do not reach the database; they are tried again: %s", error)

"""Gate to SQLite's only writer: the lanes and the rare writers of one process take turns."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

_Queue = deque[threading.Event]


class Gate(AbstractContextManager["Gate"]):
    """Lock with three queues, each in the order of arrival: the lane of writes, the connecting lane, rare functions.

    Every second turn is the lane's; the two others share the rest. So a write waits for one group of connects or one
    rare function, for any number of waiting writers, and a busy lane does not block the others. A thread that holds the
    gate may enter it again.
    """

    def __init__(self) -> None:
        # Protects the queues, only for moments; it is never held while the database works.
        self._lock = threading.Lock()
        self._lane: _Queue = deque()
        # The queue whose turn is next comes first.
        self._others: deque[_Queue] = deque([deque(), deque()])
        self._connecting, self._rare = self._others
        # Queue of the holder, and its thread; the thread is None while it still wakes up.
        self._serving: _Queue | None = None
        self._holder: int | None = None
        self._depth = 0

    def __enter__(self) -> Gate:
        self._enter(self._rare)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def enter_as_lane(self) -> AbstractContextManager[None]:
        """Enter as the lane of writes."""
        return self._pass(self._lane)

    def enter_connecting(self) -> AbstractContextManager[None]:
        """Enter as the connecting lane."""
        return self._pass(self._connecting)

    @contextmanager
    def _pass(self, queue: _Queue) -> Iterator[None]:
        self._enter(queue)
        try:
            yield
        finally:
            self._leave()

    def count_waiting(self) -> tuple[int, int, int]:
        """Return the number of waiting threads: of the lane, of the connecting lane, and of rare functions."""
        with self._lock:
            return len(self._lane), len(self._connecting), len(self._rare)

    def _enter(self, queue: _Queue) -> None:
        me = threading.get_ident()
        with self._lock:
            if self._holder == me:
                self._depth += 1
                return
            # Not `_holder`, because the next thread may have the gate but still be waking up.
            if self._serving is None:
                self._serve(queue)
                self._holder, self._depth = me, 1
                return
            # One event per thread instead of one condition, so that a release wakes only the thread whose turn it is.
            turn = threading.Event()
            queue.append(turn)
        # The leaving thread sets `_serving` before it wakes this one, so no other thread can take the gate in between.
        turn.wait()
        with self._lock:
            self._holder, self._depth = me, 1

    def _leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            self._holder = None
            # Hand the gate over, so that no thread that comes now can overtake the next one.
            others = [*self._others]
            # Every second turn is the lane's.
            order = [*others, self._lane] if self._serving is self._lane else [self._lane, *others]
            self._serving = None
            for queue in order:
                if queue:
                    self._serve(queue)
                    queue.popleft().set()
                    return

    def _serve(self, queue: _Queue) -> None:
        self._serving = queue
        if queue is self._others[0]:
            # This queue has had its turn, so the other one comes first now.
            self._others.rotate()

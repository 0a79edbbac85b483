"""Gate of SQLite's only writer: the lane and the rare verbs of one process pass it in turns."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

_Queue = deque[threading.Event]


class Gate(AbstractContextManager["Gate"]):
    """Lock with two queues, each in the order of arrival, that are served in turns.

    So the lane waits for at most one rare verb, however many want to write, and a busy lane starves none of them.
    A thread that holds the gate may enter it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lane: _Queue = deque()
        self._rare: _Queue = deque()
        # Queue of the holder, and the thread that holds the gate; the thread is unknown while it still wakes up.
        self._serving: _Queue | None = None
        self._holder: int | None = None
        self._depth = 0

    def __enter__(self) -> Gate:
        self._enter(self._rare)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    @contextmanager
    def enter_as_lane(self) -> Iterator[None]:
        """Pass as the lane does."""
        self._enter(self._lane)
        try:
            yield
        finally:
            self._leave()

    def count_waiting(self) -> tuple[int, int]:
        """Return how many wait: of the lane, and of the rare verbs."""
        with self._lock:
            return len(self._lane), len(self._rare)

    def _enter(self, queue: _Queue) -> None:
        me = threading.get_ident()
        with self._lock:
            if self._holder == me:
                self._depth += 1
                return
            if self._serving is None:
                self._serving, self._holder, self._depth = queue, me, 1
                return
            turn = threading.Event()
            queue.append(turn)
        turn.wait()
        with self._lock:
            self._holder, self._depth = me, 1

    def _leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            other, same = (self._rare, self._lane) if self._serving is self._lane else (self._lane, self._rare)
            self._holder = None
            # Handed over, so that nobody who comes meanwhile overtakes the next one.
            self._serving = other if other else same if same else None
            if self._serving is not None:
                self._serving.popleft().set()

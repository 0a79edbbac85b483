"""Pace of a session: many requests at once after a rest, then a steady number per second; and turns of connections."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from weakref import WeakKeyDictionary, WeakValueDictionary

# Requests per second to follow or leave a log, of one session over all its connections here. Each needs statements or
# even its own transaction, while a write shares one with others.
FOLLOWS_PER_SECOND = 20.0
LONGEST_REST = 0.2
# Seconds after a write in which the client is expected to write again.
WRITES_GO_ON = 0.25


class Pace:
    """Slots of one session in time."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._gap, self._rest, self._clock = 1 / rate, burst / rate, clock
        # A new session may use its whole burst.
        self._next = clock() - self._rest

    def book(self) -> float:
        """Book the next slot, and return the seconds until then."""
        now = self._clock()
        # An idle time counts at most as one burst.
        self._next = max(self._next, now - self._rest) + self._gap
        return max(0.0, self._next - now)


class Slot:
    """Place of one connection in the pace of its session.

    While one of its requests waits for a slot the client is read no further, so it books one slot at a time: what it
    sends beyond stays in the socket, costs nobody anything, and leaves the next slots to the session's other tabs.
    """

    __slots__ = ("_came", "_loop", "_pace", "_timer")

    def __init__(self, pace: Pace) -> None:
        self._loop = asyncio.get_running_loop()
        self._pace = pace
        self._came: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_awaited(self) -> bool:
        """Return True if a request waits for its slot."""
        return self._came is not None

    def take(self, act: Callable[[], None]) -> None:
        """Call ``act`` in the next slot: now, or when it has come."""
        delay = self._pace.book()
        if delay <= 0:
            act()
            return
        self._came = self._loop.create_future()
        self._timer = self._loop.call_later(delay, self._come, self._came, act)

    def _come(self, came: asyncio.Future[None], act: Callable[[], None]) -> None:
        self._came = self._timer = None
        act()
        # The caller may have been cancelled.
        if not came.done():
            came.set_result(None)

    async def wait(self) -> None:
        """Wait until no request waits for its slot."""
        if self._came is not None:
            # Shielded, because `_come` sets the future even if a caller gave up.
            await asyncio.shield(self._came)

    def stop(self) -> None:
        """Give up the request that waits."""
        if self._timer is not None:
            self._timer.cancel()


class Paces:
    """Paces of the sessions that have connections here; a session without any is forgotten."""

    def __init__(self) -> None:
        self._of_sessions: WeakValueDictionary[uuid.UUID, Pace] = WeakValueDictionary()

    def share(self, session: uuid.UUID, burst: int) -> Pace:
        """Return the pace of a session, for a connection to hold while it lives."""
        pace = self._of_sessions.get(session)
        if pace is None:
            pace = self._of_sessions[session] = Pace(FOLLOWS_PER_SECOND, burst, asyncio.get_running_loop().time)
        return pace


class Turns:
    """Turns of the work about one name, in the order of asking."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._asked: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, name: str) -> AsyncIterator[None]:
        """Wait until all earlier work for the name is done."""
        self._asked[name] += 1
        try:
            async with self._locks.setdefault(name, asyncio.Lock()):
                yield
        finally:
            self._asked[name] -= 1
            # Names come from clients, so forget locks that nobody waits for.
            if not self._asked[name]:
                del self._asked[name], self._locks[name]


class CrowdSize:
    """Number of those who come at once that are served in one turn of the event loop; smaller while others write.

    The frames of everybody else wait for the whole turn. A larger one costs less: its members share what they read.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._written_at = float("-inf")

    def note_write(self) -> None:
        """Note that a client which is here has written."""
        self._written_at = self._loop.time()

    @property
    def handshakes(self) -> int:
        """Return the number of handshakes begun or answered in a turn; at most as many connect in one group."""
        return 3 if self._has_writers() else 32

    @property
    def answers(self) -> int:
        """Return the number of connections opened in a turn, each of which is half a millisecond of work."""
        return 1 if self._has_writers() else 8

    def _has_writers(self) -> bool:
        return self._loop.time() - self._written_at < WRITES_GO_ON


class LoopTurns:
    """Turns of the event loop at work that comes in crowds: at most so many begin in one."""

    def __init__(self, choose_most: Callable[[], int]) -> None:
        self._loop, self._choose_most = asyncio.get_running_loop(), choose_most
        # Number of calls that may still begin in this turn; None between turns.
        self._left: int | None = None
        self._waiting: deque[Callable[[], bool]] = deque()

    def begin(self, work: Callable[[], bool]) -> None:
        """Do work in this turn of the loop if there is room, or in the first one that has, in the order of asking.

        It returns False where there was nothing left to do.
        """
        if self._left is None:
            self._left = self._choose_most()
            self._loop.call_soon(self._begin_turn)
        if not self._left:
            self._waiting.append(work)
        elif work():
            self._left -= 1

    async def take(self) -> None:
        """Begin in this turn of the loop if there is room, or in the first one that has, in the order of asking."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self.begin(partial(_set_done, turn))
        if not turn.done():
            await turn

    def _begin_turn(self) -> None:
        self._left = None
        if not self._waiting:
            return
        left = self._choose_most()
        while self._waiting and left:
            left -= self._waiting.popleft()()
        self._left = left
        self._loop.call_soon(self._begin_turn)


def _set_done(future: asyncio.Future[None]) -> bool:
    # The caller may have been cancelled.
    if future.done():
        return False
    future.set_result(None)
    return True


class Crowd:
    """Crowd that comes to one event loop: its size in a turn, and its turns at what it does one after the other."""

    def __init__(self) -> None:
        self.size = CrowdSize()
        # Two kinds of turns: for requests that were read, and for handshakes that the application was given.
        self.requests, self.openings = (LoopTurns(lambda: self.size.handshakes) for _ in range(2))


_CROWDS: WeakKeyDictionary[asyncio.AbstractEventLoop, Crowd] = WeakKeyDictionary()


def crowd() -> Crowd:
    """Return the crowd of the running event loop; a server's class for sockets meets it before any hub is made."""
    loop = asyncio.get_running_loop()
    found = _CROWDS.get(loop)
    if found is None:
        found = _CROWDS[loop] = Crowd()
    return found


class RestedTurns:
    """Turns of a process at work that must not slow down everybody else: one at a time, and a rest after each.

    Several threads at once, or one without a pause, would keep the writer lane from the interpreter and the database.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._free = asyncio.Semaphore(1)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a turn; the next begins after this one and as long again."""
        await self._free.acquire()
        started = self._loop.time()
        try:
            yield
        finally:
            self._loop.call_later(min(self._loop.time() - started, LONGEST_REST), self._free.release)

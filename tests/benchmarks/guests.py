"""Clients that outlive their connections, in any dialect, as light as Python allows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

from tests.benchmarks import wire
from tests.benchmarks.pipes import HOST, reset

FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0


class Dialect(Protocol):
    """Language of one kind of server. It keeps nothing of its own: all that is known stands in the guest."""

    path: str
    subprotocol: str | None

    async def open(self, guest: Guest) -> None:
        """Open a way to the server, which the guest has as its visit. Raises ``OSError``."""

    def greet(self, guest: Guest) -> bytes:
        """Give the frame that follows the handshake; nothing where the server speaks first."""

    def hear(self, guest: Guest, frame: bytes) -> None:
        """Take one frame of the server."""

    def ask(self, number: int) -> bytes:
        """Give a frame that is answered and writes nothing."""

    def say(self, guest: Guest, room: str, number: int) -> bytes:
        """Give a frame that tells a number to everybody in a room."""


class Way(Protocol):
    """What carries the frames of a guest."""

    def send(self, frame: bytes) -> None:
        """Send a frame."""

    def cut(self) -> None:
        """End by a reset; nothing more is heard."""


class Guest:
    """Client. ``name`` and ``places`` are what its server called it and where it stands in each log.

    ``missing`` holds the numbers that it waits for, ``unanswered`` the frames of writes without a receipt by their
    ``seq``. ``on_ready``, ``on_whole`` and ``on_answer`` are called with it.
    """

    def __init__(self, dialect: Dialect, port: int, credential: str, room: str) -> None:
        self.dialect, self.port, self.credential, self.room = dialect, port, credential, room
        self.name: str | None = None
        self.places: dict[str, Any] = {}
        self.seq = self.doubled = self.refused = self.tries = 0
        self.ready = self.whole = self.coming_back = False
        self.missing: set[int] = set()
        self.known: set[int] = set()
        self.unanswered: dict[int, bytes] = {}
        self._again: asyncio.TimerHandle | None = None
        self.began = self.asked = 0.0
        self.on_ready: Callable[[Guest], None] = _ignore
        self.on_whole: Callable[[Guest], None] = _ignore
        self.on_answer: Callable[[Guest], None] = _ignore
        self.visit: Way | None = None

    # What happens to it, said by its dialect.

    def enter(self) -> None:
        self.ready, self.tries = True, 0
        self.on_ready(self)
        self._look()

    def tell(self, number: int) -> None:
        """Take a number; one that came before is counted as doubled."""
        if number in self.known:
            self.doubled += 1
            return
        self.known.add(number)
        self.missing.discard(number)
        self._look()

    def tell_up_to(self, number: int) -> None:
        """Take a snapshot, which stands for all numbers up to this one."""
        self.known |= {one for one in self.missing if one <= number}
        self.missing -= self.known
        self._look()

    def answer(self) -> None:
        self.on_answer(self)

    def refuse(self, wait: float | None) -> None:
        """Leave, and come back after so long, or after a random time."""
        self.refused += 1
        self.leave()
        self._come_again(wait)

    def lose(self) -> None:
        """Note that the connection has ended without being asked to."""
        self.visit, self.ready = None, False
        self._come_again(None)

    @property
    def acked(self) -> int:
        """Return the last number up to which every write has its receipt; the server forgets the receipts up to it."""
        return min(self.unanswered, default=self.seq + 1) - 1

    # What it does.

    def come(self) -> None:
        """Open a connection, without waiting for anything."""
        loop = asyncio.get_running_loop()
        self.coming_back = True
        task = loop.create_task(self._connect())
        _KEEP.add(task)
        task.add_done_callback(_KEEP.discard)

    async def _connect(self) -> None:
        try:
            await self.dialect.open(self)
        except OSError:
            self._come_again(None)

    def leave(self) -> None:
        """Cut the connection by a reset."""
        visit, self.visit, self.ready = self.visit, None, False
        if visit is not None:
            visit.cut()

    def write(self, frame: bytes) -> None:
        if self.visit is not None:
            self.visit.send(frame)

    def keep(self, frame: bytes) -> bytes:
        """Remember the frame of the newest write until its receipt, and return it."""
        self.unanswered[self.seq] = frame
        return frame

    def write_again(self, wait: float | None) -> None:
        """Write after so long what has no receipt; the refusals of one burst ask for it once."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(wait or FIRST_WAIT, self._write_unanswered)

    def _write_unanswered(self) -> None:
        self._again = None
        for frame in list(self.unanswered.values()):
            self.write(frame)

    def forget(self) -> None:
        """Be a new client the next time."""
        self.name, self.places, self.seq = None, {}, 0
        self.unanswered.clear()

    def _come_again(self, wait: float | None) -> None:
        if not self.coming_back:
            return
        if wait is None:
            wait = random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**self.tries))
        self.tries += 1
        asyncio.get_running_loop().call_later(wait, self.come)

    def _look(self) -> None:
        if self.ready and not self.missing and not self.whole:
            self.whole = True
            self.on_whole(self)


class OverSocket:
    """Part of a dialect that is spoken over WebSockets."""

    async def open(self, guest: Guest) -> None:
        """Open a connection. Raises ``OSError``."""
        await asyncio.get_running_loop().create_connection(lambda: Visit(guest), HOST, guest.port)


class Visit(asyncio.Protocol):
    """One connection of a guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest: Guest | None = guest
        self._reader = wire.Reader()
        self._head: bytes | None = b""

    def connection_made(self, transport: Any) -> None:
        guest = self._guest
        assert guest is not None
        self.transport = transport
        guest.visit = self
        dialect = guest.dialect
        cookie = None if dialect.subprotocol else guest.credential
        transport.write(wire.handshake(guest.port, dialect.path, dialect.subprotocol, cookie))

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._shake(data)
            return
        for frame in self._reader.feed(data):
            # A frame may have made it leave, and then nothing more is heard.
            if self._guest is None:
                return
            self._guest.dialect.hear(self._guest, frame)

    def _shake(self, data: bytes) -> None:
        assert self._guest is not None and self._head is not None
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return
        if b" 101 " not in head.partition(b"\r\n")[0]:
            self._guest.refuse(None)
            return
        self._head = None
        greeting = self._guest.dialect.greet(self._guest)
        if greeting:
            self._guest.write(greeting)
        if rest:
            self.data_received(rest)

    def send(self, frame: bytes) -> None:
        self.transport.write(wire.text(frame))

    def cut(self) -> None:
        self._guest = None
        reset(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        guest, self._guest = self._guest, None
        if guest is not None and guest.visit is self:
            guest.lose()


def _ignore(guest: Guest) -> None:
    return


# The loop itself holds tasks only weakly.
_KEEP: set[asyncio.Task[None]] = set()

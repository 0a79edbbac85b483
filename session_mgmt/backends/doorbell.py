"""Doorbells: "log X has moved". They only notify, may be lost, and never block the process that rings.

Inside the process every listener is called at once. Other processes hear through PostgreSQL, if
``SESSION_MGMT["doorbell_database"]`` names one, or else through a channel layer that they share. A thread with an event
loop of its own sends, so that a slow or dead carrier holds up no commit. A position check makes a lost ring good.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from session_mgmt.backends.channel_layer import LayerCarrier, is_shared
from session_mgmt.backends.postgres_bell import PostgresCarrier
from session_mgmt.backends.rings import SEND_TIMEOUT, Carrier, Heads, Listener, Payloads, Sender
from session_mgmt.conf import settings

logger = logging.getLogger(__name__)

# Rings that wait for the carrier. Beyond this they are lost, as rings may be.
PENDING_LIMIT = 10_000


class Doorbell:
    """Doorbell of this process: it calls its listeners and, through a carrier, those of other processes."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._sender: _SenderThread | None = None

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(heads, payload)`` on every ring, on the ringing thread; return a function that stops it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def ring(self, heads: Heads, payload: dict[str, Any] | None = None) -> None:
        """Tell everybody how far these logs have come (0: unknown).

        ``payload`` is for messages that live in the doorbell alone.
        """
        if not heads:
            return
        # A listener may stop listening while it is called.
        for listener in tuple(self._listeners):
            listener(heads, payload)
        self.ring_elsewhere(heads, payload)

    def ring_elsewhere(self, heads: Heads, payload: dict[str, Any] | None = None) -> None:
        """Notify only other processes."""
        if (carrier := find_carrier()) is not None:
            self._find_sender(carrier).send(heads, payload)

    def close(self) -> None:
        """End the thread that rings other processes; the next ring starts another one."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    def _find_sender(self, carrier: Carrier) -> _SenderThread:
        with self._lock:
            if self._sender is not None and not self._sender.serves(carrier):
                self._sender.close()
                self._sender = None
            self._sender = self._sender or _SenderThread(carrier)
            return self._sender


class _SenderThread:
    """Daemon thread with an event loop of its own."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._sender: Sender = carrier.build_sender()
        self._pending: Heads = {}
        self._payloads: Payloads = []
        self._lock, self._started, self._running = (_allocate_system_lock() for _ in range(3))
        self._scheduled = False
        self._flushing: asyncio.Task[None] | None = None
        self._is_failing = False
        self._process = os.getpid()
        self._started.acquire()
        _start_system_thread(self._run, "session_mgmt-doorbell")
        # Released once the loop is there.
        self._started.acquire()

    def _run(self) -> None:
        # Made on this thread: under gevent a loop watches its files by the hub of the thread that made it, and two
        # threads at one hub break its watchers.
        self._loop = asyncio.new_event_loop()
        self._running.acquire()
        self._started.release()
        self._loop.run_forever()
        self._loop.close()
        self._running.release()

    def close(self) -> None:
        """End the thread, with what it has not sent yet; in a fork there is none."""
        if self._process == os.getpid():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._end()))
            self._running.acquire(timeout=SEND_TIMEOUT)

    async def _end(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self._sender.close()
        self._loop.stop()

    def serves(self, carrier: Carrier) -> bool:
        """Return whether it sends by this carrier, and its thread runs: a fork has none."""
        return self._carrier == carrier and self._process == os.getpid()

    def send(self, heads: Heads, payload: dict[str, Any] | None) -> None:
        with self._lock:
            if payload is not None:
                self._payloads.extend((key, payload) for key in heads)
                # The oldest go: an ephemeral message that is late is worth least.
                del self._payloads[:-PENDING_LIMIT]
            elif len(self._pending) < PENDING_LIMIT:
                # One entry for each log, however often it rings.
                self._pending.update(heads)
            if self._scheduled:
                return
            self._scheduled = True
        self._loop.call_soon_threadsafe(self._start_flush)

    def _start_flush(self) -> None:
        # Kept, because an event loop holds its tasks by weak references only.
        self._flushing = self._loop.create_task(self._flush())

    async def _flush(self) -> None:
        """Send until nothing is left; one at a time, so that a hanging carrier holds one call and no crowd of them."""
        while (taken := self._take()) is not None:
            await self._send_out(*taken)

    def _take(self) -> tuple[Heads, Payloads] | None:
        with self._lock:
            heads, self._pending = self._pending, {}
            payloads, self._payloads = self._payloads, []
            # Under the lock: a ring that finds this false starts the next flush itself.
            self._scheduled = bool(heads or payloads)
        return (heads, payloads) if heads or payloads else None

    async def _send_out(self, heads: Heads, payloads: Payloads) -> None:
        try:
            await self._sender.send(heads, payloads)
        except Exception as error:
            self._note_failure(error)
        else:
            if self._is_failing:
                self._is_failing = False
                logger.warning("The %s takes doorbells again", self._carrier.name)

    def _note_failure(self, error: Exception) -> None:
        """Log the change of state and not each failure, or a dead carrier fills the log.

        Nothing is lost: every process also checks the positions that it serves.
        """
        if not self._is_failing:
            self._is_failing = True
            message = "The %s does not take doorbells; other processes hear of news later: %r"
            logger.warning(message, self._carrier.name, error)


def _start_system_thread(target: Callable[[], None], name: str) -> None:
    """Start a daemon thread of the system, also where gevent has put greenlets in the place of threads.

    A greenlet shares its thread, and so its running event loop, with all others: Django would refuse every call of
    theirs to the ORM as made from async code.
    """
    monkey = _find_gevent()
    if monkey is not None:
        monkey.get_original("_thread", "start_new_thread")(target, ())
    else:
        threading.Thread(target=target, name=name, daemon=True).start()


def _allocate_system_lock() -> Any:
    """Return a lock for threads of the system; gevent's own are for the greenlets of one thread."""
    monkey = _find_gevent()
    return threading.Lock() if monkey is None else monkey.get_original("_thread", "allocate_lock")()


def _find_gevent() -> Any:
    """Return gevent's module that put greenlets in the place of threads, if it did."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey if monkey is not None and monkey.is_module_patched("threading") else None


def describe_carrier() -> dict[str, Any]:
    """Return what takes rings to other processes, and whether this process has found out that it hears none."""
    carrier = find_carrier()
    return {"carrier": carrier and carrier.name, "deaf": carrier is not None and carrier.is_deaf()}


def find_carrier() -> Carrier | None:
    """Return the carrier of doorbells to other processes, or None if there is none."""
    database = settings().doorbell_database
    if database:
        return PostgresCarrier(database)
    return LayerCarrier() if is_shared() else None


@lru_cache(maxsize=1)
def doorbell() -> Doorbell:
    """Return the doorbell of this process."""
    return Doorbell()

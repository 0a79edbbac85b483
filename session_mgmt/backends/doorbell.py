"""Doorbells: "log X has moved". They carry no truth, may be lost, and never block the process that rings.

Inside the process every listener is called at once. Other processes hear through the channel layer, if it is a shared
one; a thread with its own event loop sends, so that a slow or dead Redis cannot hold up a commit. A lost ring is made
good by the position check.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger(__name__)

Heads = dict[str, int]
Listener = Callable[[Heads, dict[str, Any] | None], None]
# Seconds for one round of rings; a layer that hangs must not hold back the next.
SEND_TIMEOUT = 2.0
# Rings that wait for the layer. Beyond this they are lost, as rings may be.
PENDING_LIMIT = 10_000
_BOOT = secrets.token_hex(8)


def build_origin() -> str:
    """Build the name of this process, with which it leaves out its own rings: ephemeral messages would come twice.

    The process id is part of it, because a fork has the same memory.
    """
    return f"{_BOOT}.{os.getpid()}"


def build_group(key: str) -> str:
    """Build the channel layer's group name of a log key: it allows 99 characters, and few kinds of them."""
    kind, _, name = key.partition(":")
    return f"session_mgmt.{kind}.{hashlib.sha256(name.encode()).hexdigest()[:32]}" if name else f"session_mgmt.{kind}"


class Doorbell:
    """Bell of this process: rings its listeners and, through the channel layer, those of other processes."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._sender: _Sender | None = None

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(heads, payload)`` on every ring, on the thread that rings; return the way to stop."""
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
        if is_shared():
            self._find_sender().send(heads, payload)

    def _find_sender(self) -> _Sender:
        with self._lock:
            if self._sender is None or not self._sender.is_alive():
                self._sender = _Sender()
            return self._sender


class _Sender:
    """Daemon thread with an event loop of its own."""

    def __init__(self) -> None:
        self._pending: Heads = {}
        self._payloads: list[tuple[str, dict[str, Any]]] = []
        self._lock, self._started = _allocate_system_lock(), _allocate_system_lock()
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
        self._started.release()
        self._loop.run_forever()

    def is_alive(self) -> bool:
        """Return whether the thread runs: it ends with its process, and a fork has none."""
        return self._process == os.getpid()

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
        """Send until nothing is left; one at a time, so that a hanging Redis holds one call and no crowd of them."""
        while (taken := self._take()) is not None:
            await self._send_out(*taken)

    def _take(self) -> tuple[Heads, list[tuple[str, dict[str, Any]]]] | None:
        with self._lock:
            heads, self._pending = self._pending, {}
            payloads, self._payloads = self._payloads, []
            # Under the lock: a ring that finds this false starts the next flush itself.
            self._scheduled = bool(heads or payloads)
        return (heads, payloads) if heads or payloads else None

    async def _send_out(self, heads: Heads, payloads: list[tuple[str, dict[str, Any]]]) -> None:
        layer = _find_layer()
        try:
            # For all rings together: with a limit for each, a thousand of them could hang for half an hour.
            async with asyncio.timeout(SEND_TIMEOUT):
                for key, head in heads.items():
                    await layer.group_send(build_group(key), _build_message(key, head))
                for key, payload in payloads:
                    await layer.group_send(build_group(key), {**_build_message(key, 0), "payload": payload})
        except Exception as error:
            self._note_failure(error)
        else:
            if self._is_failing:
                self._is_failing = False
                logger.warning("The channel layer takes doorbells again")

    def _note_failure(self, error: Exception) -> None:
        """Log the change of state and not each failure, or a dead Redis fills the log.

        Nothing is lost: every process also checks the positions that it serves.
        """
        if not self._is_failing:
            self._is_failing = True
            logger.warning("The channel layer does not take doorbells; other processes hear of news later: %r", error)


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


class RemoteListener:
    """Ear of one process: a single channel that joins a group for each log it serves."""

    def __init__(self, heard: Listener) -> None:
        self._heard = heard
        self._channel: str | None = None
        self._wanted: set[str] = set()

    async def join(self, key: str) -> None:
        """Hear of a log."""
        # First, so that a layer that fails now joins it when it is back.
        self._wanted.add(key)
        if self._channel is not None:
            await _wait_patiently(_find_layer().group_add(build_group(key), self._channel))

    async def leave(self, key: str) -> None:
        """Hear of a log no more."""
        self._wanted.discard(key)
        if self._channel is not None:
            await _wait_patiently(_find_layer().group_discard(build_group(key), self._channel))

    async def run(self) -> None:
        """Listen until cancelled; after a failure of the layer, join everything again."""
        while True:
            try:
                await self._listen()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.warning("The channel layer failed; positions are checked without it: %r", error)
                self._channel = None
                # A layer that is down fails at once, and would be asked in a tight loop.
                await asyncio.sleep(1)

    async def _listen(self) -> None:
        layer = _find_layer()
        # A new one after each failure: the layer may have lost its groups, and the old channel with them.
        self._channel = await layer.new_channel()
        # Logs that are joined meanwhile join by themselves: `join` has the channel from the line above on.
        for key in tuple(self._wanted):
            await layer.group_add(build_group(key), self._channel)
        while True:
            message = await layer.receive(self._channel)
            heads = message.get("heads")
            # Anybody with access to the layer can send into a group, so the message is not trusted to be well formed.
            if message.get("origin") != build_origin() and isinstance(heads, dict):
                self._heard(heads, message.get("payload"))


def _build_message(key: str, head: int) -> dict[str, Any]:
    return {"type": "doorbell", "heads": {key: head}, "origin": build_origin()}


def _find_layer() -> Any:
    """Return the channel layer; only asked where ``is_shared``."""
    return get_channel_layer()


async def _wait_patiently(work: Any) -> None:
    """Wait for the layer, but not for ever and not at the price of an error: the position check covers the rest."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await work
    except Exception as error:
        logger.warning("The channel layer did not answer: %r", error)


def is_shared() -> bool:
    """Tell a channel layer that reaches other processes; the in-memory one does not, and is not thread-safe."""
    layer = get_channel_layer()
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


@lru_cache(maxsize=1)
def doorbell() -> Doorbell:
    """Return the doorbell of this process."""
    return Doorbell()

"""Outgoing queue of one connection: bounded, and without a task or a wake-up per message while the client keeps up.

``send`` of an ASGI server is a coroutine that rarely waits. It is stepped by hand: if it finishes at once, nothing
else happens. Only a ``send`` that waits for a full buffer is given a task; later messages queue up behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from session_mgmt.consumers import uvicorn_fast_path, uvicorn_guard

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


class Shared:
    """Text frames for many connections, encoded once for all of them; several go out in one write."""

    __slots__ = ("_texts", "_wire", "payloads", "size")

    def __init__(self, *payloads: bytes) -> None:
        self.payloads, self.size = payloads, sum(map(len, payloads))
        self._texts: list[str] | None = None
        self._wire: bytes | None = None

    @property
    def texts(self) -> list[str]:
        if self._texts is None:
            self._texts = [payload.decode() for payload in self.payloads]
        return self._texts

    @property
    def wire(self) -> bytes:
        if self._wire is None:
            self._wire = b"".join(map(uvicorn_fast_path.build_frame, self.payloads))
        return self._wire


# Bytes that a waiting text costs in addition to its characters.
OVERHEAD = 300
# Most bytes that are gathered, even in a long window.
GATHER_BYTES = 64 * 1024
# Bytes that may wait before frames of the client are no longer read.
BACKLOG = 64 * 1024


class Outlet:
    """Queue of frames. At most ``most_bytes`` wait; above that it is full, and logs are read again later.

    ``waiting_since`` is the time since which the peer takes nothing, and ``full_since`` the time since which it is
    full.
    """

    # On the class, because nearly no connection gathers frames: its seconds, the frames that wait, and its timer.
    window = 0.0
    _joins = False
    _gathered: list[str | Shared] | None = None
    _gathered_bytes = 0
    _gathering: asyncio.TimerHandle | None = None

    def __init__(self, send: Send, most_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._write = uvicorn_fast_path.find_writer(send)
        self.guard = uvicorn_guard.find_guard(send)
        self.own_protocol = uvicorn_fast_path.find_own_protocol(send)
        self._most = most_bytes
        # A deque costs a connection 760 bytes, and nearly none ever needs it, so create it only when frames wait.
        self._queue: deque[dict[str, Any]] | tuple[()] = ()
        self._queued = 0
        self._task: asyncio.Task[None] | None = None
        self._drained: list[Callable[[], None]] = []
        self.waiting_since: float | None = None
        self.full_since: float | None = None
        self.broken = False
        self.messages = self.bytes = 0

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits."""
        return self._task is None

    @property
    def is_full(self) -> bool:
        """Return whether live frames must be left to a later replay."""
        return self._queued > self._most

    @property
    def is_backed_up(self) -> bool:
        """Return whether the peer should read before more of its frames are handled."""
        return self._queued > BACKLOG

    def is_stuck(self, now: float, seconds: float) -> bool:
        """Return whether the peer took nothing, or left the queue full, for this many seconds."""
        if self.waiting_since is None and self.full_since is None:
            return False
        return now - min(since for since in (self.waiting_since, self.full_since) if since is not None) > seconds

    def push(self, frame: str | Shared) -> None:
        """Send a text frame, now or when the client has read enough."""
        if isinstance(frame, str):
            self.messages += 1
            self.bytes += len(frame)
        else:
            self.messages += len(frame.payloads)
            self.bytes += frame.size
        if self.window or self._joins:
            self._gather(frame)
        elif not self._write_directly(frame):
            self._enqueue_frame(frame)

    def gather_for(self, seconds: float) -> None:
        """Gather frames for so many seconds from now on, and send them in one write; 0 sends each at once."""
        self._send_gathered()
        self.window = seconds

    @contextmanager
    def join_writes(self) -> Iterator[None]:
        """Send in one write what is pushed meanwhile, all in one turn of the loop."""
        self._joins = True
        try:
            yield
        finally:
            self._joins = False
            # A window that was asked for ends by its own timer.
            if not self.window:
                self._send_gathered()

    def _gather(self, frame: str | Shared) -> None:
        if self._gathered is None:
            self._gathered = []
        self._gathered.append(frame)
        self._gathered_bytes += len(frame) if isinstance(frame, str) else frame.size
        if self._gathered_bytes > GATHER_BYTES:
            self._send_gathered()
        elif self.window and self._gathering is None:
            self._gathering = self._loop.call_later(self.window, self._send_gathered)

    def _send_gathered(self) -> None:
        frames = self._forget_gathered()
        # Write all frames at once: one system call, and the client's radio wakes up only once.
        if frames and not self._write_directly(*frames):
            for frame in frames:
                self._enqueue_frame(frame)

    def _forget_gathered(self) -> list[str | Shared]:
        frames, self._gathered, self._gathered_bytes = self._gathered or [], None, 0
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        return frames

    def _enqueue_frame(self, frame: str | Shared) -> None:
        for text in [frame] if isinstance(frame, str) else frame.texts:
            self._enqueue({"type": "websocket.send", "text": text}, len(text))

    def close(self, code: int, reason: str) -> None:
        """Close after everything that was pushed."""
        self._send_gathered()
        self._enqueue({"type": "websocket.close", "code": code, "reason": reason}, 0)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call a function once when nothing waits."""
        if self._task is None:
            callback()
        else:
            self._drained.append(callback)

    async def wait_until_sent(self) -> None:
        """Wait until everything is out, or the connection is broken."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def forget_waiting(self) -> None:
        """Forget the frames that wait, except the one that is being sent."""
        self._forget_gathered()
        self._queue = ()
        self._queued = 0
        self.full_since = None

    def abort(self) -> None:
        """Drop the transport, if the server allows it, because its peer does not read."""
        if self.guard is not None:
            self.guard.abort()

    def fail(self, code: int) -> None:
        """Close at once for a bad frame of the peer, if frames arrive here unchecked."""
        if self.own_protocol is not None:
            self.own_protocol.fail(code)

    def abandon(self) -> None:
        """Forget all frames that wait, because the connection is gone."""
        self.broken = True
        self.forget_waiting()
        if self._task is not None:
            self._task.cancel()

    def _write_directly(self, *frames: str | Shared) -> bool:
        """Write past the ASGI server if that is possible; never while older frames wait."""
        # Older frames wait, and these must not overtake them.
        if self._write is None or self._task is not None or self.broken:
            return False
        wires = [
            uvicorn_fast_path.build_frame(frame.encode()) if isinstance(frame, str) else frame.wire for frame in frames
        ]
        return self._write(wires[0] if len(wires) == 1 else b"".join(wires))

    def _enqueue(self, message: dict[str, Any], size: int) -> None:
        if self.broken:
            return
        if self._task is not None:
            if not isinstance(self._queue, deque):
                self._queue = deque()
            self._queue.append(message)
            self._queued += size + OVERHEAD
            if self.is_full and self.full_since is None:
                self.full_since = self._loop.time()
            return
        # Stepped by hand, because most sends need only one step, and a task would cost more than the send.
        step = self._send(message)
        try:
            waits_for = step.send(None)
        except StopIteration:
            return
        except Exception:
            self.broken = True
            return
        self.waiting_since = self._loop.time()
        self._task = self._loop.create_task(self._send_rest(step, waits_for))

    async def _send_rest(self, step: Coroutine[Any, Any, None], waits_for: Any) -> None:
        try:
            await _RemainingSteps(step, waits_for)
            while self._queue:
                message = self._queue.popleft()
                self._queued -= len(message.get("text", "")) + OVERHEAD
                if not self.is_full:
                    self.full_since = None
                self.waiting_since = self._loop.time()
                await self._send(message)
        except Exception:
            # The peer is gone; the receiving side of the connection notices it by itself.
            self.broken = True
        finally:
            # Before the callbacks, because they push frames and need a free way.
            self._task = self.waiting_since = None
        for callback in self._take_drained():
            callback()

    def _take_drained(self) -> list[Callable[[], None]]:
        # A callback may ask to be called again.
        callbacks, self._drained = self._drained, []
        return callbacks


class _RemainingSteps(Awaitable[None]):
    """Remaining steps of a coroutine that was stepped by hand and waits for a future."""

    def __init__(self, step: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._step, self._waits_for = step, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                value = yield waits_for
            # Also a cancellation: the inner coroutine must see it, as if it had been awaited in the ordinary way.
            except BaseException as error:
                thrown: BaseException | None = error
                value = None
            else:
                thrown = None
            try:
                waits_for = self._step.throw(thrown) if thrown is not None else self._step.send(value)
            except StopIteration:
                return

"""The way out of one connection: bounded, and without a task or a wake-up per message while the client keeps up.

``send`` of an ASGI server is a coroutine that rarely waits. It is stepped by hand: if it finishes at once, nothing
else happens; only one that waits for a full buffer is given a task, and what comes meanwhile is queued behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from session_mgmt.consumers import direct

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


class Shared:
    """A text frame for many connections, encoded once for all of them."""

    __slots__ = ("_wire", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        if self._wire is None:
            self._wire = direct.wire(self.text)
        return self._wire


class Outlet:
    """``most_bytes`` may wait; beyond that the outlet is ``full`` and logs are to be read again once it is not."""

    def __init__(self, send: Send, most_bytes: int) -> None:
        self._send = send
        self._write = direct.writer(send)
        self._most = most_bytes
        self._queue: deque[dict[str, Any]] = deque()
        self._queued = 0
        self._task: asyncio.Task[None] | None = None
        self._drained: list[Callable[[], None]] = []
        self.broken = False
        self.messages = self.bytes = 0

    @property
    def full(self) -> bool:
        return self._queued > self._most

    def push(self, frame: str | Shared) -> None:
        """Send a text frame, now or when the client has read enough."""
        text = frame if isinstance(frame, str) else frame.text
        self.messages += 1
        self.bytes += len(text)
        if not self._is_written(frame):
            self._push({"type": "websocket.send", "text": text}, len(text))

    def close(self, code: int, reason: str) -> None:
        """Close after everything that was pushed."""
        self._push({"type": "websocket.close", "code": code, "reason": reason}, 0)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call once when nothing waits."""
        if self._task is None:
            callback()
        else:
            self._drained.append(callback)

    async def finished(self) -> None:
        """Wait until everything is out, or the connection is broken."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def abandon(self) -> None:
        """The connection is gone: forget what waits."""
        self.broken = True
        self._queue.clear()
        self._queued = 0
        if self._task is not None:
            self._task.cancel()

    def _is_written(self, frame: str | Shared) -> bool:
        """Whether the frame went past the ASGI server; never while older ones wait."""
        if self._write is None or self._task is not None or self.broken:
            return False
        return self._write(direct.wire(frame) if isinstance(frame, str) else frame.wire)

    def _push(self, message: dict[str, Any], size: int) -> None:
        if self.broken:
            return
        if self._task is not None:
            self._queue.append(message)
            self._queued += size
            return
        step = self._send(message)
        try:
            waits_for = step.send(None)
        except StopIteration:
            return
        except Exception:
            self.broken = True
            return
        self._task = asyncio.get_running_loop().create_task(self._finish(step, waits_for))

    async def _finish(self, step: Coroutine[Any, Any, None], waits_for: Any) -> None:
        try:
            await _Rest(step, waits_for)
            while self._queue:
                message = self._queue.popleft()
                self._queued -= len(message.get("text", ""))
                await self._send(message)
        except Exception:
            # The peer is gone; the receiving side of the connection learns it by itself.
            self.broken = True
        finally:
            self._task = None
        for callback in self._take_drained():
            callback()

    def _take_drained(self) -> list[Callable[[], None]]:
        callbacks, self._drained = self._drained, []
        return callbacks


class _Rest(Awaitable[None]):
    """The rest of a coroutine that was stepped by hand and waits for a future."""

    def __init__(self, step: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._step, self._waits_for = step, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                value = yield waits_for
            except BaseException as error:
                thrown: BaseException | None = error
                value = None
            else:
                thrown = None
            try:
                waits_for = self._step.throw(thrown) if thrown is not None else self._step.send(value)
            except StopIteration:
                return

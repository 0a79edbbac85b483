"""Futures of callers that wait for an answer."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from session_mgmt.client.errors import ClientError

Key = TypeVar("Key")
Value = TypeVar("Value")


class Waiters(Generic[Key, Value]):
    """Futures by the key of their answer; several callers may wait for the same one."""

    def __init__(self) -> None:
        self._futures: dict[Key, list[asyncio.Future[Value]]] = {}

    def add(self, key: Key) -> asyncio.Future[Value]:
        """Return a future that `resolve` or `reject` ends."""
        future = self._build_future()
        self._futures.setdefault(key, []).append(future)
        return future

    def fail_at_once(self, error: ClientError) -> asyncio.Future[Value]:
        """Return a future that has already failed."""
        future = self._build_future()
        future.set_exception(error)
        return future

    def resolve(self, key: Key, value: Value) -> None:
        """Answer all callers that wait for this key."""
        for future in self._take_open(key):
            future.set_result(value)

    def reject(self, key: Key, error: ClientError) -> None:
        """Fail all callers that wait for this key."""
        for future in self._take_open(key):
            future.set_exception(error)

    def reject_all(self, error: ClientError) -> None:
        """Fail all callers."""
        for key in list(self._futures):
            self.reject(key, error)

    def _build_future(self) -> asyncio.Future[Value]:
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        # Read the exception, or asyncio would warn about a future that nobody awaits.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    def _take_open(self, key: Key) -> list[asyncio.Future[Value]]:
        # A caller may have cancelled its own future.
        return [future for future in self._futures.pop(key, ()) if not future.done()]

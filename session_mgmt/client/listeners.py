"""Callbacks by name."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

Callback: TypeAlias = Callable[..., Any]
Unsubscribe: TypeAlias = Callable[[], None]

logger = logging.getLogger(__name__)


def check_callback(callback: Any) -> None:
    """Raise TypeError for anything but a plain function: a coroutine function would be called, but never run."""
    if not callable(callback) or inspect.iscoroutinefunction(callback):
        raise TypeError(f"A callback is a plain function, not {callback!r}: for `await`, read in an `async for` loop.")


class Listeners:
    """Plain functions by name, called on the event loop in the order they were added."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}

    def add(self, name: str, callback: Callback) -> Unsubscribe:
        """Add a callback; return the function that removes it and may be called more than once. Raises TypeError."""
        check_callback(callback)
        callbacks = self._callbacks.setdefault(name, [])
        callbacks.append(callback)

        def remove() -> None:
            if callback in callbacks:
                callbacks.remove(callback)

        return remove

    def has_any(self, name: str) -> bool:
        return bool(self._callbacks.get(name))

    def names(self) -> list[str]:
        return [name for name, callbacks in self._callbacks.items() if callbacks]

    def call_all(self, name: str, *arguments: Any) -> None:
        """Call all callbacks. One that raises is logged, so that the others are called as well."""
        for callback in list(self._callbacks.get(name, ())):
            try:
                callback(*arguments)
            except Exception:
                logger.exception("A callback for %s failed.", name)

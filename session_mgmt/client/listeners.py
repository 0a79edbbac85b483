"""Callbacks by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

Callback: TypeAlias = Callable[..., Any]
Unsubscribe: TypeAlias = Callable[[], None]

logger = logging.getLogger("session_mgmt.client")


class Listeners:
    """Plain callables, called on the event loop in the order they were added."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}

    def add(self, name: str, callback: Callback) -> Unsubscribe:
        """The returned function removes it again, once or more often."""
        callbacks = self._callbacks.setdefault(name, [])
        callbacks.append(callback)

        def remove() -> None:
            if callback in callbacks:
                callbacks.remove(callback)

        return remove

    def any(self, name: str) -> bool:
        return bool(self._callbacks.get(name))

    def names(self) -> list[str]:
        return [name for name, callbacks in self._callbacks.items() if callbacks]

    def call(self, name: str, *arguments: Any) -> None:
        """Call all; one that raises is logged, because the connection serves the others as well."""
        for callback in list(self._callbacks.get(name, ())):
            try:
                callback(*arguments)
            except Exception:
                logger.exception("A callback for %s failed.", name)

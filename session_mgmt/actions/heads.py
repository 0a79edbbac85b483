"""Decoded documents of one process, the recently used ones, bounded by bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

# Decoded, a document takes about five times its JSON (24 MB for 5 MB, measured).
_HEAP = 5


class HeadCache:
    """Bodies by document.

    What it gives is shared: nobody may change it. Safe in threads; a reader checks whether a body is still current.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._used = most_bytes, 0
        self._kept: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Estimated bytes of heap."""
        return self._used

    def find(self, document: int) -> Any:
        """The newest body that was kept, or ``None``."""
        with self._lock:
            found = self._kept.get(document)
            if found is None:
                return None
            self._kept.move_to_end(document)
            return found[0]

    def keep(self, document: int, body: Any, size: int) -> None:
        """Keep a body of ``size`` bytes of JSON in place of an older one; the least recently used give way."""
        cost = size * _HEAP
        with self._lock:
            self._drop(document)
            if cost > self._most:
                return
            self._kept[document] = (body, cost)
            self._used += cost
            while self._used > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, document: int) -> None:
        _, cost = self._kept.pop(document, (None, 0))
        self._used -= cost

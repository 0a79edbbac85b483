"""Decoded documents of one process: without them a change of one field would cost as much as the whole document.

A server's process keeps the small ones, the one for heavy work the large ones.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from session_mgmt.documents import rebuild, settling
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.settling import Change, Settled
from session_mgmt.documents.values import JSON, MISSING, Missing

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Decoded, a document takes about five times its JSON (24 MB for 5 MB, measured).
_HEAP: Final = 5


class Recent(Generic[K, V]):
    """The values used last, of ``most`` cost together. What it gives is shared: nobody may change it. Safe in
    threads.
    """

    def __init__(self, most: int) -> None:
        self._most, self._used = most, 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """What the kept values cost together."""
        return self._used

    def find(self, key: K) -> V | None:
        """The value that was kept last, or ``None``."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: K, value: V, cost: int) -> None:
        """Keep a value in place of an older one; the least recently used give way."""
        with self._lock:
            self._drop(key)
            if cost > self._most:
                return
            self._kept[key] = (value, cost)
            self._used += cost
            while self._used > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: K) -> None:
        if key in self._kept:
            self._used -= self._kept.pop(key)[1]


class Place(NamedTuple):
    """One version of one document: its row and its position."""

    document: int
    epoch: str
    version: int
    tag: str


Heads: TypeAlias = Recent[int, tuple[Place, JSON]]


@dataclass(frozen=True, slots=True)
class Since:
    """A document that was kept at ``place``, and the operations after it."""

    place: Place
    ops: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """``size``: upper bound of the document as it is; ``cache``: bytes of decoded documents that a process keeps."""

    size: int
    cache: int


def settled(place: Place, source: Parts | Since, change: Change, bounds: Bounds) -> Settled | None:
    """The change as operations on the document at ``place``; ``None`` where what ``source`` builds on is not kept here.

    Raises a DocumentError.
    """
    heads = _heads(bounds.cache)
    data = rebuild.value(source) if isinstance(source, Parts) else _brought_on(heads, source)
    if data is MISSING:
        return None
    heads.keep(place.document, (place, data), bounds.size * _HEAP)
    return settling.on_head(data, change, bounds.size)


def _brought_on(heads: Heads, since: Since) -> JSON | Missing:
    place, data = heads.find(since.place.document) or (None, None)
    return rebuild.replay(data, since.ops) if place == since.place else MISSING


@lru_cache(maxsize=1)
def _heads(most_bytes: int) -> Heads:
    return Recent(most_bytes)

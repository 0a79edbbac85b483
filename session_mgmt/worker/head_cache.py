"""Cache of decoded documents: without it a change of one field would cost as much as the whole document.

The server keeps the small documents in its own process, the worker keeps the large ones.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from session_mgmt.documents import rebuild, settling
from session_mgmt.documents.limits import Extent
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.settling import Change, Proposal
from session_mgmt.documents.values import JSON, MISSING, Missing

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Decoded, a document takes about five times its JSON (24 MB for 5 MB, measured).
_HEAP: Final = 5


class Recent(Generic[K, V]):
    """Values used last, as many as cost ``most`` together; thread-safe. Values are shared: nobody may change them."""

    def __init__(self, most: int) -> None:
        self._most, self._used = most, 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Return the cost of all kept values."""
        return self._used

    def find(self, key: K) -> V | None:
        """Return the kept value, or ``None``."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: K, value: V, cost: int) -> None:
        """Keep a value in place of an older one, and drop the least recently used ones over the limit."""
        with self._lock:
            self._drop(key)
            # It would drive out all others, and then itself.
            if cost > self._most:
                return
            self._kept[key] = (value, cost)
            self._used += cost
            while self._used > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: K) -> None:
        if key in self._kept:
            self._used -= self._kept.pop(key)[1]


class VersionKey(NamedTuple):
    """Version of a document: its row and its position."""

    document: int
    epoch: str
    version: int
    tag: str


Heads: TypeAlias = Recent[int, tuple[VersionKey, JSON]]


@dataclass(frozen=True, slots=True)
class Since:
    """Document that was kept at ``place``, and the operations after it."""

    place: VersionKey
    ops: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one change.

    ``size``: upper bounds of the document as it is; ``cache``: bytes of decoded documents that a process keeps.
    """

    size: Extent
    cache: int


def apply_at_head(place: VersionKey, source: Parts | Since, change: Change, bounds: Bounds) -> Proposal | None:
    """Return the change as operations on the document at ``place``; ``None`` if ``source`` builds on nothing kept here.

    Raises a DocumentError.
    """
    heads = _open_cache(bounds.cache)
    data = rebuild.build_value(source) if isinstance(source, Parts) else _bring_forward(heads, source)
    if data is MISSING:
        return None
    # Before the change, which may be refused: the document as it stands is right in any case.
    heads.keep(place.document, (place, data), bounds.size.bytes * _HEAP)
    return settling.propose_on_head(data, change, bounds.size)


def _bring_forward(heads: Heads, since: Since) -> JSON | Missing:
    place, data = heads.find(since.place.document) or (None, None)
    # The server believes in a version that this process may have dropped; it then sends the whole document.
    return rebuild.replay_ops(data, since.ops) if place == since.place else MISSING


@lru_cache(maxsize=1)
def _open_cache(most_bytes: int) -> Heads:
    return Recent(most_bytes)

"""`client.state`: documents as plain values, changed at once and confirmed later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from session_mgmt.client.core import STATE, Core
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe
from session_mgmt.documents import pointer
from session_mgmt.documents.values import equal

MAIN = "main"
Receipt = dict[str, Any]


class Shell(Protocol):
    """What the faces need from the client."""

    core: Core

    def update(self, doc: str, ops: list[list[Any]], strategy: str | None) -> asyncio.Future[Receipt]: ...

    async def following(self, log: str) -> None: ...


class State:
    """Every change is visible here when the call returns, also offline; the future it gives resolves with the receipt.

    A future fails with `Refused` when the server refuses the change for good; the change is then gone from here too.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._watchers = Listeners()

    def get(self, path: str = "", default: Any = None, *, doc: str = MAIN) -> Any:
        """The value at an RFC 6901 pointer; `default` where nothing is. Treat it as read-only: it is not a copy."""
        return value_at(self._shell.core.replica(doc).view, path, default)

    def version(self, doc: str = MAIN) -> int:
        """The newest version that the server confirmed; 0 before the first."""
        place = self._shell.core.replica(doc).position
        return place.offset if place else 0

    def set(self, path: str, value: Any, *, doc: str = MAIN, strategy: str | None = None) -> asyncio.Future[Receipt]:
        return self.update([["set", path, value]], doc=doc, strategy=strategy)

    def delete(self, path: str, *, doc: str = MAIN, strategy: str | None = None) -> asyncio.Future[Receipt]:
        return self.update([["del", path]], doc=doc, strategy=strategy)

    def inc(self, path: str, amount: float = 1, *, doc: str = MAIN) -> asyncio.Future[Receipt]:
        """Add to a number; increments of several clients all count."""
        return self.update([["inc", path, amount]], doc=doc)

    def merge(self, value: Any, *, doc: str = MAIN, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """RFC 7396: members of objects are set, null removes."""
        return self.update(merge_ops(value), doc=doc, strategy=strategy)

    def update(self, ops: list[list[Any]], *, doc: str = MAIN, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Several operations of PROTOCOL section 6 in one version.

        `strategy` is `merge`, `server_wins`, `client_wins`, `reject` or `manual`; else the client's, else the server's.
        """
        for op in ops:
            pointer.parse(op[1])
        return self._shell.update(doc, ops, strategy)

    def on(self, path: str, callback: Callback, *, doc: str = MAIN) -> Unsubscribe:
        """Call `callback(value)` whenever the value at `path` is another; None when it is gone."""
        watched = _watch(path, callback)
        self._shell.core.replica(doc)
        return self._watchers.add(doc, watched)

    async def follow(self, doc: str) -> None:
        """Follow a document besides `main`; returns when it is here. Raises Refused."""
        self._shell.core.replica(doc)
        await self._shell.following(STATE + doc)

    def changed(self, doc: str, before: Any, after: Any) -> None:
        self._watchers.call(doc, before, after)


def _watch(path: str, callback: Callback) -> Callable[[Any, Any], None]:
    def watched(before: Any, after: Any) -> None:
        value = value_at(after, path)
        if not equal(value_at(before, path), value):
            callback(value)

    return watched


def value_at(document: Any, path: str, default: Any = None) -> Any:
    """What a pointer finds in a document."""
    for token in pointer.parse(path):
        if isinstance(document, dict) and token in document:
            document = document[token]
        elif isinstance(document, list) and (index := pointer.index(token)) is not None and index < len(document):
            document = document[index]
        else:
            return default
    return document


def merge_ops(patch: Any, path: str = "") -> list[list[Any]]:
    """An RFC 7396 patch as operations, so that it can be shown before the server has answered."""
    if not isinstance(patch, dict):
        return [["set", path, patch]]
    ops: list[list[Any]] = [["obj", path]]
    for key, value in patch.items():
        place = pointer.child(path, key)
        ops += [["del", place]] if value is None else merge_ops(value, place)
    return ops

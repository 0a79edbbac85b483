"""`client.state`: documents as plain values, changed at once and confirmed later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlencode

from session_mgmt.client.answers import (
    Checkpoint,
    ClientState,
    DocumentSizes,
    HistoryEntry,
    HistoryPage,
    KeptConflict,
    Written,
    made,
)
from session_mgmt.client.core import Core
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe
from session_mgmt.client.writing import STATE
from session_mgmt.documents import canonical, pointer, size
from session_mgmt.documents.values import MISSING, equal

MAIN = "main"
Receipt = dict[str, Any]


class Shell(Protocol):
    """What the faces need from the client."""

    core: Core

    def update(self, doc: str, ops: list[list[Any]], strategy: str | None) -> asyncio.Future[Receipt]: ...

    def create(self, doc: str, data: Any) -> asyncio.Future[Receipt]: ...

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """A call below the session's own address."""

    def synced(self, doc: str, answer: dict[str, Any]) -> None: ...

    async def following(self, log: str) -> None: ...


class State:
    """Every change is visible here when the call returns, also offline; the future it gives resolves with the receipt.

    A future fails with `Refused` when the server refuses the change for good; the change is then gone from here too.
    What is asked of the server over HTTP raises Refused or Unanswered.
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

    def insert(self, path: str, value: Any, *, doc: str = MAIN, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Insert into an array before the index at the end of the path; `-` appends."""
        return self.update([["ins", path, value]], doc=doc, strategy=strategy)

    def replace(self, data: Any, *, doc: str = MAIN, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Set the whole document."""
        return self.update([["set", "", data]], doc=doc, strategy=strategy)

    def clear(self, *, doc: str = MAIN, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Make it `{}`; an ordinary new version."""
        return self.replace({}, doc=doc, strategy=strategy)

    def create_if_absent(self, data: Any, *, doc: str = MAIN) -> asyncio.Future[Receipt]:
        """Give the document its first value; the receipt says `unchanged` if it was ever written, also if it was
        cleared since. So neither a start nor a reconnect can overwrite anything with defaults.
        """
        return self._shell.create(doc, data)

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

    def size(self, doc: str = MAIN) -> int:
        """Bytes of what `get` gives as compact JSON."""
        return size.size(self.get(doc=doc))

    def checksum(self, doc: str = MAIN) -> str:
        """SHA-256 of what `get` gives as RFC 8785 text: the server's checksum if the two are equal."""
        return canonical.checksum(self.get(doc=doc))

    # Asked of the server, over HTTP.

    async def sync(self, doc: str = MAIN) -> int:
        """Fetch what is missing; the version then."""
        replica = self._shell.core.replica(doc)
        while True:
            before = replica.position
            answer = await self._call("POST", doc, "sync/", {"position": before and before.as_json()})
            self._shell.synced(doc, answer)
            # Entries come in pages; the page that brings nothing new is the last.
            if answer["mode"] != "entries" or replica.position == before:
                return self.version(doc)

    async def info(self, doc: str = MAIN) -> ClientState:
        """The document as the server has it, with what it knows of it."""
        return made(ClientState, await self._call("GET", doc))

    async def sizes(self, doc: str = MAIN) -> DocumentSizes:
        return made(DocumentSizes, await self._call("GET", doc, "size/"))

    async def compress(self, doc: str = MAIN) -> DocumentSizes:
        """Store a snapshot now and shorten a log that is over its limits."""
        return made(DocumentSizes, await self._call("POST", doc, "compress/", {}))

    async def history(self, *, before: int | None = None, limit: int | None = None, doc: str = MAIN) -> HistoryPage:
        """What made each version, newest first; `before` is the `next` of the page before."""
        page = await self._call("GET", doc, "history/" + _query(before=before, limit=limit))
        return made(HistoryPage, {**page, "results": [made(HistoryEntry, entry) for entry in page["results"]]})

    async def read_at(self, version: int | str, *, doc: str = MAIN) -> Any:
        """The value at a version, or under a label. Raises Refused (`not_found`) where it is gone."""
        path = f"history/{version}/" if isinstance(version, int) else f"persist/{quote(version)}/"
        return (await self._call("GET", doc, path))["data"]

    async def diff(self, first: int, second: int | None = None, *, doc: str = MAIN) -> list[dict[str, Any]]:
        """What makes the second version (None: the newest) of the first, as an RFC 6902 patch."""
        answer = await self._call("GET", doc, "diff/" + _query(**{"from": first, "to": second}))
        patch: list[dict[str, Any]] = answer["patch"]
        return patch

    async def persist(self, label: str | None = None, *, doc: str = MAIN) -> Checkpoint:
        """Keep the present version for good, under a label (`v<version>` if none is given)."""
        return made(Checkpoint, await self._call("POST", doc, "persist/", {} if label is None else {"label": label}))

    async def checkpoints(self, doc: str = MAIN) -> list[Checkpoint]:
        """What `persist` keeps, oldest first."""
        return [made(Checkpoint, told) for told in (await self._call("GET", doc, "persist/"))["results"]]

    async def forget(self, label: str, *, doc: str = MAIN) -> None:
        """Give a checkpoint up. Raises Refused (`not_found`) if there is none of this label."""
        await self._call("DELETE", doc, f"persist/{quote(label)}/")

    async def restore(self, to: int | str, *, if_match: Sequence[Any] | None = None, doc: str = MAIN) -> Written:
        """Make the document what it was at a version or under a label; an ordinary new version.

        `if_match` is a position: only if the document is there, else Refused (`precondition_failed`).
        """
        body = {"version": to} if isinstance(to, int) else {"label": to}
        headers = None if if_match is None else {"if-match": '"{}.{}.{}"'.format(*if_match)}
        return made(Written, await self._call("POST", doc, "restore/", body, headers))

    async def conflicts(self, *, open_only: bool = True, doc: str = MAIN) -> list[KeptConflict]:
        """What `manual` kept, newest first."""
        told = (await self._call("GET", doc, "conflicts/"))["results"]
        found = [made(KeptConflict, conflict) for conflict in told]
        return [conflict for conflict in found if conflict.resolved_at is None or not open_only]

    async def resolve(
        self, id_: str, keep: Literal["server", "client", "value"], value: Any = MISSING, *, doc: str = MAIN
    ) -> Written:
        """Decide a conflict. Raises Refused (`conflict`) if somebody has decided before."""
        body = {"keep": keep, **({} if value is MISSING else {"value": value})}
        return made(Written, await self._call("POST", doc, f"conflicts/{quote(id_)}/resolve/", body))

    async def _call(
        self, method: str, doc: str, path: str = "", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        return await self._shell.call(method, f"state/{quote(doc, safe='')}/{path}", body, headers)

    def changed(self, doc: str, before: Any, after: Any) -> None:
        self._watchers.call(doc, before, after)


def _query(**fields: int | None) -> str:
    return "?" + urlencode({name: value for name, value in fields.items() if value is not None})


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

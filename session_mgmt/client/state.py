"""`client.state` and `client.document(name)`: plain values that change at once and are confirmed later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import urlencode

from session_mgmt.client.answers import (
    Checkpoint,
    ClientState,
    DocumentSizes,
    HistoryEntry,
    HistoryPage,
    KeptConflict,
    Written,
    build_answer,
)
from session_mgmt.client.checking import check_data, encode_part, read_value
from session_mgmt.client.core import Core
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe, check_callback
from session_mgmt.client.reader import WAITING_LIMIT, Reader, ReaderPort
from session_mgmt.client.replica import Replica
from session_mgmt.client.writing import STATE
from session_mgmt.documents import canonical, normalise, size
from session_mgmt.documents.values import MISSING, are_equal
from session_mgmt.protocol.position import Position

MAIN = "main"
Receipt = dict[str, Any]


class StatePort(ReaderPort, Protocol):
    """Calls that a document needs from the shell."""

    core: Core
    changes: Listeners

    def update(
        self, doc: str, ops: list[list[Any]], strategy: str | None = None, *, atomic: bool = False
    ) -> asyncio.Future[Receipt]: ...

    def create_if_absent(self, doc: str, data: Any) -> asyncio.Future[Receipt]: ...

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Call the REST API below the session's own URL."""

    def apply_sync(self, doc: str, answer: dict[str, Any]) -> None: ...

    async def follow_log(self, log: str) -> bool: ...


class StateDocument:
    """Named document. A change is visible when the call returns, also offline; its future resolves with the receipt.

    The future fails with `Refused` if the server finally refuses the change; the change is then undone here as well.
    Calls over HTTP raise Refused or Unanswered.
    """

    def __init__(self, name: str, port: StatePort) -> None:
        self.name = name
        self._port = port

    def __repr__(self) -> str:
        return f"<StateDocument {self.name!r} version={self.version} pending={self.pending}>"

    @property
    def version(self) -> int:
        """Newest version that the server has confirmed; 0 before the first one."""
        return self.position.offset if self.position else 0

    @property
    def position(self) -> Position | None:
        """Position of that version in the document's log; None until the server has sent it."""
        return self._replica.position

    @property
    def pending(self) -> int:
        """Number of updates without an answer."""
        return self._replica.pending

    def get(self, path: str = "", default: Any = None) -> Any:
        """Return the value at an RFC 6901 pointer, or `default`. Treat it as read-only: it is not a copy.

        Raises Refused (`invalid_path`) if the path is not a pointer.
        """
        return _read_value(self._replica.view, path, default)

    def on(self, path: str, callback: Callback) -> Unsubscribe:
        """Call `callback(value)` each time the value at `path` changes; the value is None if it was removed. Raises
        Refused.
        """
        check_callback(callback)
        _read_value(self._replica.view, path)
        return self._port.changes.add(self.name, _watch(path, callback))

    async def iterate(self, path: str = "", *, limit: int = WAITING_LIMIT) -> AsyncIterator[Any]:
        """Yield the value at a path after each change: `async for cart in client.state.iterate("/cart")`.

        Raises Refused like `on`, Stopped when the client stops, and TooSlow when more than `limit` values wait.
        """
        reader = Reader(limit)
        forget = self.on(path, reader.put)
        try:
            async for value in reader.read(self._port):
                yield value
        finally:
            forget()

    async def follow(self) -> None:
        """Follow a document other than `main`; return when it has arrived. Raises Refused."""
        _ = self._replica
        await self._port.follow_log(STATE + self.name)

    def set(self, path: str, value: Any, *, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Set the value at a path."""
        return self.update([["set", path, value]], strategy=strategy)

    def delete(self, path: str, *, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Remove the value at a path."""
        return self.update([["del", path]], strategy=strategy)

    def insert(self, path: str, value: Any, *, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Insert into an array before the index at the end of the path; `-` appends."""
        return self.update([["ins", path, value]], strategy=strategy)

    def inc(self, path: str, amount: float = 1, *, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Add to a number; increments of several clients all count."""
        return self.update([["inc", path, amount]], strategy=strategy)

    def merge(self, value: Any, *, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Merge an object as in RFC 7396: its members are set, null removes a member."""
        checked = check_data(value, self._port.core.limits)
        # Send it as operations, so that it can be shown before the server answers.
        return self.update([list(op) for op in normalise.make_merge_ops(checked)], strategy=strategy)

    def replace(self, data: Any, *, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Set the whole document."""
        return self.set("", data, strategy=strategy)

    def clear(self, *, strategy: str | None = None) -> asyncio.Future[Receipt]:
        """Set the document to `{}`, as an ordinary new version."""
        return self.replace({}, strategy=strategy)

    def create_if_absent(self, data: Any) -> asyncio.Future[Receipt]:
        """Give the document its first value; the receipt has `unchanged` if the document was ever written.

        A cleared document is not absent, so neither a start nor a reconnect can overwrite values with defaults.
        """
        return self._port.create_if_absent(self.name, data)

    def update(
        self, ops: list[list[Any]], *, strategy: str | None = None, atomic: bool = False
    ) -> asyncio.Future[Receipt]:
        """Apply several operations (PROTOCOL section 6) as one version.

        `strategy` is `merge`, `server_wins`, `client_wins`, `reject` or `manual`; by default the client's, else the
        server's. With `atomic` the update is refused (`conflict`) unless all its operations take effect.
        """
        return self._port.update(self.name, ops, strategy, atomic=atomic)

    def size(self) -> int:
        """Return the size of `get()` in bytes, as compact JSON."""
        return size.measure_size(self.get())

    def checksum(self) -> str:
        """Return the SHA-256 of `get()` as RFC 8785 text; equal documents have the server's checksum."""
        return canonical.compute_checksum(self.get())

    # Calls to the REST API.

    async def sync(self) -> int:
        """Fetch missing entries; return the resulting version."""
        while True:
            before = self.position
            answer = await self._call("POST", "sync/", {"position": before and before.as_json()})
            self._port.apply_sync(self.name, answer)
            # Entries come in pages; a page that brings nothing new is the last one.
            if answer["mode"] != "entries" or self.position == before:
                return self.version

    async def info(self) -> ClientState:
        """Read the stored document with its data and metadata from the server."""
        return build_answer(ClientState, await self._call("GET"))

    async def sizes(self) -> DocumentSizes:
        """Read the sizes of the document on the server."""
        return build_answer(DocumentSizes, await self._call("GET", "size/"))

    async def compress(self) -> DocumentSizes:
        """Store a snapshot now and shorten a log that is over its limits."""
        return build_answer(DocumentSizes, await self._call("POST", "compress/", {}))

    async def history(self, *, before: int | None = None, limit: int | None = None) -> HistoryPage:
        """List the versions, newest first; `before` is the `next` of the previous page."""
        page = await self._call("GET", "history/" + _build_query(before=before, limit=limit))
        entries = [build_answer(HistoryEntry, entry) for entry in page["results"]]
        return build_answer(HistoryPage, {**page, "results": entries})

    async def read_at(self, version: int | str) -> Any:
        """Read the value at a version or under a label. Raises Refused (`not_found`) if it is not kept."""
        path = f"history/{version}/" if isinstance(version, int) else f"persist/{_encode_label(version)}/"
        return (await self._call("GET", path))["data"]

    async def diff(self, first: int, second: int | None = None) -> list[dict[str, Any]]:
        """Return the RFC 6902 patch from the first version to the second (None: the newest)."""
        answer = await self._call("GET", "diff/" + _build_query(**{"from": first, "to": second}))
        patch: list[dict[str, Any]] = answer["patch"]
        return patch

    async def persist(self, label: str | None = None) -> Checkpoint:
        """Keep the present version permanently under a label, by default `v<version>`."""
        return build_answer(Checkpoint, await self._call("POST", "persist/", {} if label is None else {"label": label}))

    async def checkpoints(self) -> list[Checkpoint]:
        """List the checkpoints that `persist` made, oldest first."""
        return [build_answer(Checkpoint, kept) for kept in (await self._call("GET", "persist/"))["results"]]

    async def forget(self, label: str) -> None:
        """Remove a checkpoint. Raises Refused (`not_found`) if no checkpoint has this label."""
        await self._call("DELETE", f"persist/{_encode_label(label)}/")

    async def restore(self, to: int | str, *, if_match: Sequence[Any] | None = None) -> Written:
        """Write the value of an old version or a checkpoint again, as an ordinary new version.

        `if_match` is a position: raises Refused (`precondition_failed`) if the document is at another one.
        """
        body = {"version": to} if isinstance(to, int) else {"label": to}
        headers = None if if_match is None else {"if-match": '"{}.{}.{}"'.format(*if_match)}
        return build_answer(Written, await self._call("POST", "restore/", body, headers))

    async def conflicts(self, *, include_resolved: bool = False) -> list[KeptConflict]:
        """List the conflicts that the strategy `manual` has kept, newest first."""
        results = (await self._call("GET", "conflicts/"))["results"]
        found = [build_answer(KeptConflict, conflict) for conflict in results]
        return [conflict for conflict in found if conflict.resolved_at is None or include_resolved]

    async def resolve(
        self,
        id_: str,
        keep: Literal["server", "client", "value"],
        value: Any = MISSING,
    ) -> Written:
        """Resolve a conflict. Raises Refused (`conflict`) if somebody else has resolved it before."""
        body = {"keep": keep, **({} if value is MISSING else {"value": value})}
        path = f"conflicts/{encode_part(id_, 'The id of a conflict')}/resolve/"
        return build_answer(Written, await self._call("POST", path, body))

    async def _call(
        self, method: str, path: str = "", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        # Quote also its slashes, which would make another URL.
        name = encode_part(self.name, "The name of a document")
        return await self._port.call(method, f"state/{name}/{path}", body, headers)

    @property
    def _replica(self) -> Replica:
        return self._port.core.open_replica(self.name)


def _encode_label(label: str) -> str:
    # Slashes of a label are slashes in the URL.
    return encode_part(label, "A label").replace("%2F", "/")


def _build_query(**fields: int | None) -> str:
    return "?" + urlencode({name: value for name, value in fields.items() if value is not None})


def _watch(path: str, callback: Callback) -> Callable[[Any, Any], None]:
    def call_if_changed(before: Any, after: Any) -> None:
        value = _read_value(after, path)
        if not are_equal(_read_value(before, path), value):
            callback(value)

    return call_if_changed


def _read_value(document: Any, path: str, default: Any = None) -> Any:
    found = read_value(document, path)
    return default if found is MISSING else found

"""The client as an application sees it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import Any

from session_mgmt.client.answers import DocumentHead, build_answer
from session_mgmt.client.batch import Sync
from session_mgmt.client.listeners import Callback, Unsubscribe
from session_mgmt.client.shell import Shell
from session_mgmt.client.state import MAIN, StateDocument
from session_mgmt.client.stats import Stats
from session_mgmt.client.storage import FileStorage, MemoryStorage, Storage
from session_mgmt.client.topics import Topics

Receipt = dict[str, Any]


class SessionClient:
    """Client of a durable session. Make one with `await SessionClient.start(...)`.

    Events for `on`: `connected` (the frame), `disconnected` (code, name), `recovery` (the receipt), `gap`, `denied`,
    `refused` (a write's error), `conflict` (doc, seq and the receipt's report), `unsent` (the frame), `error`,
    `stopped` (code, name), and every event type of the session's log. Callbacks are plain functions; one that raises is
    logged.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._documents: dict[str, StateDocument] = {}
        self.state = self.document(MAIN)
        self.topics = Topics(shell)

    @classmethod
    async def start(
        cls,
        url: str,
        token: str | None = None,
        storage: str | os.PathLike[str] | Storage | None = None,
        headers: Mapping[str, str] | None = None,
        documents: Iterable[str] = (MAIN,),
        strategy: str | None = None,
        sync: Sync | None = None,
    ) -> SessionClient:
        """Create a session, or resume the stored one, and return when it is connected.

        `url` is the address of the REST API (`https://example.org/api/`). `token` joins an existing session; without
        one, and without a stored one, `POST sessions/` with `headers` (the project's own authentication) creates a
        session. `storage` is the path of a JSON file, or None for memory. `strategy` settles conflicts of updates that
        name none; without it the server's settings do. `sync=Sync("delayed")` gathers updates and sends them as one.
        Raises Refused or Stopped, and httpx.HTTPError when the session cannot be created.
        """
        kept = FileStorage(storage) if isinstance(storage, str | os.PathLike) else storage or MemoryStorage()
        client = cls(Shell(url.rstrip("/") + "/", kept, headers or {}, strategy, sync))
        try:
            await client._shell.start(token, documents)
        except BaseException:
            await client.close()
            raise
        return client

    @property
    def info(self) -> dict[str, Any]:
        """The session as of the last connection: `session_id`, `user_id`, `state`, `expires_at`, `metadata` …"""
        return self._shell.core.session

    @property
    def token(self) -> str | None:
        """Secret of the session, with which another client can join it."""
        return self._shell.credentials.token

    @property
    def status(self) -> str:
        """`connecting`, `connected`, `reconnecting`, `closed` or `failed`."""
        return self._shell.stats.state

    @property
    def pending(self) -> int:
        """Number of writes without an answer."""
        return len(self._shell.core.outbox)

    def is_connected(self) -> bool:
        """Return True while the server answers on a connection."""
        return self._shell.core.ready

    def document(self, name: str) -> StateDocument:
        """Return a document of the session; `main` is `state`."""
        if name not in self._documents:
            self._documents[name] = StateDocument(name, self._shell)
        return self._documents[name]

    async def documents(self) -> list[DocumentHead]:
        """List all documents of the session, without their data. Raises Refused or Unanswered."""
        return [build_answer(DocumentHead, head) for head in (await self._shell.call("GET", "state/"))["results"]]

    def send(self, data: Any) -> asyncio.Future[Receipt]:
        """Call the server's handler exactly once; the receipt's `data` is its answer."""
        return self._shell.write({"type": "send", "data": data})

    def on_message(self, callback: Callback) -> Unsubscribe:
        """Call `callback(data)` once for each message that the server sends to this session."""
        return self._shell.messages.add("message", callback)

    def on(self, event: str, callback: Callback) -> Unsubscribe:
        """Call `callback(data)` for an event; the class's description lists the events."""
        return self._shell.events.add(event, callback)

    def stats(self) -> Stats:
        """Return the counters of this client."""
        stats, core = self._shell.stats, self._shell.core
        stats.pending, stats.generation, stats.client_id = self.pending, core.generation, core.client_id
        return stats

    def flush(self) -> None:
        """Send the updates that delayed synchronisation holds back."""
        self._shell.flush()

    async def flushed(self) -> None:
        """Return when every write has its answer. Raises Stopped if the client stops before."""
        await self._shell.wait_until_settled()

    async def close(self) -> None:
        """Close the connection; with a file as storage, a new client can go on from it."""
        await self._shell.close()

"""The client as an application sees it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any

import httpx

from session_mgmt.client.answers import DocumentHead, build_answer
from session_mgmt.client.batch import Sync
from session_mgmt.client.checking import check_name
from session_mgmt.client.devices import NarrowedToken, Sessions
from session_mgmt.client.entering import OnAsk, User, Wishes
from session_mgmt.client.listeners import Callback, Unsubscribe
from session_mgmt.client.options import (
    check_callbacks,
    check_choices,
    check_documents,
    check_headers,
    check_url,
    check_wishes,
    open_storage,
)
from session_mgmt.client.performing import Options, Reason
from session_mgmt.client.reader import WAITING_LIMIT, Reader
from session_mgmt.client.rest import Login
from session_mgmt.client.shell import Shell
from session_mgmt.client.state import MAIN, StateDocument
from session_mgmt.client.stats import Stats, Status
from session_mgmt.client.storage import Saved, Storage
from session_mgmt.client.topics import Topics
from session_mgmt.client.transports.carrier import TransportName
from session_mgmt.client.transports.choosing import ALL, check_transports
from session_mgmt.documents.values import MISSING

Receipt = dict[str, Any]


class SessionClient:
    """Client of a durable session. Make one with `await SessionClient.start(...)`.

    Events for `on`: `status` (status, reason), `connected` (the frame), `disconnected` (code, name, retry_after),
    `transport` (its name), `recovery` (the receipt), `gap`, `denied`, `refused` (a write's error), `conflict` (doc, seq
    and the receipt's report), `unsent` (the frame), `error`, `heartbeat_missed` (missed), `identity` (verdict, reason,
    user_id), `ended` (reason), `stopped` (code, name), and every event type of the session's log. Callbacks are plain
    functions; one that raises is logged.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._documents: dict[str, StateDocument] = {}
        self.state = self.document(MAIN)
        self.topics = Topics(shell)
        self.sessions = Sessions(shell.rest, lambda: str(shell.core.session["session_id"]))

    def __repr__(self) -> str:
        id_, client = self.info.get("session_id"), self._shell.core.client_id
        return f"<SessionClient session={id_} client={client} {self.status} pending={self.pending}>"

    async def __aenter__(self) -> SessionClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @classmethod
    def start(
        cls,
        url: str,
        token: str | None = None,
        storage: str | os.PathLike[str] | Storage | None = None,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        user: User = MISSING,
        documents: Iterable[str] = (MAIN,),
        strategy: str | None = None,
        sync: Sync | None = None,
        metadata: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        label: str | None = None,
        on_message: Callback | None = None,
        listeners: Mapping[str, Callback] | None = None,
        on_ask: OnAsk | None = None,
        transports: Sequence[TransportName] = ALL,
    ) -> Starting:
        """Create a session, or resume the stored one, and return when it is connected.

        Await the result, or write `async with SessionClient.start(...) as client`, which closes the client.

        `url` is the address of the REST API (`https://example.org/api/`). `headers` or `auth` are the project's own
        login, which the server is asked with (`sessions/enter/`); without one it is nobody's session. `user` is the key
        of the user whom the program runs for, None for nobody: the start is refused (`login_mismatch`) for anybody
        else. `token` joins an existing session instead. `storage` is the path of a JSON file, or None for memory.
        `strategy` settles conflicts of updates that name none; without it the server's settings do.
        `sync=Sync("delayed")` gathers updates and sends them as one. `metadata`, `config` and `label` belong to a
        session that is created. `on_ask` decides about a visitor's session if the server asks. `on_message` and
        `listeners` (by event) are called from the first moment on; callbacks added later miss the events of the start.
        `transports` are those that may carry the connection: HTTP where no WebSocket gets through.

        A server that is down is tried again: for a new session at most seven times, for a connection without end.
        Raises Refused, Unanswered or Stopped; ValueError or TypeError for an option that cannot be.
        """
        check_choices(token, strategy, sync)
        check_callbacks(on_message, listeners, on_ask)
        address, followed, kept = check_url(url), check_documents(documents), open_storage(storage)
        wishes = Wishes(user, check_wishes(metadata, config, label), on_ask)
        login = Login(check_headers(headers), auth)
        client = cls(Shell(Options(address, kept, login, wishes, strategy, sync, check_transports(transports))))
        if on_message is not None:
            client.on_message(on_message)
        for event, callback in (listeners or {}).items():
            client.on(event, callback)
        return Starting(client._start(token, followed))

    async def _start(self, token: str | None, documents: Iterable[str]) -> SessionClient:
        try:
            await self._shell.start(token, documents)
        # Also for a cancellation: the connection would go on without anybody who could close it.
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def info(self) -> dict[str, Any]:
        """Session as of the last connection: `session_id`, `user_id`, `state`, `expires_at`, `metadata` …"""
        return self._shell.core.session

    @property
    def token(self) -> str | None:
        """Secret of the session, with which another client can join it.

        A new one comes every quarter of an hour; the one that was read before ends then, with the client that joined.
        """
        return self._shell.credentials.token

    @property
    def status(self) -> Status:
        """`connecting`, `connected`, `reconnecting`, `disconnected` (as the program asked) or `failed`."""
        return self._shell.stats.state

    @property
    def reason(self) -> Reason | None:
        """Code and name of why the status is what it is; None for `connected`, and before the first attempt failed."""
        return self._shell.reason

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
            check_name(name, "The name of a document")
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

    async def messages(self, *, limit: int = WAITING_LIMIT) -> AsyncIterator[Any]:
        """Yield the messages of the server from now on: `async for data in client.messages()`.

        Raises Stopped when the client stops, and TooSlow when more than `limit` wait.
        """
        reader = Reader(limit)
        forget = self.on_message(reader.put)
        try:
            async for data in reader.read(self._shell):
                yield data
        finally:
            forget()

    def on(self, event: str, callback: Callback) -> Unsubscribe:
        """Call `callback(data)` for an event; the class's description lists the events."""
        return self._shell.events.add(event, callback)

    async def set_connection_config(
        self, *, interval: float | None = None, missed_limit: int | None = None, batch: float | None = None
    ) -> dict[str, Any] | None:
        """Ask the server for other beats, and to gather what it sends, now and for each later connection.

        Seconds between two beats, beats in a row that may be missed, seconds of gathering. Return what holds, with the
        `deadline`; None without a connection. Refused for a value outside the server's range, which is `allowed`.
        """
        given = {"interval": interval, "missed_limit": missed_limit, "batch": batch}
        return await self._shell.configure({name: value for name, value in given.items() if value is not None})

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

    async def narrow(self, scopes: Iterable[str], *, expires_in: float | None = None) -> NarrowedToken:
        """Return a token with these scopes only, for a program that should do no more; it cannot be refreshed.

        Refused with `scope_missing` if the session lacks one. Raises Refused or Unanswered.
        """
        wanted = {"scopes": [*scopes], **({} if expires_in is None else {"expires_in": expires_in})}
        found = await self._shell.rest.call("POST", "tokens/narrow/", wanted)
        return build_answer(NarrowedToken, {**found, "token": found["access"]})

    async def login(
        self, headers: Mapping[str, str] | None = None, auth: httpx.Auth | None = None, user: User = MISSING
    ) -> None:
        """Go on with another login of the project, in the session that the server names.

        Raises Refused, Unanswered or Stopped.
        """
        await self._shell.log_in(Login(headers or {}, auth), user)

    async def logout(self) -> None:
        """End the session: send what waits for at most 2 s, then leave nothing in the storage."""
        await self._shell.log_out()

    @staticmethod
    def forget(storage: str | os.PathLike[str] | Storage) -> None:
        """Remove everything that a storage keeps, without a session; no client may be using it."""
        open_storage(storage).save(Saved())

    async def close(self) -> None:
        """Close the connection; with a file as storage, a new client can go on from it."""
        await self._shell.close()


class Starting(Coroutine[Any, Any, SessionClient]):
    """Start of a client, for `await` and for `async with`."""

    def __init__(self, starting: Coroutine[Any, Any, SessionClient]) -> None:
        self._starting = starting
        self._client: SessionClient | None = None

    def __await__(self) -> Generator[Any, Any, SessionClient]:
        return self._starting.__await__()

    async def __aenter__(self) -> SessionClient:
        self._client = await self._starting
        return self._client

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    # The rest of a coroutine, so that `asyncio.create_task` takes it too.

    def send(self, value: Any) -> Any:
        return self._starting.send(value)

    def throw(self, *error: Any) -> Any:
        return self._starting.throw(*error)

    def close(self) -> None:
        self._starting.close()

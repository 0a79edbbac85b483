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
    check_event,
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
    `transport` (its name), `recovery` (the receipt), `gap`, `conflated`, `denied`, `refused` (error of a write),
    `conflict` (doc, seq and the report in the receipt), `unsent` (the frame), `error`, `latency` (ms),
    `heartbeat_missed` (missed), `identity` (verdict, reason, user_id), `ended` (reason), `stopped` (code, name), and
    every event type of the session's log. Callbacks are plain functions; if one raises, the exception is logged.
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

        `url` is the URL of the REST API (`https://example.org/api/`). `headers` or `auth` are the project's own login,
        and are sent to `sessions/enter/`; without them the session has no user. `user` is the key of the user that the
        program runs for, or None for no user: if somebody else is logged in, the start is refused (`login_mismatch`).
        `token` joins an existing session instead. `storage` is the path of a JSON file, or None for memory. `strategy`
        settles conflicts of updates that name no strategy; by default the server's settings decide.
        `sync=Sync("delayed")` gathers updates and sends them together. `metadata`, `config` and `label` are used if a
        new session is created. `on_ask` decides about a visitor's session if the server asks. `on_message` and
        `listeners` (by event) are called from the first moment on; callbacks that are added later miss the events of
        the start. `transports` are the allowed transports; HTTP is used if no WebSocket gets through.

        While the server is down, the client tries again: at most seven times for a new session, without end for a
        connection. Raises Refused, Unanswered or Stopped; ValueError or TypeError for an invalid option.
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
        # Also for a cancellation, because nobody could close the connection later.
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def info(self) -> dict[str, Any]:
        """Session as of the last connection: `session_id`, `user_id`, `state`, `expires_at`, `metadata` and others."""
        return self._shell.core.session

    @property
    def token(self) -> str | None:
        """Token of the session, with which another client can join it.

        It is replaced before it expires, after 15 minutes by default. The earlier token then ends, and so does the
        connection of a client that joined with it.
        """
        return self._shell.credentials.token

    @property
    def status(self) -> Status:
        """`connecting`, `connected`, `reconnecting`, `disconnected` (as the program asked) or `failed`."""
        return self._shell.stats.state

    @property
    def reason(self) -> Reason | None:
        """Code and name of the reason for the status; None while `connected`, and before the first failed attempt."""
        return self._shell.reason

    @property
    def pending(self) -> int:
        """Number of writes without an answer."""
        return len(self._shell.core.outbox)

    def is_connected(self) -> bool:
        """Return True while a connection is open and the server answers."""
        return self._shell.core.ready

    def document(self, name: str) -> StateDocument:
        """Return a document of the session; the document `main` is also `state`."""
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

        Raises Stopped when the client stops, and TooSlow when more than `limit` messages wait.
        """
        reader = Reader(limit)
        forget = self.on_message(reader.put)
        try:
            async for data in reader.read(self._shell):
                yield data
        finally:
            forget()

    def on(self, event: str, callback: Callback) -> Unsubscribe:
        """Call `callback(data)` for an event that the class's description lists. Raises ValueError for any other."""
        return self._shell.events.add(check_event(event), callback)

    async def set_connection_config(
        self, *, interval: float | None = None, missed_limit: int | None = None, batch: float | None = None
    ) -> dict[str, Any] | None:
        """Ask the server for other beats and other batches, for this and all later connections.

        `interval` is the time between two beats in seconds, `missed_limit` the number of beats in a row that may be
        missed, and `batch` the seconds for which the server gathers frames. Return the values in use, with the
        `deadline`; None without a connection. Raises Refused for a value outside the server's range, which is in
        `allowed`.
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
        """Return when every write has its answer. Raises Stopped if the client stops first."""
        await self._shell.wait_until_settled()

    async def narrow(self, scopes: Iterable[str], *, expires_in: float | None = None) -> NarrowedToken:
        """Return a token with only these scopes, for a program that needs fewer rights; it cannot be refreshed.

        Raises Refused (`scope_missing` if the session lacks one of the scopes) or Unanswered.
        """
        wanted = {"scopes": [*scopes], **({} if expires_in is None else {"expires_in": expires_in})}
        found = await self._shell.rest.call("POST", "tokens/narrow/", wanted)
        return build_answer(NarrowedToken, {**found, "token": found["access"]})

    async def login(
        self, headers: Mapping[str, str] | None = None, auth: httpx.Auth | None = None, user: User = MISSING
    ) -> None:
        """Continue with another login of the project, in the session that the server names.

        Raises Refused, Unanswered or Stopped.
        """
        await self._shell.log_in(Login(headers or {}, auth), user)

    async def logout(self) -> None:
        """End the session: send unsent writes for at most 2 s, then leave nothing in the storage."""
        await self._shell.log_out()

    @staticmethod
    def forget(storage: str | os.PathLike[str] | Storage) -> None:
        """Remove everything from a storage. No client may be using it."""
        open_storage(storage).save(Saved())

    async def close(self) -> None:
        """Close the connection; with a file as storage, a new client can continue."""
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

    # The other methods of a coroutine, so that `asyncio.create_task` accepts it as well.

    def send(self, value: Any) -> Any:
        return self._starting.send(value)

    def throw(self, *error: Any) -> Any:
        return self._starting.throw(*error)

    def close(self) -> None:
        self._starting.close()

"""The asyncio shell around `Core`: one object per client, reconnecting until it is closed or told to stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx

from session_mgmt.client.answers import DocumentHead, made
from session_mgmt.client.checking import checked_data, checked_ops
from session_mgmt.client.core import TOPIC, Core
from session_mgmt.client.draft import Pace, Sync
from session_mgmt.client.effects import (
    Abandon,
    Advance,
    Changed,
    Effect,
    Fetch,
    Following,
    Hand,
    Leave,
    ResendAfter,
    Send,
    Settle,
    Tell,
)
from session_mgmt.client.errors import ClientError, Refused, Stopped, Unsent
from session_mgmt.client.link import Address, Link, Stats, websocket_url
from session_mgmt.client.listeners import Callback, Listeners, Unsubscribe
from session_mgmt.client.rest import Rest
from session_mgmt.client.state import MAIN, State
from session_mgmt.client.storage import FileStorage, MemoryStorage, Storage
from session_mgmt.client.topics import Topics
from session_mgmt.client.writing import SESSION_LOG, STATE
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.codes import CLIENT_OUT_OF_ORDER

Receipt = dict[str, Any]
WEBSOCKET_PATH = "/ws/session/"
HTTP_SECONDS = 15.0


class SessionClient:
    """A durable session. Make one with `await SessionClient.start(...)`.

    Events for `on`: `connected` (the frame), `disconnected` (code, name), `recovery` (the receipt), `gap`, `denied`,
    `refused` (a write's error), `conflict` (doc, seq and what the receipt tells of it), `unsent` (the frame), `error`,
    `stopped` (code, name), and every event type of the session's log. Callbacks are plain functions; one that raises is
    logged.
    """

    def __init__(
        self,
        base_url: str,
        storage: Storage,
        headers: Mapping[str, str],
        strategy: str | None = None,
        sync: Sync | None = None,
    ) -> None:
        self._strategy = strategy
        self._pace = Pace(sync or Sync(), self.flush)
        self._base = base_url.rstrip("/") + "/"
        self._storage = storage
        self._saved = storage.load()
        self._headers = dict(headers)
        self._http = httpx.AsyncClient(headers=self._headers, timeout=HTTP_SECONDS, trust_env=False)
        self._rest = Rest(self._http, self._base, lambda: self._saved.token)
        self._listeners, self._messages = Listeners(), Listeners()
        self._answers: dict[int, list[asyncio.Future[Receipt]]] = {}
        self._wanted: dict[str, list[asyncio.Future[None]]] = {}
        self._settled = asyncio.Event()
        self._first = asyncio.Event()
        self._stopped: Stopped | None = None
        self._closed = False
        self._resend: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._stats = Stats()
        self.core = Core(self._saved, delayed=sync is not None and sync.mode == "delayed")
        self._link = Link(self.core, self._stats, self._receive, self._lost)
        self.state = State(self)
        self.topics = Topics(self)

    @classmethod
    async def start(
        cls,
        base_url: str,
        token: str | None = None,
        storage: str | os.PathLike[str] | Storage | None = None,
        headers: Mapping[str, str] | None = None,
        documents: Iterable[str] = (MAIN,),
        strategy: str | None = None,
        sync: Sync | None = None,
    ) -> SessionClient:
        """Create a session, or resume the stored one, and return when it is connected.

        `base_url` is the place of the REST side (`https://example.org/api/`). `token` joins an existing session;
        without one, and without a stored one, `POST sessions/` with `headers` (the project's own authentication)
        creates a session. `storage` is a path of a JSON file, or nothing for memory. `strategy` settles conflicts of
        updates that name none; without it the server's settings do. `sync=Sync("delayed")` gathers updates and sends
        them as one. Raises Refused or Stopped, and httpx.HTTPError when the session cannot be created.
        """
        kept = FileStorage(storage) if isinstance(storage, str | os.PathLike) else storage or MemoryStorage()
        client = cls(base_url, kept, headers or {}, strategy, sync)
        try:
            await client._identify(token)
            for doc in documents:
                client.core.replica(doc)
            client._runner = asyncio.create_task(client._run())
            await client._first.wait()
            if client._stopped:
                raise client._stopped
        except BaseException:
            await client.close()
            raise
        return client

    # For the application.

    @property
    def session(self) -> dict[str, Any]:
        """The session as of the last connection: `session_id`, `user_id`, `state`, `expires_at`, `metadata` …"""
        return self.core.session

    @property
    def token(self) -> str | None:
        """The session's secret, with which another client can join it."""
        return self._saved.token

    @property
    def connected(self) -> bool:
        return self.core.ready

    def send(self, data: Any) -> asyncio.Future[Receipt]:
        """Call the server's handler exactly once; the receipt's `data` is its answer."""
        return self.write({"type": "send", "data": data})

    def on_message(self, callback: Callback) -> Unsubscribe:
        """Call `callback(data)` once for each message that the server sends to this session."""
        return self._messages.add("message", callback)

    def on(self, event: str, callback: Callback) -> Unsubscribe:
        """Call `callback(data)` for an event; the events are named in the class's description."""
        return self._listeners.add(event, callback)

    def stats(self) -> Stats:
        self._stats.pending = len(self.core.outbox)
        self._stats.generation, self._stats.client_id = self.core.generation, self.core.client_id
        return self._stats

    async def documents(self) -> list[DocumentHead]:
        """All documents of the session, without their data. Raises Refused or Unanswered."""
        return [made(DocumentHead, told) for told in (await self.call("GET", "state/"))["results"]]

    def flush(self) -> None:
        """Send the updates that delayed synchronisation holds back."""
        self._pace.cancel()
        self._perform(self.core.flush())

    async def flushed(self) -> None:
        """Return when every write has its answer. Raises Stopped if the client stops before."""
        self.flush()
        while len(self.core.outbox):
            if self._stopped:
                raise self._stopped
            self._settled.clear()
            await self._settled.wait()

    async def close(self) -> None:
        """Close the connection. With a file as storage the client can be started again from it; without, it is gone."""
        self._closed = True
        self.flush()
        await self._link.finish(None if self._storage.durable else {"type": "disconnect"})
        running = [*self._tasks] if self._runner is None else [*self._tasks, self._runner]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._stop(Leave(1000, "closed", reconnect=False))
        await self._http.aclose()

    # For the faces `state` and `topics`.

    def write(self, frame: dict[str, Any]) -> asyncio.Future[Receipt]:
        data = checked_data(frame["data"], self.core.limits)
        return self._track(*self.core.write({**frame, "data": data}))

    def update(self, doc: str, ops: list[list[Any]], strategy: str | None = None) -> asyncio.Future[Receipt]:
        fine = checked_ops(ops, self.core.limits)
        answer = self._track(*self.core.update(doc, fine, strategy or self._strategy))
        if self.core.draft is not None:
            self._pace.plan(self.core.draft)
        return answer

    def create(self, doc: str, data: Any) -> asyncio.Future[Receipt]:
        return self._track(*self.core.create(doc, checked_data(data, self.core.limits)))

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        return await self._rest.call(method, f"sessions/{self.session['session_id']}/{path}", body, headers)

    def synced(self, doc: str, answer: dict[str, Any]) -> None:
        self._perform(self.core.synced(doc, answer))

    def tell_server(self, frame: dict[str, Any]) -> None:
        if "data" in frame:
            frame = {**frame, "data": checked_data(frame["data"], self.core.limits)}
        self._link.send(frame)

    async def following(self, log: str) -> None:
        """Follow a log and wait for the server's answer. Raises Refused or Stopped."""
        if self._stopped:
            raise self._stopped
        waiter = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(log, []).append(waiter)
        self._perform(self.core.follow(log))
        await waiter

    def unfollow(self, log: str) -> None:
        self._perform(self.core.leave(log))
        self._saved.positions.pop(log, None)
        self._save()

    # The connection.

    async def _identify(self, token: str | None) -> None:
        if token is not None and token != self._saved.token:
            self._saved.token, self._saved.client_id = token, None
            self.core.client_id = None
        if self._saved.token is None:
            await self._create()
        self._saved.websocket = self._saved.websocket or WEBSOCKET_PATH
        self._save()

    async def _create(self) -> None:
        body = await self._rest.create()
        self._saved.token = body["token"]
        self._saved.websocket = (body.get("endpoints") or {}).get("websocket")
        for log, place in (body.get("positions") or {}).items():
            if not log.startswith(STATE):
                self._saved.positions[log] = place
                self.core.logs[log] = positions.parse(place)

    async def _run(self) -> None:
        url = websocket_url(self._base, self._saved.websocket or WEBSOCKET_PATH)
        self._stop(await self._link.run(Address(url, self._saved.token or "", self._headers)))

    def _receive(self, frame: dict[str, Any]) -> None:
        self._perform(self.core.receive(frame))

    def _lost(self, leave: Leave, was_ready: bool) -> None:
        if self._resend is not None:
            self._resend.cancel()
            self._resend = None
        if was_ready:
            self._stats.state = "reconnecting"
            self._stats.losses += 1
            self._listeners.call("disconnected", {"code": leave.code, "name": leave.name})

    def _stop(self, leave: Leave) -> None:
        """No more connections: whoever waits is told."""
        if self._stopped is not None:
            return
        self._stopped = Stopped(leave.code, leave.name)
        self._stats.state = "closed" if self._closed else "failed"
        self._pace.cancel()
        for waiter in (one for waiting in (self._answers, self._wanted) for many in waiting.values() for one in many):
            _fail(waiter, self._stopped)
        self._answers.clear()
        self._wanted.clear()
        self._first.set()
        self._settled.set()
        self._listeners.call("stopped", {"code": leave.code, "name": leave.name})

    # Effects.

    def _track(self, seq: int, effects: list[Effect]) -> asyncio.Future[Receipt]:
        """Store the write before it is sent: a process that dies in between sends it again, under its number."""
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        # Whoever does not await a write hears of a refusal by the event instead of a warning at exit.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._stopped:
            answer.set_exception(self._stopped)
        else:
            self._answers.setdefault(seq, []).append(answer)
        self._save()
        self._perform(effects)
        return answer

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            _PERFORM[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        self._link.send(effect.frame)

    def _advance(self, effect: Advance) -> None:
        self._saved.positions[effect.log] = effect.position
        self._save()

    def _change(self, effect: Changed) -> None:
        self.state.changed(effect.doc, effect.before, effect.after)

    def _depart(self, effect: Leave) -> None:
        self._link.departure = effect

    def _hand(self, effect: Hand) -> None:
        log, body = effect.log, effect.body
        if log.startswith(TOPIC):
            self.topics.hand(log.removeprefix(TOPIC), body)
        elif log == SESSION_LOG and body.get("type") == "message":
            self._messages.call("message", body.get("data"))
        elif log == SESSION_LOG:
            self._listeners.call(str(body.get("type")), body)

    def _settle(self, effect: Settle) -> None:
        seq, receipt = effect.seq, effect.receipt
        self._save()
        answers = self._answers.pop(seq, [])
        if receipt["ok"]:
            for answer in answers:
                if not answer.done():
                    answer.set_result(receipt)
        else:
            for answer in answers:
                _fail(answer, Refused(receipt["error"]))
            self._listeners.call("refused", {"seq": seq, **receipt["error"]})
        self._settled.set()

    def _abandon(self, effect: Abandon) -> None:
        frame = effect.frame
        self._save()
        for answer in self._answers.pop(frame["seq"], []):
            _fail(answer, Unsent(frame))
        self._listeners.call("unsent", frame)
        self._settled.set()

    def _followed(self, effect: Following) -> None:
        for waiter in self._wanted.pop(effect.log, ()):
            if effect.verdict["mode"] == "denied":
                _fail(waiter, Refused(effect.verdict.get("error") or {}))
            elif not waiter.done():
                waiter.set_result(None)

    def _tell(self, effect: Tell) -> None:
        event, data = effect.event, effect.data
        if event == "connected":
            self._stats.state = "connected"
            self._stats.connections += 1
            self._save()
            self._first.set()
        elif event == "latency":
            self._stats.latency_ms = data
        self._listeners.call(event, data)

    def _plan_resend(self, effect: ResendAfter) -> None:
        if self._resend is None:
            self._resend = asyncio.get_running_loop().call_later(effect.seconds, self._resend_now)

    def _resend_now(self) -> None:
        self._resend = None
        self._perform(self.core.resend())

    def _fetch(self, effect: Fetch) -> None:
        task = asyncio.create_task(self._load(effect.log, effect.url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, log: str, url: str) -> None:
        """Get a large document; if that fails, a new connection gives a new verdict."""
        try:
            self._perform(self.core.fetched(log, *await self._rest.document(url)))
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self._listeners.call("error", {"name": "snapshot_failed", "message": str(error)})
            await self._link.leave(CLIENT_OUT_OF_ORDER)

    def _save(self) -> None:
        self._saved.client_id = self.core.client_id
        self._saved.next_seq = self.core.outbox.next_seq
        self._saved.writes = list(self.core.outbox)
        self._storage.save(self._saved)


def _fail(answer: asyncio.Future[Any], error: ClientError) -> None:
    if not answer.done():
        answer.set_exception(error)


_PERFORM: dict[type[Effect], Callable[[SessionClient, Any], None]] = {
    Send: SessionClient._send,
    Advance: SessionClient._advance,
    Hand: SessionClient._hand,
    Changed: SessionClient._change,
    Settle: SessionClient._settle,
    Abandon: SessionClient._abandon,
    Following: SessionClient._followed,
    Tell: SessionClient._tell,
    Fetch: SessionClient._fetch,
    ResendAfter: SessionClient._plan_resend,
    Leave: SessionClient._depart,
}

"""The asyncio shell around `Core`: perform its effects, keep its storage, reconnect until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import httpx

from session_mgmt.client.batch import Batch, Sync
from session_mgmt.client.checking import check_data, check_operations, check_publication
from session_mgmt.client.core import TOPIC, Core
from session_mgmt.client.credentials import Credentials
from session_mgmt.client.effects import (
    Abandon,
    Changed,
    Deliver,
    Effect,
    Emit,
    Fetch,
    Following,
    Leave,
    ResendAfter,
    Send,
    Settle,
    StorePosition,
)
from session_mgmt.client.errors import Refused, Stopped, Unanswered, Unsent
from session_mgmt.client.link import Address, Link
from session_mgmt.client.listeners import Listeners
from session_mgmt.client.rest import Rest
from session_mgmt.client.stats import Stats
from session_mgmt.client.storage import Storage
from session_mgmt.client.waiters import Waiters
from session_mgmt.client.writing import SESSION_LOG
from session_mgmt.protocol.codes import CLIENT_OUT_OF_ORDER

Receipt = dict[str, Any]
HTTP_SECONDS = 15.0


class Shell:
    """Network, storage and callers of one client.

    The listeners are named after logs (`topic:…`), documents (`state:…`), and `message` for messages of the server.
    """

    def __init__(
        self, base: str, storage: Storage, headers: Mapping[str, str], strategy: str | None, sync: Sync | None
    ) -> None:
        self._strategy = strategy
        self._batch = Batch(sync or Sync(), self.flush)
        self._storage = storage
        self._saved = storage.load()
        self._headers = dict(headers)
        # Without the environment: a proxy that is set for other programs must not get the session's token.
        self._http = httpx.AsyncClient(headers=self._headers, timeout=HTTP_SECONDS, trust_env=False)
        self._rest = Rest(self._http, base, lambda: self._saved.token)
        self._answers: Waiters[int, Receipt] = Waiters()
        self._follows: Waiters[str, None] = Waiters()
        self._settled = asyncio.Event()
        self._first = asyncio.Event()
        self._stopped: Stopped | None = None
        self._closed = False
        self._resend: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self.stats = Stats()
        self.events, self.messages, self.publications, self.changes = (Listeners() for _ in range(4))
        self.credentials = Credentials(self._saved, self._rest, base)
        self.core = Core(self._saved, delayed=sync is not None and sync.mode == "delayed")
        self._link = Link(
            self.core, self.stats, self._take_frame, self._handle_loss, self._become_new_client, self._recover_session
        )

    # Calls of the faces `SessionClient`, `StateDocument` and `Topics`.

    async def start(self, token: str | None, create: Mapping[str, Any], documents: Iterable[str]) -> None:
        """Return when the client is connected. Raises Refused, Unanswered or Stopped."""
        await self.credentials.obtain(token, create)
        self.core.belong_to(self._saved)
        self._save()
        for doc in documents:
            self.core.open_replica(doc)
        self._runner = asyncio.create_task(self._run())
        await self._first.wait()
        if self._stopped:
            raise self._stopped

    async def close(self) -> None:
        # First: the end of the connection, which follows, is then no failure.
        self._closed = True
        self.flush()
        # With a durable storage the client comes back under its name; without one it has left for good.
        await self._link.stop(None if self._storage.durable else {"type": "disconnect"})
        running = [*self._tasks] if self._runner is None else [*self._tasks, self._runner]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._stop(Leave(1000, "closed", reconnect=False))
        await self._http.aclose()

    def write(self, frame: dict[str, Any]) -> asyncio.Future[Receipt]:
        """Send a `publish` or `send` exactly once; the future resolves with the receipt."""
        check = check_publication if frame["type"] == "publish" else check_data
        data = check(frame["data"], self.core.limits)
        return self._track(lambda: self.core.add_write({**frame, "data": data}))

    def update(
        self, doc: str, ops: list[list[Any]], strategy: str | None = None, *, atomic: bool = False
    ) -> asyncio.Future[Receipt]:
        """Change a document; the future resolves with the receipt."""
        checked = check_operations(ops, self.core.limits)
        answer = self._track(lambda: self.core.add_update(doc, checked, strategy or self._strategy, atomic=atomic))
        if self.core.draft is not None:
            self._batch.plan_flush(self.core.draft)
        return answer

    def create_if_absent(self, doc: str, data: Any) -> asyncio.Future[Receipt]:
        """Give a document its first value; the future resolves with the receipt."""
        checked = check_data(data, self.core.limits)
        return self._track(lambda: self.core.add_first_value(doc, checked))

    def flush(self) -> None:
        """Send the draft."""
        self._batch.cancel_flush()
        self._perform(self.core.flush_draft())

    async def wait_until_settled(self) -> None:
        """Return when every write has its answer. Raises Stopped if the client stops before."""
        self.flush()
        while len(self.core.outbox):
            if self._stopped:
                raise self._stopped
            self._settled.clear()
            await self._settled.wait()

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Call the REST API below the session's own address. Raises Refused or Unanswered."""
        return await self._rest.call(method, f"sessions/{self.core.session['session_id']}/{path}", body, headers)

    def apply_sync(self, doc: str, answer: dict[str, Any]) -> None:
        """Apply the answer of a synchronisation over HTTP."""
        self._perform(self.core.apply_sync(doc, answer))

    def send_ephemeral(self, topic: str, data: Any) -> None:
        """Publish to those who are connected now, if this client is."""
        checked = check_publication(data, self.core.limits)
        self._link.send_frame({"type": "publish", "topic": topic, "data": checked, "ephemeral": True})

    async def follow_log(self, log: str) -> None:
        """Follow a log and wait for the server's answer. Raises Refused or Stopped."""
        if self._stopped:
            raise self._stopped
        answer = self._follows.add(log)
        self._perform(self.core.follow_log(log))
        await answer

    def unfollow_log(self, log: str) -> None:
        """Stop following a log and forget the position in it."""
        self._perform(self.core.unfollow_log(log))
        self._saved.positions.pop(log, None)
        self._save()

    # The connection.

    async def _run(self) -> None:
        self._stop(await self._link.run(self._build_address))

    def _build_address(self) -> Address:
        return Address(self.credentials.websocket_url, self._saved.token or "", self._headers)

    def _take_frame(self, frame: dict[str, Any]) -> None:
        self._perform(self.core.receive_frame(frame))

    def _handle_loss(self, leave: Leave, was_ready: bool) -> None:
        if self._resend is not None:
            self._resend.cancel()
            self._resend = None
        if was_ready:
            self.stats.state = "reconnecting"
            self.stats.losses += 1
            self.events.call_all("disconnected", {"code": leave.code, "name": leave.name})

    def _become_new_client(self) -> None:
        self._perform(self.core.start_anew())

    async def _recover_session(self, leave: Leave) -> Leave:
        """Enter the successor of the expired session; return how to go on."""
        # A client that never was connected knows the token of its session, and the name from the refusal.
        session = self.core.expired_session or self._saved.session_id
        if session is None:
            return replace(leave, reconnect=False)
        try:
            receipt = await self.credentials.recover(session)
        except (Refused, Unanswered) as error:
            self.events.call_all("error", {"name": getattr(error, "name", "network_error"), "message": str(error)})
            # Coming back with the old token leads here again, after the next wait.
            return replace(leave, reconnect=error.temporary, retry_after=error.retry_after)
        self._perform(self.core.enter_successor(self._saved))
        self._save()
        if receipt is not None:
            self.events.call_all("recovery", receipt)
        return replace(leave, reconnect=True, retry_after=0.0)

    def _stop(self, leave: Leave) -> None:
        """Connect no more, and fail everybody who waits."""
        if self._stopped is not None:
            return
        self._stopped = Stopped(leave.code, leave.name)
        self.stats.state = "closed" if self._closed else "failed"
        self._batch.cancel_flush()
        # Nobody who waits may wait for ever: each call ends with the reason why the client has stopped.
        self._answers.reject_all(self._stopped)
        self._follows.reject_all(self._stopped)
        self._first.set()
        self._settled.set()
        self.events.call_all("stopped", {"code": leave.code, "name": leave.name})

    # Effects.

    def _track(self, add: Callable[[], tuple[int, list[Effect]]]) -> asyncio.Future[Receipt]:
        """Store the write before it is sent, so that after a crash it is sent again under its number."""
        if self._stopped:
            return self._answers.fail_at_once(self._stopped)
        seq, effects = add()
        answer = self._answers.add(seq)
        self._save()
        self._perform(effects)
        return answer

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            _PERFORM[type(effect)](self, effect)

    def _send_frame(self, effect: Send) -> None:
        self._link.send_frame(effect.frame)

    def _store_position(self, effect: StorePosition) -> None:
        self._saved.positions[effect.log] = effect.position
        self._save()

    def _notify_change(self, effect: Changed) -> None:
        self.changes.call_all(effect.doc, effect.before, effect.after)

    def _leave_connection(self, effect: Leave) -> None:
        self._link.departure = effect

    def _deliver_entry(self, effect: Deliver) -> None:
        log, body = effect.log, effect.body
        if log.startswith(TOPIC):
            self.publications.call_all(log.removeprefix(TOPIC), body)
        elif log == SESSION_LOG and body.get("type") == "message":
            self.messages.call_all("message", body.get("data"))
        elif log == SESSION_LOG:
            self.events.call_all(str(body.get("type")), body)

    def _settle_write(self, effect: Settle) -> None:
        seq, receipt = effect.seq, effect.receipt
        # Stored before the caller hears of it, who may end the process at once.
        self._save()
        if receipt["ok"]:
            self._answers.resolve(seq, receipt)
        else:
            self._answers.reject(seq, Refused(receipt["error"]))
            self.events.call_all("refused", {"seq": seq, **receipt["error"]})
        self._settled.set()

    def _abandon_write(self, effect: Abandon) -> None:
        self._save()
        self._answers.reject(effect.frame["seq"], Unsent(effect.frame))
        self.events.call_all("unsent", effect.frame)
        self._settled.set()

    def _answer_follow(self, effect: Following) -> None:
        if effect.verdict["mode"] == "denied":
            self._follows.reject(effect.log, Refused(effect.verdict.get("error") or {}))
        else:
            self._follows.resolve(effect.log, None)

    def _emit_event(self, effect: Emit) -> None:
        event, data = effect.event, effect.data
        if event == "connected":
            self.stats.state = "connected"
            self.stats.connections += 1
            self._saved.session_id = self.core.session["session_id"]
            self._save()
            self._first.set()
        elif event == "latency":
            self.stats.latency_ms = data
        self.events.call_all(event, data)

    def _plan_resend(self, effect: ResendAfter) -> None:
        if self._resend is None:
            self._resend = asyncio.get_running_loop().call_later(effect.seconds, self._resend_writes)

    def _resend_writes(self) -> None:
        self._resend = None
        self._perform(self.core.resend_writes())

    def _fetch_document(self, effect: Fetch) -> None:
        task = asyncio.create_task(self._load_document(effect.log, effect.url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load_document(self, log: str, url: str) -> None:
        """Get a large document; if that fails, a new connection gives a new verdict."""
        try:
            self._perform(self.core.apply_fetched(log, *await self._rest.fetch_document(url)))
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self.events.call_all("error", {"name": "snapshot_failed", "message": str(error)})
            await self._link.close_connection(CLIENT_OUT_OF_ORDER)

    def _save(self) -> None:
        self._saved.client_id = self.core.client_id
        self._saved.next_seq = self.core.outbox.next_seq
        self._saved.writes = list(self.core.outbox)
        self._storage.save(self._saved)


_PERFORM: dict[type[Effect], Callable[[Shell, Any], None]] = {
    Send: Shell._send_frame,
    StorePosition: Shell._store_position,
    Deliver: Shell._deliver_entry,
    Changed: Shell._notify_change,
    Settle: Shell._settle_write,
    Abandon: Shell._abandon_write,
    Following: Shell._answer_follow,
    Emit: Shell._emit_event,
    Fetch: Shell._fetch_document,
    ResendAfter: Shell._plan_resend,
    Leave: Shell._leave_connection,
}

"""Shell around `Core` for asyncio: it performs effects, keeps the storage, and reconnects until the client stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from session_mgmt.client.asking import Asking
from session_mgmt.client.batch import Batch, Sync
from session_mgmt.client.checking import check_data, check_operations, check_publication
from session_mgmt.client.core import AGENT
from session_mgmt.client.credentials import Credentials
from session_mgmt.client.effects import Emit, Leave
from session_mgmt.client.entering import Entrance, User
from session_mgmt.client.errors import ClientError, Refused, Stopped, Unanswered
from session_mgmt.client.identity import Change, Identity
from session_mgmt.client.link import TAKEN, Link
from session_mgmt.client.performing import Options, Performer
from session_mgmt.client.refreshing import Refresher
from session_mgmt.client.renewal import Renewal
from session_mgmt.client.rest import Login
from session_mgmt.client.storage import FileStorage, StorageTaken
from session_mgmt.client.transports.carrier import Address, Carrier, Host, TransportName
from session_mgmt.client.transports.choosing import build_carrier
from session_mgmt.client.transports.memory import Memory
from session_mgmt.client.transports.way import Way
from session_mgmt.protocol.codes import Close

logger = logging.getLogger(__name__)

Receipt = dict[str, Any]
# Seconds that a logout waits for unanswered writes.
FLUSH_SECONDS = 2.0
LOGGED_OUT = "logged_out"
CLOSED = Leave(1000, "closed", reconnect=False)
FAILED = Leave(0, "client_failed", reconnect=False)
SESSION_CHANGED = Leave(Close.DETACHED, "session_changed", reconnect=True)


class Shell(Performer):
    """Network and storage of one client."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        clock = options.clock
        self._clock = clock
        self._batch = Batch(options.sync or Sync(), self.flush)
        self._closed = False
        # True if writes were waiting when the client stopped; the end of a session then empties the outbox.
        self._was_waiting = False
        self._runner: asyncio.Task[None] | None = None
        self.credentials = Credentials(self._saved, options.base, clock, self._save)
        self._asking = Asking(clock, self.core.draw_id, lambda frame: self._link.send_frame(frame))
        self._identity = Identity(
            self.credentials,
            Entrance(self.rest, self.credentials, clock, options.wishes),
            Refresher(self.rest, self.credentials, self._asking.ask),
            self.rest,
            clock,
            self,
            options.wishes.user,
        )
        self._renewal = Renewal(clock, self.credentials.find_due_in, self._identity.renew, self._connect_anew)
        host = Host(self.core, self.rest, clock, self._find_address, self.tell_missed, self._note_round_trip)
        memory = Memory(self._saved, f"{AGENT} {options.base}", clock, self._save)
        self._host, self._way = host, Way(options.transports, memory, clock)
        self._link = Link(self.core, self.stats, clock, self)

    # Calls of `SessionClient`, `StateDocument` and `Topics`.

    async def start(self, token: str | None, documents: Iterable[str]) -> None:
        """Return when the client is connected. Raises Refused, Unanswered or Stopped."""
        await self._identity.begin(token)
        self._save()
        for doc in documents:
            self.core.open_replica(doc)
        self._runner = asyncio.create_task(self._run())
        await self.audience.first.wait()
        if self._stopped:
            raise self._stopped

    async def close(self) -> None:
        try:
            # With a durable storage the client can come back under its name; without one it leaves for good.
            await self._end_work(None if self._storage.durable else {"type": "disconnect"})
        # Also for a cancellation, because waiting calls would wait for ever.
        finally:
            self._stop(CLOSED)
            await self._http.aclose()

    async def log_in(self, login: Login, user: User) -> None:
        """Continue with another login of the project. Raises Refused, Unanswered or Stopped."""
        if self._stopped:
            raise self._stopped
        self.rest.login = login
        await self._identity.enter_again(user)
        await self._link.depart()

    async def log_out(self) -> None:
        """Wait a moment for unanswered writes, then end the session here, and on the server if it answers."""
        await self._flush_for(FLUSH_SECONDS)
        try:
            await self._end_work(None)
        finally:
            session, token = self.credentials.session_id, self.credentials.token
            self._stop(Leave(1000, LOGGED_OUT, reconnect=False))
            try:
                self._end_session(LOGGED_OUT)
            finally:
                await self._end_elsewhere(session, token)

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
        answer = self._track(
            lambda: self.core.add_update(doc, checked, strategy or self._options.strategy, atomic=atomic)
        )
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
        """Return when every write has its answer. Raises Stopped if the client stops first."""
        self.flush()
        while len(self.core.outbox) and not self._stopped:
            self.audience.settled.clear()
            await self.audience.settled.wait()
        if self._stopped and self._was_waiting:
            raise self._stopped

    async def configure(self, wishes: dict[str, float]) -> dict[str, Any] | None:
        """Ask for other beats, for this and all later connections; None without a connection. Raises Refused."""
        before = self.core.wishes
        self.core.wishes = {**before, **wishes}
        try:
            reply = await self._asking.ask({"type": "configure", **self.core.wishes})
        except Refused:
            # Otherwise each later connection would ask again and be refused again.
            self.core.wishes = before
            raise
        if reply is None:
            return None
        self.core.heartbeat = dict(reply["config"])
        return self.core.heartbeat

    async def ask_server(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Ask over the connection. Raises Refused, Stopped, or Unanswered if there is no connection or no answer."""
        if self._stopped:
            raise self._stopped
        reply = await self._asking.ask(frame)
        if reply is None:
            raise Unanswered(f"No answer to {frame['type']}: ask again when `status` is connected.")
        return reply

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Call the REST API below the session's own URL. Raises Refused or Unanswered."""
        return await self.rest.call(method, f"sessions/{self.core.session['session_id']}/{path}", body, headers)

    def apply_sync(self, doc: str, answer: dict[str, Any]) -> None:
        """Apply the answer of a synchronisation over HTTP."""
        self._perform(self.core.apply_sync(doc, answer))

    def send_ephemeral(self, topic: str, data: Any) -> None:
        """Publish to clients that are connected now; without a connection, do nothing."""
        checked = check_publication(data, self.core.limits)
        self._link.send_frame({"type": "publish", "topic": topic, "data": checked, "ephemeral": True})

    async def follow_log(
        self,
        log: str,
        slow: str | None = None,
        since: dict[str, Any] | None = None,
        only: dict[str, Any] | None = None,
    ) -> bool:
        """Follow a log and wait for the server's answer; return True if nothing since the `since` is missing.

        Raises Refused or Stopped.
        """
        if self._stopped:
            raise self._stopped
        answer = self.audience.follows.add(log)
        self._perform(self.core.follow_log(log, slow, since, only))
        return await answer

    def unfollow_log(self, log: str) -> None:
        """Stop following a log and forget the position in it."""
        self._perform(self.core.unfollow_log(log))
        self._saved.positions.pop(log, None)
        self._save()

    # Calls of the link.

    async def settle(self) -> Leave | None:
        return await self._identity.settle()

    def build_carrier(self) -> Carrier:
        return build_carrier(self._options.transports, self._host, self._way)

    def build_connect(self) -> dict[str, Any]:
        return {**self.core.build_connect(self._identity.use_token()), **self.credentials.describe_owner()}

    def take_frame(self, frame: dict[str, Any]) -> None:
        if not self._asking.take_frame(frame):
            self._perform(self.core.receive_frame(frame))

    def handle_switch(self) -> None:
        """Drop the attachment. The application sees no difference, because another one follows at once."""
        self._asking.detach()
        self._renewal.stop()
        if self._resend is not None:
            self._resend.cancel()
            self._resend = None

    def note_transport(self, name: TransportName) -> None:
        if self.stats.transport != name:
            self.stats.transport = name
            self.events.call_all("transport", name)

    def handle_loss(self, leave: Leave) -> Leave:
        """Report the loss of a connection; return how to go on."""
        self.handle_switch()
        reason = {"code": leave.code, "name": leave.name}
        if self.stats.state == "connected":
            # Reported below, if the client tries again.
            self.stats.state, self.reason = "reconnecting", reason
            self.stats.losses += 1
            self.events.call_all("disconnected", {**reason, "retry_after": leave.retry_after})
        if self._closed:
            return leave
        if leave.code == Close.SESSION_TERMINATED:
            self._stop(leave)
            self._end_session(leave.reason or leave.name)
        leave = self._identity.judge(leave)
        if leave.reconnect:
            self.set_status("reconnecting" if self.stats.connections else "connecting", reason)
        return leave

    def become_new_client(self) -> None:
        self._perform(self.core.start_anew())

    def has_lost_storage(self) -> bool:
        return isinstance(self._storage, FileStorage) and self._storage.is_taken()

    def tell_missed(self, missed: int) -> None:
        self.stats.missed_beats += 1
        self.events.call_all("heartbeat_missed", {"missed": missed})

    def _note_round_trip(self, milliseconds: float) -> None:
        self._emit_event(Emit("latency", milliseconds))

    # Calls of the identity.

    def take_change(self, change: Change) -> None:
        """Continue with the new credentials, and store them."""
        if not change.is_same_session:
            # Writes of another person in a stored outbox must not be shown to the program that starts now.
            is_told = change.is_same_person or self._runner is not None
            person = {"is_same_person": change.is_same_person, "is_told": is_told}
            self._perform(self.core.enter_session(self._saved, **person))
            self._leave_connection(SESSION_CHANGED)
        self.take_tokens()
        entered = change.entered
        if entered.get("receipt"):
            self.events.call_all("recovery", entered["receipt"])
        event = {"verdict": entered["verdict"], "reason": entered["reason"], "user_id": entered.get("user_id")}
        self.events.call_all("identity", event)

    def take_session(self, receipt: Mapping[str, Any] | None = None) -> None:
        """Continue in another session, whose token stands alone."""
        self._perform(self.core.enter_session(self._saved, is_same_person=True))
        self._save()
        if receipt is not None:
            self.events.call_all("recovery", receipt)

    def take_tokens(self) -> None:
        """Store the tokens before they are used, and plan their exchange if a connection is open."""
        super().take_tokens()
        if self.core.ready:
            self._renewal.plan()

    def tell_error(self, error: ClientError) -> None:
        self.events.call_all("error", {"name": error.name, "message": str(error)})

    def name_expired(self) -> str | None:
        return self.core.expired_session

    # Ends.

    def _find_address(self) -> Address:
        return Address(self.credentials.websocket_url, self.rest.login.headers)

    async def _run(self) -> None:
        try:
            leave = await self._link.run()
        except asyncio.CancelledError:
            # The loop ends, and nobody has closed the client. On another loop it could not go on.
            if not self._closed:
                self._closed = True
                self._stop(CLOSED)
                await self._http.aclose()
            raise
        except Stopped:
            # The storage has failed, which was told.
            return
        except Exception:
            # Without this, waiting calls would wait for ever.
            logger.exception("The client cannot go on.")
            leave = FAILED
        self._stop(leave)

    def _save(self) -> None:
        """Store the record. If that fails, the client stops, because it could lose or double what follows. Raises
        Stopped.
        """
        try:
            super()._save()
        except Exception as problem:
            # The caller learns it: a client that has stopped already cannot stop for another reason.
            if self._stopped is not None:
                raise
            is_taken = isinstance(problem, StorageTaken)
            if not is_taken:
                logger.exception("The client stops, because its storage cannot be written.")
            stopped = self._stop(TAKEN if is_taken else FAILED)
            if self._runner is not None and self._runner is not asyncio.current_task():
                self._runner.cancel()
            raise stopped from problem

    async def _connect_anew(self) -> None:
        """Reconnect, because only a new connection can settle the session."""
        self._leave_connection(SESSION_CHANGED)
        await self._link.depart()

    async def _end_work(self, last: Mapping[str, Any] | None) -> None:
        # First, so that the end of the connection does not count as a failure.
        self._closed = True
        self.flush()
        await self._renewal.close()
        for timer in self._follows.values():
            timer.cancel()
        await self._link.stop(last)
        running = [*self._tasks] if self._runner is None else [*self._tasks, self._runner]
        for task in running:
            task.cancel()
        # Tasks of an earlier loop are done, and cannot be awaited on this one.
        await asyncio.gather(*(task for task in running if not task.done()), return_exceptions=True)

    async def _end_elsewhere(self, session: str | None, token: str | None) -> None:
        if session is not None and token is not None and not self._http.is_closed:
            with contextlib.suppress(ClientError):
                await self.rest.call("DELETE", f"sessions/{session}/", headers={"authorization": f"Bearer {token}"})
        await self._http.aclose()

    async def _flush_for(self, seconds: float) -> None:
        if not self.core.ready:
            return
        waits = [asyncio.ensure_future(self.wait_until_settled()), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _end_session(self, reason: str) -> None:
        """Give unanswered writes back, and forget the session."""
        self._perform(self.core.start_anew())
        self.core.leave_places(but_topics=False)
        self.credentials.forget(is_logged_out=reason == LOGGED_OUT)
        self._save()
        self.events.call_all("ended", {"reason": reason})

    def _stop(self, leave: Leave) -> Stopped:
        """Stop connecting, and fail all waiting calls; return the reason, which may be an earlier one."""
        if self._stopped is not None:
            return self._stopped
        self._stopped, self._was_waiting = Stopped(leave.code, leave.name), len(self.core.outbox) > 0
        self._batch.cancel_flush()
        self._renewal.stop()
        self.core.mark_disconnected()
        reason = {"code": leave.code, "name": leave.name}
        self.set_status("disconnected" if self._closed else "failed", reason)
        self.audience.dismiss(self._stopped)
        return self._stopped

"""Live connection of a client, independent of its transport: identity, followed logs, health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson

from session_mgmt.actions.sessions import controls, info, stopping
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.closing import Ended
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import verdicts
from session_mgmt.consumers.followings import Followings
from session_mgmt.consumers.greetings import build_bye, build_connected, build_ranges
from session_mgmt.consumers.heartbeat import Heartbeat
from session_mgmt.consumers.hub import Hub
from session_mgmt.consumers.inbox import Inbox
from session_mgmt.consumers.judging import deny_crowds
from session_mgmt.consumers.lifetime import Lifetime
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.consumers.pacing import Slot, Turns
from session_mgmt.consumers.recovery import Recovery, complete_when_replayed
from session_mgmt.consumers.reports import Report
from session_mgmt.consumers.rounds import TICK
from session_mgmt.consumers.side_work import SideWork
from session_mgmt.consumers.writes import Writes
from session_mgmt.exceptions import Replaced, SessionMgmtError, TopicDenied
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.configuration import Configuration, apply_wishes
from session_mgmt.protocol.frames import Subscribe
from session_mgmt.protocol.logs import SESSION
from session_mgmt.signals import heartbeat_missed

logger = logging.getLogger(__name__)

# After this time without reading, a new connection and a replay serve the client better.
SLOW_SECONDS = 30.0
# Seconds to wait for the client's close frame, which a dead client never sends.
HANG_UP_SECONDS = 5.0
# Codes of a transport that ended without a close frame.
LOST = (1005, 1006)
NO_WISHES: Mapping[str, Any] = MappingProxyType({})


class Connection:
    """Live connection, from ``connected`` to the end of its transport; all of its state ends with the socket."""

    # True for a socket: its process renews its lease. Over HTTP the client's calls renew it.
    holds_lease = True

    def __init__(
        self,
        outlet: Outlet,
        attachment: Attachment,
        hub: Hub,
        *,
        script_name: str = "",
        address: str | None = None,
        slow: Mapping[str, Any] = NO_WISHES,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.outlet, self.attachment, self.hub = outlet, attachment, hub
        # By log, the way to go on that the client asked for.
        self.slow = slow
        self.writes = Writes(self, hub.take_group)
        self.followings = Followings(self, hub.serving, hub.rechecks)
        interval, most = hub.serving.choose_interval(attachment.client_id), settings().heartbeat_missed_limit
        self.heartbeat = Heartbeat(self._loop.time(), interval, most, tick=TICK)
        self.lifetime = Lifetime(self._loop.time, attachment.at, attachment.token_expires_at)
        self.inbox = Inbox()
        self.report = Report(attachment, self.lifetime, self.heartbeat, self.inbox, outlet)
        self.side_work = SideWork(self)
        self.closed_with: Close | None = None
        self.left = self.is_fenced = False
        # Number of ephemeral messages about which the application is being asked.
        self.asked_ephemeral = 0
        self._script_name, self._address = script_name, address
        # Replays run one after the other; while too much work waits for the client, none of its frames is read.
        self.replay_turn = asyncio.Lock()
        self._paused = False
        self.turns = Turns()
        # Initially as many as the topics that the session may have.
        self.slot = Slot(hub.serving.paces.share(attachment.session.pk, settings().max_subscriptions))
        # Task of the consumer. To cancel it is the only way to end a receive that never returns.
        self._hang_up: asyncio.Task[Any] | None = None

    # -- out -------------------------------------------------------------------------------------------------------

    def push(self, frame: dict[str, Any]) -> None:
        """Send a frame."""
        self.outlet.push(orjson.dumps(frame).decode())

    def push_error(self, error: SessionMgmtError, **request: Any) -> None:
        """Answer a request, or the connection as a whole, with an error."""
        self.push({"type": "error", **request, **error.as_dict()})

    def refuse_request(self, error: SessionMgmtError, call: str, log: str, **request: Any) -> None:
        """Answer a request with its refusal. If the client may do nothing more here, close its connection."""
        if isinstance(error, Replaced):
            # No answer is needed, because a client that comes back asks again.
            self.stop_displaced()
            return
        self.push_error(error, **request)
        self.note_refusal(error, call, log)

    def note_refusal(self, error: SessionMgmtError, call: str, log: str | None = None) -> None:
        """Record a missing permission or an exceeded limit of the client in the audit trail."""
        session = self.attachment.session
        self.hub.denials.note(error, call, address=self._address, user_id=session.user_id, session=session.pk, log=log)

    def build_document_url(self, name: str) -> str | None:
        """Build the URL of a large document; None if the REST API is not mounted."""
        return info.find_document_address(self.attachment.session.pk, name, self._script_name)

    # -- opening ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Send ``connected``, and replay every log up to the present."""
        # First, so that orders to close find this connection from now on. Earlier orders are found by the control
        # query.
        self.hub.add_connection(self)
        if self.closed_with is not None:
            # The client has connected again meanwhile, and its newer connection is already here.
            return
        deny_crowds(self.hub.serving, self.attachment)
        verdict, reason = verdicts.judge_attachment(self.attachment)
        greeting = build_connected(
            self.attachment, verdict, reason, config=self.read_config(), script_name=self._script_name
        )
        with self.outlet.join_writes():
            # Before any log is followed, because the client must read `connected` before the first entry.
            self.push(greeting)
            recovery = Recovery(self, verdict, reason)
            for name, error in self.attachment.denied.items():
                self.note_refusal(error, "connect", name)
                self.end_presence(name, error)
            starts = [
                self.followings.join(log).start(self.attachment.missed if name == SESSION else ())
                for name, log in self.attachment.logs.items()
            ]
            # Free them when they are no longer needed, because a connection may live for hours.
            self.attachment.missed = []
            replays = [replay for replay in starts if replay is not None]
            if replays:
                self.side_work.start(partial(complete_when_replayed, replays, recovery.complete))
            else:
                recovery.complete()

    def tells_recovered(self, log: str) -> bool:
        """Return True if the last frame of a log's replay says `recovered`, which promises a complete range (promise
        T6).
        """
        return True

    def require_room(self) -> None:
        """Check that one more page may be sent; a socket sends it when its client has read the page before."""

    def starts_behind(self, log: str) -> bool:
        """Return True if a reader that has missed entries counts as slow: only a poll, which has no
        queue to measure.
        """
        return False

    def answer_subscribe(self, frame: Subscribe, log: Log) -> None:
        """Send the verdict on one more log, and follow it."""
        self.read_slowly(log.name, frame.slow)
        verdict = verdicts.build_verdict(log)
        # Before the log starts, because the client must have the verdict before the first entry.
        self.push({"type": "reply", "id": frame.id, "verdict": verdict, **verdicts.describe_reading(frame)})
        self.followings.join(log).start()

    def read_slowly(self, name: str, way: str | None) -> None:
        """Go on in this way where the client reads a log too slowly; ``None`` is the topic's own way."""
        if way is not None or name in self.slow:
            self.slow = {**self.slow, name: way}

    def deny_log(self, name: str, error: SessionMgmtError) -> None:
        """Stop following a log that the client may no longer follow, and send the client an error; do nothing if it is
        not followed.
        """
        if name in self.followings:
            self.followings.leave(name)
            self.push_error(error, log=name)
            self.end_presence(name, error)

    def end_presence(self, name: str, error: SessionMgmtError) -> None:
        """End the client's presence in a topic that it may no longer follow."""
        if isinstance(error, TopicDenied):
            self.hub.presences.leave_denied(name, self.attachment.claim)

    def forget_rights(self) -> None:
        """Forget the application's answers, so that it is asked again before the next publication."""
        self.writes.forget_publishable()

    # -- life ------------------------------------------------------------------------------------------------------

    def count_message(self, size: int, now: float) -> None:
        """Count a message from the client; anything from it is a sign of life."""
        self.heartbeat.heard_at = now
        self.inbox.note_message(size)

    def mark_active(self) -> None:
        """Count a write as activity of the session; beats and polls are none."""
        self.report.note_write()
        self.hub.serving.crowd.size.note_write()

    def beat(self, now: float) -> None:
        """Check for signs of life: send a ping if it is due, and close the connection if too many were not answered."""
        # Checked with each beat, so that connections need no additional timer.
        if self.outlet.is_stuck(now, SLOW_SECONDS):
            self.stop(Close.SLOW_CONSUMER)
            return
        if self._paused:
            # Its answers wait unread in the socket.
            self.heartbeat.rest(now)
        turn = self.heartbeat.turn(now)
        if turn.missed:
            self._tell_missed(turn.missed)
        if turn.is_lost:
            self.stop(Close.HEARTBEAT_LOST)
        elif turn.is_due:
            self.followings.tell_places()
            self.outlet.push(self.heartbeat.build_ping())

    @property
    def beat_at(self) -> float:
        """Time of the next check for signs of life."""
        return self.heartbeat.due_at

    def configure(self, wishes: Mapping[str, float]) -> Configuration:
        """Change interval, missed limit and batching as the client wishes. Raises ``InvalidField``."""
        wanted = self.judge_wishes(wishes)
        planned = self.heartbeat.due_at
        interval = self.hub.serving.bound_interval(self.attachment.client_id, wanted.interval)
        self.heartbeat.configure(self._loop.time(), interval, wanted.missed_limit)
        self.outlet.gather_for(wanted.batch)
        if self.heartbeat.due_at != planned:
            self.hub.rounds.schedule_beat(self)
        return self.read_config()

    def judge_wishes(self, wishes: Mapping[str, float]) -> Configuration:
        """Return the configuration with these wishes. Raises ``InvalidField`` for a value outside its range."""
        return apply_wishes(self.read_config(), wishes, build_ranges())

    def read_config(self) -> Configuration:
        """Return the configuration of this connection."""
        return Configuration(self.heartbeat.interval, self.heartbeat.missed_limit, self.outlet.window)

    def _tell_missed(self, missed: int) -> None:
        session, client = self.attachment.session.pk, self.attachment.client_id
        logger.info("Client %s of session %s has missed %d beats", client, session, missed)
        facts = {"session_id": session, "client_id": client, "missed": missed, "limit": self.heartbeat.missed_limit}
        bridge().lane.send_signal(heartbeat_missed, **facts)

    @property
    def has_no_room(self) -> bool:
        """Return True if no more frames of the client may be read, because answers or frames of it wait."""
        return self.slot.is_awaited or self.outlet.is_backed_up or self.inbox.is_full

    async def wait_for_room(self) -> None:
        """Wait until the client has read its answers and its frames are handled, so that more of them may be read."""
        if not self.has_no_room:
            return
        self._paused = True
        try:
            await self.slot.wait()
            if self.outlet.is_backed_up:
                await self.outlet.wait_until_sent()
            # Last, because the client's frames were handled while this waited.
            if self.inbox.is_full:
                await self.inbox.wait_until_empty()
        finally:
            self._paused = False

    def take_pong(self, ping: int) -> None:
        """Take the answer to a beat."""
        planned = self.heartbeat.due_at
        self.heartbeat.take_pong(ping, self._loop.time())
        if self.heartbeat.due_at != planned:
            self.hub.rounds.schedule_beat(self)

    # -- end -------------------------------------------------------------------------------------------------------

    def stop(self, code: Close, *, retry_after: float | None = None, reason: str = "") -> None:
        """Send ``bye`` and close; if the peer does not answer, drop the transport."""
        if self.closed_with is not None:
            return
        # Set it first, because the code below may call this method again.
        self.closed_with = code
        if code is Close.SLOW_CONSUMER:
            # The client can read from the logs what it did not receive.
            self.outlet.forget_waiting()
        self.push(build_bye(code, retry_after=retry_after, reason=reason))
        self.outlet.close(code, code.name.lower())
        self._loop.call_later(HANG_UP_SECONDS, self._drop_transport)

    def _drop_transport(self) -> None:
        # Without it, the consumer has already ended.
        if self._hang_up is not None:
            self.outlet.abort()
            self._hang_up.cancel()

    def stop_displaced(self, code: Close = Close.REPLACED) -> None:
        """Close, because a row of this connection was deleted or belongs to another connection; find out the reason."""
        if self.closed_with is None and not self.is_fenced:
            self.is_fenced = True
            self.side_work.start(partial(self.stop_with_reason, code))

    async def stop_with_reason(self, otherwise: Close) -> None:
        """Close with the reason for the loss of a row: the end of the session, which deletes all its rows, or a newer
        generation of the client. Otherwise close with the given code.
        """
        session, client, reason = self.attachment.session.pk, self.attachment.client, ""
        try:
            control = (await bridge().control(controls.read_controls, [session]))[session]
            code, reason = control.judge_connection(self.attachment.auth_version), control.reason
            if code is None:
                fenced = await bridge().control(stopping.find_fenced, {client: self.attachment.generation})
                code = fenced[client].code if client in fenced else None
        except SessionMgmtError:
            code = None
        self.stop(code or otherwise, reason=reason)

    def set_hang_up(self, task: asyncio.Task[Any] | None) -> None:
        """Set the task to cancel if the goodbye is not answered."""
        self._hang_up = task

    async def end(self, code: int) -> None:
        """Clean up after the transport is gone."""
        if self.closed_with is None and code in LOST and not self.heartbeat.beats:
            self.hub.serving.note_quiet_loss(self.attachment.client_id, self._loop.time() - self.lifetime.opened_at)
        # Before anything is awaited, so that no round and no doorbell finds this connection from here on.
        self.release()
        # The consumer ends when the row is closed. If it is cancelled earlier, the group is still written.
        await asyncio.shield(self.hub.late_writes.add_ended(self._build_end(code), self.attachment.client_id))

    def release(self) -> None:
        """Stop following all logs and cancel all work, because nothing more can be sent."""
        self.hub.serving.remove_connection(self)
        self.followings.close()
        self.writes.stop()
        self.slot.stop()
        self.side_work.stop()
        self.outlet.abandon()
        # Nothing is left to stop. Break the reference cycles: thousands of connections that end together and wait for
        # the garbage collector would block the event loop for a third of a second (measured).
        self.is_fenced = True
        del self.writes

    def _build_end(self, code: int) -> Ended:
        return Ended(
            connection=self.attachment.connection,
            session=self.attachment.session.pk,
            client=self.attachment.client,
            # A client that said goodbye has left, even if its transport was cut afterwards.
            code=1000 if self.left else int(self.closed_with or code),
            closed_by="server" if self.closed_with and not self.left else "client",
            figures=self.report.build_figures(),
            wrote_at=self.report.find_active(),
            confirmed=self.report.take_confirmed(),
        )

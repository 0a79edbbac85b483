"""One live connection of a client, whatever carries its bytes: who it is, what it follows, how it is doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

import orjson

from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.sessions import connections, info
from session_mgmt.actions.sessions.connections import Beat
from session_mgmt.actions.sessions.following import Log
from session_mgmt.actions.sessions.resume import Attachment
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import verdicts
from session_mgmt.consumers.following import Following
from session_mgmt.consumers.hub import Hub
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.consumers.writes import Writes
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import clock
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.logs import STATE

logger = logging.getLogger("session_mgmt.connection")

SLOW_SECONDS = 30.0
HANG_UP_SECONDS = 5.0


class Connection:
    """Lives from ``connected`` to the end of its transport; all of it dies with the socket."""

    def __init__(self, outlet: Outlet, attachment: Attachment, hub: Hub, *, script_name: str = "") -> None:
        self.outlet, self.attachment, self.hub = outlet, attachment, hub
        self.followings: dict[str, Following] = {}
        self.writes = Writes(self)
        self.closed_with: Close | None = None
        self.left = False
        self.heard_at = self._opened_at = asyncio.get_running_loop().time()
        self.messages_in = self.bytes_in = 0
        self._script_name = script_name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ping = self._beats = self._missed = self._missed_in_a_row = 0
        self._pinged_at = 0.0
        self._rtt: float | None = None
        self._rtt_average: float | None = None
        self._active = False
        self._acked = self._confirmed = 0
        self._slow_since: float | None = None
        self._hang_up: asyncio.Task[Any] | None = None

    # -- out -------------------------------------------------------------------------------------------------------

    def push(self, frame: dict[str, Any]) -> None:
        self.outlet.push(orjson.dumps(frame).decode())

    def fail(self, error: SessionMgmtError, **request: Any) -> None:
        """Answer a request, or the connection as a whole, with an error."""
        self.push({"type": "error", **request, **error.as_dict()})

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something on the side; it ends with the connection at the latest."""
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except SessionMgmtError as error:
            self.fail(error)
        except Exception:
            logger.exception("Work of a connection failed")
            self.stop(Close.INTERNAL_ERROR)

    def document_url(self, name: str) -> str | None:
        """Where a large document is fetched; ``None`` if the REST side is not mounted."""
        return info.document_address(self.attachment.session.pk, name, self._script_name)

    # -- opening ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Tell the client where it stands and bring every log to the present."""
        self.hub.add(self)
        verdict, reason = verdicts.overall(self.attachment)
        self.push(self._connected(verdict, reason))
        started = asyncio.get_running_loop().time()
        replays = [self.follow(log).start() for log in self.attachment.logs.values()]
        self.spawn(self._recovered(replays, verdict, reason, started))

    def _connected(self, verdict: str, reason: str) -> dict[str, Any]:
        attachment, now = self.attachment, settings()
        denied = {name: {"mode": "denied", "error": e.as_dict()} for name, e in attachment.denied.items()}
        return {
            "type": "connected",
            "session": info.session_info(attachment.session, "connected"),
            "client_id": attachment.client_id,
            "generation": attachment.generation,
            "last_seq": attachment.last_seq,
            "went_back": attachment.went_back,
            "verdict": verdict,
            "reason": reason,
            "logs": {**{name: verdicts.as_json(log) for name, log in attachment.logs.items()}, **denied},
            "subscriptions": attachment.subscriptions,
            "heartbeat": {
                "interval": now.heartbeat_interval,
                "missed_limit": now.heartbeat_missed_limit,
                "deadline": now.heartbeat_interval * 1.2 + 10.0,
            },
            "limits": limits(),
            "retry": {
                "initial": now.reconnect_initial,
                "maximum": now.reconnect_maximum,
                "factor": now.reconnect_factor,
                "attempts": now.reconnect_attempts,
            },
            "endpoints": info.endpoints(attachment.session.pk, self._script_name),
            "server_time": clock.as_text(attachment.at),
        }

    def follow(self, log: Log) -> Following:
        """Join a log; one that is followed already is followed anew from the given place."""
        self.unfollow(log.name)
        feed = self.hub.follow(LogRow(log.key, log.name), log.head)
        following = self.followings[log.name] = Following(self, feed, log)
        if log.name.startswith(STATE) and log.id is not None:
            self.writes.knows_document(log.name.removeprefix(STATE), log.id)
        return following

    def unfollow(self, name: str) -> None:
        following = self.followings.pop(name, None)
        if following is not None:
            following.stop()
            self.hub.unfollow(following.feed)

    async def _recovered(self, replays: list[asyncio.Task[bool]], verdict: str, reason: str, started: float) -> None:
        """Once every log is at the present: the receipt, the same for the client and for the administrator."""
        # A replay is cancelled where the client leaves that log meanwhile; the others still have their receipt.
        ended = await asyncio.gather(*replays, return_exceptions=True)
        if self.attachment.is_new or False in ended:
            return
        followings = self.followings
        lost = {name: list(f.lost_range) for name, f in followings.items() if f.lost_range}
        receipt = {
            "id": str(self.attachment.connection),
            "verdict": "state_only" if lost and verdict == "full" else verdict,
            "reason": reason,
            "generation": self.attachment.generation,
            "asked": {n: log.asked.as_json() for n, log in self.attachment.logs.items() if log.asked},
            "replayed": {name: list(f.replayed) for name, f in followings.items() if f.replayed},
            "lost": lost,
            "duration_ms": round((asyncio.get_running_loop().time() - started) * 1000, 1),
            "queries": self.attachment.queries,
        }
        self.push({"type": "recovery", "receipt": receipt})
        await bridge().call(connections.keep_receipt, self.attachment.connection, receipt)

    # -- life ------------------------------------------------------------------------------------------------------

    def heard(self, size: int) -> None:
        """Anything from the client is a sign of life."""
        self.heard_at = asyncio.get_running_loop().time()
        self.messages_in += 1
        self.bytes_in += size

    def wrote(self) -> None:
        """Writes count as activity of the session; beats and polls do not."""
        self._active = True

    def confirm(self, seq: int) -> None:
        self._acked = max(self._acked, seq)

    def beat(self, now: float) -> None:
        """Ask for a sign of life, and count what was not answered."""
        if self._ping and self.heard_at < self._pinged_at:
            self._missed += 1
            self._missed_in_a_row += 1
        else:
            self._missed_in_a_row = 0
        if self._missed_in_a_row >= settings().heartbeat_missed_limit:
            self.stop(Close.HEARTBEAT_LOST)
            return
        if self._slow_since is not None and now - self._slow_since > SLOW_SECONDS and self.outlet.full:
            self.stop(Close.SLOW_CONSUMER)
            return
        self._ping += 1
        self._beats += 1
        self._pinged_at = now
        self.push({"type": "ping", "ping": self._ping, "rtt_ms": self._rtt})

    def server_time(self) -> datetime:
        """The database's clock, carried on from the moment of connecting; no query."""
        return self.attachment.at + timedelta(seconds=asyncio.get_running_loop().time() - self._opened_at)

    def ponged(self, ping: int) -> None:
        if ping != self._ping:
            return
        self._rtt = round((asyncio.get_running_loop().time() - self._pinged_at) * 1000, 1)
        before = self._rtt if self._rtt_average is None else self._rtt_average
        self._rtt_average = round(before + (self._rtt - before) / 8, 1)

    def fell_behind(self) -> None:
        if self._slow_since is None or not self.outlet.full:
            self._slow_since = asyncio.get_running_loop().time()

    def figures(self) -> Beat:
        """What a lease flush writes."""
        return Beat(
            connection=self.attachment.connection,
            rtt_ms=self._rtt,
            rtt_average_ms=self._rtt_average,
            beats_sent=self._beats,
            beats_missed=self._missed,
            messages_in=self.messages_in,
            messages_out=self.outlet.messages,
            bytes_in=self.bytes_in,
            bytes_out=self.outlet.bytes,
        )

    def take_active(self) -> bool:
        active, self._active = self._active, False
        return active

    def take_confirmed(self) -> int | None:
        """The number up to which receipts may be forgotten, if it has moved."""
        if self._acked <= self._confirmed:
            return None
        self._confirmed = self._acked
        return self._acked

    # -- end -------------------------------------------------------------------------------------------------------

    def stop(self, code: Close, *, retry_after: float | None = None) -> None:
        """Say good-bye and close; a peer that does not hear it is hung up on."""
        if self.closed_with is not None:
            return
        self.closed_with = code
        self.push(bye(code, retry_after=retry_after))
        self.outlet.close(code, code.name.lower())
        if self._hang_up is not None:
            task = self._hang_up
            asyncio.get_running_loop().call_later(HANG_UP_SECONDS, task.cancel)

    def hang_up_with(self, task: asyncio.Task[Any] | None) -> None:
        """The task to cancel when a good-bye is not answered."""
        self._hang_up = task

    def lost_lease(self) -> None:
        """Somebody closed this connection in the database: a sweep that thought us dead, or the session's end."""
        self.stop(Close.INSUFFICIENT_STATE)

    async def end(self, code: int) -> None:
        """The transport is gone."""
        self.hub.remove(self)
        for name in list(self.followings):
            self.unfollow(name)
        self.writes.stop()
        for task in tuple(self._tasks):
            task.cancel()
        self.outlet.abandon()
        by = "server" if self.closed_with else "client"
        final = 1000 if self.left else int(self.closed_with or code)
        try:
            await bridge().call(connections.close, self.attachment.connection, code=final, closed_by=by)
        except SessionMgmtError:
            # The lease will run out by itself.
            logger.info("A connection could not be marked closed")


def bye(code: Close, *, name: str | None = None, retry_after: float | None = None) -> dict[str, Any]:
    """A ``bye`` frame (PROTOCOL section 10)."""
    return {
        "type": "bye",
        "code": int(code),
        "name": name or code.name.lower(),
        "reconnect": code.reconnect,
        "retry_after": retry_after,
    }


def limits() -> dict[str, int]:
    """The limits that a client should know before it runs into them."""
    now = settings()
    return {
        "frame_bytes": now.max_frame_bytes,
        "document_bytes": now.max_document_bytes,
        "depth": now.max_depth,
        "keys": now.max_keys,
        "key_bytes": now.max_key_bytes,
        "string_bytes": now.max_string_bytes,
        "ops": now.max_ops,
        "subscriptions": now.max_subscriptions,
    }

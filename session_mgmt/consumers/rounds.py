"""What a process does at intervals for all its connections together: beats, leases, positions, revocations, the
outbox, snapshots.

One timer wheel and one statement each, whatever the number of connections; nothing is written per beat.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from session_mgmt.actions import logs
from session_mgmt.actions.sessions import connections, lifecycle
from session_mgmt.actions.state import compaction
from session_mgmt.actions.timeline import handlers
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.codes import Close

if TYPE_CHECKING:
    from session_mgmt.consumers.connection import Connection
    from session_mgmt.consumers.hub import Hub

logger = logging.getLogger("session_mgmt.rounds")

TICK = 0.5
SPREAD = 0.2
SLICE = 2000
REVOKE_UNANSWERED = 5.0
SNAPSHOT_REST = 9


class Rounds:
    """The recurring work of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._wheel: dict[int, list[Connection]] = {}
        self._snapshots: set[int] = set()
        self._control_answered = self._loop.time()
        now = settings()
        self._tasks = [
            self._every(lambda: TICK, self._beat, "beats"),
            self._every(lambda: now.lease_flush_interval, self.flush, "leases"),
            self._every(lambda: now.position_check_interval, self.check_positions, "positions"),
            self._every(lambda: now.control_interval, self.check_sessions, "control"),
            self._every(lambda: now.drain_interval, self._drain, "drain"),
            self._every(lambda: TICK, self._take_snapshots, "snapshots"),
        ]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _every(
        self, seconds: Callable[[], float], work: Callable[[], Awaitable[None]], name: str
    ) -> asyncio.Task[None]:
        return self._loop.create_task(self._repeat(seconds, work), name=f"session_mgmt {name}")

    async def _repeat(self, seconds: Callable[[], float], work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds() * random.uniform(1 - SPREAD, 1 + SPREAD))
            try:
                await work()
            except SessionMgmtError as error:
                logger.warning("A round was missed: %s", error)
            except Exception:
                logger.exception("A round failed")

    # -- beats -----------------------------------------------------------------------------------------------------

    def add(self, connection: Connection) -> None:
        """Give a connection its place on the wheel."""
        due = self._loop.time() + settings().heartbeat_interval * random.uniform(1 - SPREAD, 1 + SPREAD)
        self._wheel.setdefault(int(due / TICK), []).append(connection)

    async def _beat(self) -> None:
        now = self._loop.time()
        for slot in [slot for slot in self._wheel if slot <= int(now / TICK)]:
            for connection in self._wheel.pop(slot):
                if connection in self._hub.connections:
                    connection.beat(now)
                    self.add(connection)

    # -- leases ----------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Renew leases, write figures, count activity, forget confirmed receipts."""
        mine = {connection.attachment.connection: connection for connection in self._hub.connections}
        beats = [connection.figures() for connection in mine.values()]
        for start in range(0, len(beats), SLICE):
            part = beats[start : start + SLICE]
            open_ = await bridge().call(connections.flush, part)
            for beat in part:
                if beat.connection not in open_:
                    mine[beat.connection].lost_lease()
        active = {c.attachment.session.pk for c in mine.values() if c.take_active()}
        if active:
            live = await bridge().call(lifecycle.touch, active)
            for session in active - live:
                self._hub.stop_session(session, Close.SESSION_EXPIRED)
        confirmed = {c.attachment.client: acked for c in mine.values() if (acked := c.take_confirmed())}
        if confirmed:
            await bridge().call(connections.confirm, confirmed)
        await self._hub.drop_idle_feeds()

    # -- positions and revocations ---------------------------------------------------------------------------------

    async def check_positions(self) -> None:
        """Ask the database where the served logs stand, in slices."""
        keys = [key for key, feed in self._hub.feeds.items() if feed.following]
        for start in range(0, len(keys), SLICE):
            asked = {key: self._hub.feeds[key].head for key in keys[start : start + SLICE] if key in self._hub.feeds}
            for key, position in (await bridge().control(logs.heads, list(asked))).items():
                feed = self._hub.feeds.get(key)
                if feed is not None:
                    feed.correct(position, asked_at=asked[key])

    async def check_sessions(self) -> None:
        """Close what has been revoked. If the database cannot say for 5 s, nobody is served: fail closed."""
        serving = list(self._hub.sessions)
        try:
            for start in range(0, len(serving), SLICE):
                part = serving[start : start + SLICE]
                allowed = await bridge().control(connections.still_allowed, part)
                for session in set(part) - allowed:
                    self._hub.stop_session(session, Close.SESSION_TERMINATED)
            self._control_answered = self._loop.time()
        except SessionMgmtError:
            if self._loop.time() - self._control_answered > REVOKE_UNANSWERED:
                for session in serving:
                    self._hub.stop_session(session, Close.UNAVAILABLE)

    # -- background writes -----------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        if await bridge().control(handlers.outbox_waits):
            bridge().lane.nudge()
        if await bridge().control(handlers.events_wait):
            await bridge().call(handlers.run_pending)

    def snapshot_soon(self, document: int) -> None:
        self._snapshots.add(document)

    async def _take_snapshots(self) -> None:
        """Compact what was written most, in a tenth of the time.

        Each takes a commit, for which writers wait; a few hundred revisions more cost a reader milliseconds.
        """
        while self._snapshots:
            started = self._loop.time()
            await bridge().read(_snapshot, self._snapshots.pop())
            await asyncio.sleep(SNAPSHOT_REST * (self._loop.time() - started))


def _snapshot(document: int) -> None:
    compaction.compact_lagging(document, run=bridge().run_in_worker)

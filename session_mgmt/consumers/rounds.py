"""Recurring work of a process for all its connections: beats, leases, positions, revocations, the outbox, snapshots,
presence.

There is one timer wheel, and one statement for each kind of work, for any number of connections; no beat causes a
write.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from uuid import UUID

from session_mgmt.actions import drains, logs
from session_mgmt.actions.drains import Unmeasured
from session_mgmt.actions.sessions import connections, controls, lifecycle, standing, stopping
from session_mgmt.actions.sessions.controls import Control, Known
from session_mgmt.actions.state import compaction
from session_mgmt.actions.timeline import handlers
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.lifetime import find_over
from session_mgmt.consumers.presence import Presences
from session_mgmt.consumers.rechecks import Rechecks
from session_mgmt.consumers.reports import Report
from session_mgmt.consumers.serving import SLICE, Served, Serving
from session_mgmt.consumers.visitors import Visitors
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models.changes import Mark
from session_mgmt.protocol.codes import Close

logger = logging.getLogger(__name__)

# Seconds between two slots of the wheel; beats need no more precision.
TICK = 0.5
# Share by which rounds vary; otherwise processes that started together would ask the database together.
SPREAD = 0.2
# Sessions with a fault that are ended in one transaction, which takes milliseconds.
SETTLED = 64
# After a snapshot, take none for this many times as long as it took.
SNAPSHOT_REST = 9


class Rounds:
    """Timers of one hub."""

    def __init__(self, serving: Serving, rechecks: Rechecks, visitors: Visitors, presences: Presences) -> None:
        self._serving, self._rechecks, self._visitors = serving, rechecks, visitors
        self._loop = asyncio.get_running_loop()
        self._wheel: dict[int, list[tuple[Served, float]]] = {}
        self._snapshots: set[int] = set()
        self._unmeasured: dict[int, Unmeasured] = {}
        # Sessions that were found to be no longer valid, until their rows say so.
        self._faulty: set[UUID] = set()
        self._to_look_at: set[UUID] = set()
        self._looking: asyncio.Task[None] | None = None
        self._control_answered = self._loop.time()
        # Number of connections added, and the database's mark, when all sessions were last checked.
        self._looked: tuple[int, Mark | None] = (0, None)
        # Number of times that a log was followed, and the database's mark, when all positions were last equal.
        self._compared: tuple[int, Mark | None] = (0, None)
        # No token of a connection ends before this time of the loop.
        self._first_token_over = math.inf
        self._overdue = asyncio.Event()
        now = settings()
        # Functions to call at each tick, if there is work, with the event that their task waits for.
        self._on_ticks: list[tuple[Callable[[], object], asyncio.Event]] = []
        self._tasks = [
            self._start(lambda: TICK, self.tick, "ticks"),
            self._start(lambda: now.lease_flush_interval, self.flush_leases, "leases"),
            self._start(lambda: now.position_check_interval, self.check_positions, "positions"),
            self._start(lambda: now.control_interval, self.check_sessions, "control"),
            self._start(lambda: now.drain_interval, self._work_off_backlog, "drain"),
            self._start_on_ticks(lambda: self._snapshots, self._take_snapshots, "snapshots"),
            self._start_on_ticks(lambda: self._unmeasured, self.look_at_documents, "looks"),
            self._start_on_ticks(rechecks.has_due, rechecks.ask_due, "rechecks"),
            self._start_on_ticks(lambda: self._faulty, self.settle_sessions, "standing"),
            self._start_on_ticks(presences.has_logs, presences.tell, "presence"),
            self._loop.create_task(self._repeat(self._overdue.wait, self._catch_up), name="session_mgmt catch up"),
        ]

    def stop(self) -> None:
        for task in (*self._tasks, *([] if self._looking is None else [self._looking])):
            task.cancel()

    def catch_up(self) -> None:
        """Run the rounds that find missed doorbells now, instead of when they are due."""
        self._overdue.set()

    def _start(
        self, seconds: Callable[[], float], work: Callable[[], Awaitable[None]], name: str
    ) -> asyncio.Task[None]:
        async def rest() -> None:
            await asyncio.sleep(seconds() * random.uniform(1 - SPREAD, 1 + SPREAD))

        return self._loop.create_task(self._repeat(rest, work), name=f"session_mgmt {name}")

    def _start_on_ticks(
        self, has_work: Callable[[], object], work: Callable[[], Awaitable[None]], name: str
    ) -> asyncio.Task[None]:
        begins = asyncio.Event()
        self._on_ticks.append((has_work, begins))

        async def wait() -> None:
            await begins.wait()
            begins.clear()

        return self._loop.create_task(self._repeat(wait, work), name=f"session_mgmt {name}")

    async def _repeat(self, wait: Callable[[], Awaitable[object]], work: Callable[[], Awaitable[None]]) -> None:
        is_missing = False
        while True:
            # Wait first, because new connections were compared with the database a moment ago.
            await wait()
            try:
                await work()
            except SessionMgmtError as error:
                if not is_missing:
                    # Log it once, because without a database many rounds are missed each second.
                    logger.warning("Rounds are missed: %s", error)
                is_missing = True
            except Exception:
                logger.exception("A round failed")
            else:
                if is_missing:
                    logger.warning("Rounds run again")
                is_missing = False

    async def _catch_up(self) -> None:
        self._overdue.clear()
        await self.check_positions()
        await self.check_sessions()
        await self._work_off_backlog()

    async def tick(self) -> None:
        """Send the beats that are due, and begin other work that is due.

        One timer for all, because to wake up costs an idle process more than the work itself.
        """
        self._beat_due()
        for has_work, begins in self._on_ticks:
            if has_work():
                begins.set()

    # -- beats -----------------------------------------------------------------------------------------------------

    def schedule_beat(self, connection: Served) -> None:
        """Put a connection into its slot of the wheel; its earlier slot no longer counts."""
        due = connection.beat_at
        # To add and to remove an entry costs the same for any number of connections.
        self._wheel.setdefault(int(due / TICK), []).append((connection, due))

    def _beat_due(self) -> None:
        now = self._loop.time()
        for slot in [slot for slot in self._wheel if slot <= int(now / TICK)]:
            for connection, due in self._wheel.pop(slot):
                # The wheel does not know when a connection ends or changes its slot, so check it here.
                if due == connection.beat_at and connection in self._serving.connections:
                    connection.beat(now)
                    self.schedule_beat(connection)

    def watch_token(self, connection: Served) -> None:
        """Close a connection when its token is over, unless it was refreshed."""
        self._first_token_over = min(self._first_token_over, connection.lifetime.token_over_at)

    # -- leases ----------------------------------------------------------------------------------------------------

    async def flush_leases(self) -> None:
        """Renew leases, write figures, count activity, forget confirmed receipts."""
        # A copy, because connections come and go while the parts are written.
        mine = {c.attachment.connection: c for c in self._serving.connections if c.holds_lease}
        served = list(mine.values())
        for start in range(0, len(served), SLICE):
            # In slices, so that other writers can write in between.
            closed = await self._renew_leases(served[start : start + SLICE])
            if closed:
                # First, because the end of the session is the true reason, even if something else closed the row.
                await self._close_refused(list({mine[key].attachment.session.pk for key in closed}))
            for connection, code in closed.items():
                mine[connection].stop(code)
        active = list(_find_activity(mine.values()).items())
        for start in range(0, len(active), SLICE):
            slice_ = dict(active[start : start + SLICE])
            live = await bridge().call(lifecycle.count_activity_at, slice_)
            for session, told in slice_.items():
                self._serving.forget_activity(session, told)
            # Sessions that accepted no activity have ended, so close their connections now, before the next control
            # query.
            if gone := list(slice_.keys() - live):
                await self._close_refused(gone)
        confirmed = [(c.attachment.client, acked) for c in mine.values() if (acked := c.report.take_confirmed())]
        for start in range(0, len(confirmed), SLICE):
            await bridge().call(connections.forget_receipts, dict(confirmed[start : start + SLICE]))
        await self._visitors.flush()
        await self._serving.drop_idle_feeds()

    async def _renew_leases(self, served: list[Served]) -> dict[int, Close]:
        # Most have nothing to report, because beats come less often than flushes.
        news, quiet = list[Report](), list[int]()
        for connection in served:
            if connection.report.has_news:
                news.append(connection.report)
            else:
                quiet.append(connection.attachment.connection)
        try:
            return await bridge().renew(connections.renew_leases, [report.take_figures() for report in news], quiet)
        except BaseException:
            for report in news:
                report.tell_again()
            raise

    # -- positions and revocations ---------------------------------------------------------------------------------

    async def check_positions(self) -> None:
        """Compare every served log with its position in the database, in slices; none if nothing was written since the
        last round found all of them there.
        """
        followed = self._serving.followed
        (before_followed, before), self._compared = self._compared, (0, None)
        changed, mark = await bridge().watch(logs.find_write, before if followed == before_followed else None)
        moved = False
        if changed:
            keys = [key for key, feed in self._serving.feeds.items() if feed.following]
            for start in range(0, len(keys), SLICE):
                moved |= await self._serving.check_positions(keys[start : start + SLICE], bridge().control)
        # A log that has moved must be read, which may fail, so the next round looks at it again.
        if not moved:
            self._compared = followed, mark

    async def check_sessions(self) -> None:
        """Close connections of sessions that were revoked, and of clients that attached elsewhere or were sent away.

        If the database cannot answer for 5 s, close all connections, because a revoked one may be among them.
        """
        self._close_expired_tokens()
        serving, added = list(self._serving.sessions), self._serving.added
        # Remember it only after rounds without an error, and only while every session that came has been checked.
        (before_added, before), self._looked = self._looked, (0, None)
        try:
            changed, mark = await bridge().watch(controls.find_change, before if added == before_added else None)
            if changed:
                await self._look_at_all_sessions()
            self._looked = added, mark
            await self._visitors.close_silent()
            # Only after all parts, because a part of the answer is not enough.
            self._control_answered = self._loop.time()
        except SessionMgmtError:
            if self._loop.time() - self._control_answered > controls.UNANSWERED_LIMIT:
                for session in serving:
                    self._serving.stop_session(session, Close.UNAVAILABLE)

    async def _look_at_all_sessions(self) -> None:
        # Ask first and act later: the end of a session also fences its clients, and is then the true reason.
        answers = [await bridge().control(stopping.find_fenced, part) for part in self._serving.list_generations()]
        for part in self._serving.list_all_known():
            await self.look_at_sessions(part)
        for fenced in answers:
            for client, (generation, code) in fenced.items():
                self._serving.stop_fenced(client, generation, code)

    async def _close_refused(self, sessions: list[UUID]) -> None:
        self._judge_sessions(await bridge().control(controls.read_controls, sessions))

    def look_soon(self, sessions: Iterable[UUID]) -> None:
        """Check sessions that may have ended or changed; the sessions of one moment are checked together."""
        self._to_look_at.update(sessions)
        if self._looking is None:
            self._looking = self._loop.create_task(self._look_now(), name="session_mgmt look")

    async def _look_now(self) -> None:
        try:
            while self._to_look_at:
                part = list(islice(self._to_look_at, SLICE))
                self._to_look_at.difference_update(part)
                if known := self._serving.list_known(part):
                    await self.look_at_sessions(known)
        except SessionMgmtError as error:
            # The next round tries again.
            logger.warning("Sessions could not be looked at: %s", error)
        finally:
            self._looking = None

    async def look_at_sessions(self, known: Mapping[UUID, Known]) -> None:
        """Check with one query whether sessions that are served here may continue."""
        self._judge_sessions(await bridge().control(controls.find_controls, known))

    def _judge_sessions(self, found: Mapping[UUID, Control]) -> None:
        for session, control in found.items():
            if self._serving.judge_session(session, control):
                self._rechecks.ask_again(session)
            if control.has_fault:
                self._faulty.add(session)

    async def settle_sessions(self) -> None:
        """Store that sessions have ended for a fault that was found; no process serves them any more.

        In small groups, so that other writers can write in between, even if many users were deactivated at once.
        """
        while self._faulty:
            done = await bridge().call(standing.settle_sessions, list(islice(self._faulty, SETTLED)))
            # Only now, so that it is tried again while the database is away.
            self._faulty.difference_update(done)

    def _close_expired_tokens(self) -> None:
        """Close connections whose clients have not refreshed their tokens in time."""
        over = find_over(self._loop.time())
        if self._first_token_over > over:
            return
        # Tokens that were refreshed meanwhile last longer than the first one was known to.
        self._first_token_over = math.inf
        # A copy, because a connection that stops may remove itself.
        for connection in list(self._serving.connections):
            if connection.lifetime.token_over_at <= over:
                connection.stop(Close.TOKEN_EXPIRED)
            else:
                self.watch_token(connection)

    # -- background writes -----------------------------------------------------------------------------------------

    async def _work_off_backlog(self) -> None:
        # Begin with a read, because an idle process should take no locks, and ask both questions in one call.
        has_outbox, has_events = await bridge().control(handlers.find_waiting)
        if has_outbox:
            bridge().nudge()
        if has_events:
            await bridge().run_user_code(None, handlers.run_pending, gate=bridge().gate)

    def schedule_look(self, waiting: Unmeasured) -> None:
        """Check soon whether an entry of the outbox fits its document."""
        self._unmeasured[waiting.entry.id] = waiting

    async def look_at_documents(self) -> None:
        """Prepare the entries that only fit after a look at their documents, and drain again."""
        while self._unmeasured:
            entry, waiting = self._unmeasured.popitem()
            look = partial(drains.look_at_document, bridge().using, waiting, cache=bridge().head_cache)
            # Not in the lane and not in a transaction, because this may read and decode a large document.
            work = await bridge().run_patiently(waiting.document, look, run=bridge().worker_for(waiting.document))
            if work is not None:
                bridge().lane.keep_look(entry, work)

    def schedule_snapshot(self, document: int) -> None:
        """Compact a document when there is time."""
        self._snapshots.add(document)

    async def _take_snapshots(self) -> None:
        """Compact documents one after another, in a tenth of the time.

        Each needs a commit, for which other writers wait, while some hundred more revisions cost a reader milliseconds.
        """
        while self._snapshots:
            started = self._loop.time()
            document = self._snapshots.pop()
            await bridge().run_patiently(document, _compact, document)
            await asyncio.sleep(SNAPSHOT_REST * (self._loop.time() - started))


def _find_activity(served: Iterable[Served]) -> dict[UUID, datetime]:
    """Return when each session was last active on any of its connections here, if the database does not know it yet."""
    found: dict[UUID, datetime] = {}
    for connection in served:
        at = connection.report.find_active()
        if at is not None:
            session = connection.attachment.session.pk
            found[session] = max(at, found.get(session, at))
    return found


def _compact(document: int) -> None:
    compaction.compact_lagging(document, run=bridge().run_in_worker)

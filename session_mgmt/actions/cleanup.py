"""Cleanup: end sessions whose time is over, and delete rows past their retention, in chunks with a transaction each.

Every step claims its rows by a condition, so two sweeps at once, or one that is killed, do no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, IntegrityError, connections

from session_mgmt.actions import leftovers
from session_mgmt.actions.leftovers import Leftover
from session_mgmt.actions.pacing import Pace, make_pace
from session_mgmt.actions.sessions import closing, deletion, expiry, leaving
from session_mgmt.actions.state import compaction
from session_mgmt.actions.timeline import retention as timelines
from session_mgmt.actions.topics import retention, telling
from session_mgmt.actions.trimming import Queue
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, Connection, clock
from session_mgmt.models.outages import is_outage, is_read_only, is_unmigrated
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import SESSION

logger = logging.getLogger(__name__)

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class CleanupReport:
    """Number of rows that each step has ended or deleted; in a dry run, that it would. ``failed`` counts steps."""

    expired: int = 0
    connections: int = 0
    members: int = 0
    closed: int = 0
    tokens: int = 0
    logins: int = 0
    receipts: int = 0
    outbox: int = 0
    audit: int = 0
    webhooks: int = 0
    publications: int = 0
    streams: int = 0
    events: int = 0
    revisions: int = 0
    purged: int = 0
    failed: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def run_cleanup(
    progress: Progress | None = None, *, dry_run: bool = False, now: datetime | None = None
) -> CleanupReport:
    """Run every step until nothing is left; ``progress(step, rows)`` is called after each chunk."""
    moment = now or clock.read(settings().database)
    if dry_run:
        return _count_due(moment)
    run = _Run(moment, now, progress or _ignore_progress)
    run.run_steps()
    return run.report


def _ignore_progress(step: str, rows: int) -> None:
    """Ignore the progress."""


class _Run:
    """``given`` is the caller's clock, if it has one; the verbs else read the database's anew."""

    def __init__(self, moment: datetime, given: datetime | None, progress: Progress) -> None:
        self.report = CleanupReport()
        self._now, self._given, self._progress = moment, given, progress
        # Rows to look at in one query, and the most that one transaction changes.
        self._chunk = settings().cleanup_chunk

    def run_steps(self) -> None:
        # First the ends that people wait for; rows that only cost space come after them.
        self._repeat_chunks("expired", lambda size: len(expiry.expire_due(limit=size, now=self._given)))
        self._repeat_chunks("connections", lambda size: closing.close_dead(limit=size, now=self._given))
        self._run_step("members", self._end_presence)
        for step, find in leftovers.LEFTOVERS.items():
            # Looked for in the step itself: a setting that cannot be used stops no other.
            self._run_step(step, partial(self._delete_leftovers, step, find))
        # Before the logs: what goes as a whole need not be trimmed.
        self._run_step("purged", self._purge_sessions)
        self._run_step("publications", self._trim_streams)
        self._run_step("streams", self._delete_streams)
        self._run_step("events", self._trim_timelines)
        self._run_step("revisions", self._trim_documents)

    def _run_step(self, step: str, work: Callable[[], None]) -> None:
        """Run a step. A failure is logged and counted, and does not prevent the other steps."""
        try:
            work()
        except Exception as error:
            if _stops_all(error):
                raise
            self._count_failure(step, error)

    def _count_failure(self, step: str, error: Exception) -> None:
        # Of a database that is away or locked a line says all; a fault needs its traceback.
        is_fault = not is_outage(error)
        logger.error("The step %s of the cleanup failed: %s", step, str(error).strip(), exc_info=is_fault)
        self.report.failed += 1

    def _repeat_chunks(self, step: str, chunk: Callable[[int], int]) -> None:
        self._run_step(step, lambda: self._work_off(step, chunk))

    def _delete_leftovers(self, step: str, find: Callable[[datetime], Leftover]) -> None:
        self._work_off(step, find(self._now).delete_some)

    def _work_off(self, step: str, chunk: Callable[[int], int]) -> None:
        pace, goes_on = self._make_pace(), True
        while goes_on:
            rows, goes_on = pace.run(chunk)
            self._count_rows(step, rows)

    def _make_pace(self) -> Pace:
        return make_pace(settings().database, self._chunk)

    def _end_presence(self) -> None:
        """Let those leave who are gone, where no server does, and tell it."""
        gone, pace = leaving.find_gone(now=self._given), self._make_pace()
        while gone:
            group, gone = gone[: pace.size], gone[pace.size :]
            self._count_rows("members", pace.take(partial(leaving.remove_gone, group, now=self._given)))
        goes_on = True
        while goes_on:
            _, goes_on = pace.run(self._mark_unattended)
        pace.take(partial(telling.tell_changes, now=self._given))

    def _mark_unattended(self, limit: int) -> int:
        if found := leaving.find_unattended(limit):
            leaving.remove_gone([], found, now=self._given)
        return len(found)

    def _trim_streams(self) -> None:
        pace, after = self._make_pace(), 0
        while (page := retention.find_due_streams(self._now, after=after, limit=self._chunk)).last is not None:
            self._trim("publications", pace, retention.trim_streams, Queue.of(page.due))
            after = page.last

    def _trim_timelines(self) -> None:
        pace, after = self._make_pace(), None
        while due := timelines.find_due_timelines(self._now, after=after, limit=self._chunk):
            after = due[-1]
            self._trim("events", pace, timelines.trim_timelines, Queue.of(due))

    def _trim(self, step: str, pace: Pace, trim: Callable[..., int], due: Queue[Any]) -> None:
        while due.logs:
            self._count_rows(step, pace.run(lambda size: trim(due, self._now, limit=size))[0])

    def _delete_streams(self) -> None:
        pace = self._make_pace()
        last: int | None = 0

        def delete_next(limit: int) -> int:
            nonlocal last
            page = retention.delete_unused_streams(self._now, after=last or 0, limit=limit)
            last = page.last
            return len(page.due)

        while last is not None:
            self._count_rows("streams", pace.run(delete_next)[0])

    def _trim_documents(self) -> None:
        pace = self._make_pace()
        for page in compaction.iter_due(self._chunk, self._now):
            while page:
                group = compaction.split_group(page, pace.size)
                page = page[len(group) :]
                self._run_step("revisions", partial(self._trim_group, pace, group))

    def _trim_group(self, pace: Pace, documents: list[int]) -> None:
        try:
            gone = pace.take(partial(compaction.compact_group, documents, now=self._given))
        except Exception as error:
            # Without a database no document would fare better by itself.
            if len(documents) == 1 or _stops_all(error) or is_outage(error):
                raise
            # A step for each: one that nobody foresaw keeps no other from being cut.
            for document in documents:
                self._run_step("revisions", partial(self._trim_group, pace, [document]))
        else:
            self._count_rows("revisions", gone)

    def _purge_sessions(self) -> None:
        """Delete ended sessions past the retention, with all that hangs on them."""
        pace, purge, goes_on = self._make_pace(), _Purge(self._now - settings().retention), True
        while goes_on:
            before = purge.kept
            looked_at, goes_on = pace.run(purge.delete_some)
            self._count_rows("purged", looked_at - (purge.kept - before))
        if purge.kept:
            logger.warning("%d sessions are past their retention, and rows of the project protect them", purge.kept)

    def _count_rows(self, step: str, rows: int) -> None:
        if rows:
            setattr(self.report, step, getattr(self.report, step) + rows)
            self._progress(step, rows)


def _stops_all(error: Exception) -> bool:
    """Return whether no other step would fare better: without tables, or where nothing may be written."""
    return isinstance(error, DatabaseError) and (is_unmigrated(error) or is_read_only(error))


class _Purge:
    """Deletion of sessions in the order in which they ended; ``kept`` are those that rows of the project protect."""

    def __init__(self, before: datetime) -> None:
        self.kept = 0
        self._sql = Statements(connections[settings().database])
        self._before = self._sql.moment(before)
        # End and key of the last one that was looked at, as the database gave them.
        self._last: Row | None = None

    def delete_some(self, limit: int) -> int:
        """Delete up to ``limit`` sessions, and return the number of those that were looked at."""
        after, params = "", list[Any]()
        if self._last is not None:
            at, key = self._last
            after, params = " AND ended_at >= %s AND (ended_at > %s OR id > %s)", [at, at, key]
        # Not by the ORM, which takes a tenth of the whole time of a purge to read moments and keys (measured).
        found = self._sql.fetch(
            f"SELECT {self._sql.plain('ended_at')}, id FROM {SESSION} WHERE ended_at < %s{after}"
            " ORDER BY ended_at, id LIMIT %s",
            [self._before, *params, limit],
        )
        if found:
            # Past them in any case: sessions that cannot be deleted would else be found again and again.
            self._last = found[-1]
            self._delete([self._sql.as_uuid(session) for _, session in found])
        return len(found)

    def _delete(self, sessions: list[UUID]) -> None:
        try:
            deletion.delete_sessions(settings().database, sessions)
        except IntegrityError:
            if len(sessions) == 1:
                self.kept += 1
                return
            # One that is protected keeps no other.
            for session in sessions:
                self._delete([session])


def _count_due(now: datetime) -> CleanupReport:
    """Count the work of a sweep; logs are left out, because only trimming finds out."""
    using = settings().database
    lost = Connection.objects.using(using).filter(closed_at__isnull=True, lease_expires_at__lt=now)
    counts = {step: find(now).rows.count() for step, find in leftovers.LEFTOVERS.items()}
    return CleanupReport(
        expired=expiry.count_due(now=now),
        connections=lost.count(),
        members=len(leaving.find_gone(now=now)),
        purged=ClientSession.objects.using(using).filter(ended_at__lt=now - settings().retention).count(),
        **counts,
    )

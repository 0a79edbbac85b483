"""Sweep: end what is over, and delete rows past their retention, in chunks with a transaction each.

Every step claims its rows by a condition, so two sweeps at once, or one that is killed, do no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db.models import F, Q, QuerySet

from session_mgmt.actions.sessions import closing, deletion, expiry
from session_mgmt.actions.state import compaction
from session_mgmt.actions.timeline import retention as timelines
from session_mgmt.actions.topics import retention
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, Connection, Outbox, Receipt, Token, clock

logger = logging.getLogger(__name__)

Progress = Callable[[str, int], None]
# A session brings its documents and its log along.
_PURGE_CHUNK = 100


@dataclass(slots=True)
class CleanupReport:
    """Number of rows that each step has ended or deleted; in a dry run, that it would. ``failed`` counts steps."""

    expired: int = 0
    connections: int = 0
    closed: int = 0
    tokens: int = 0
    receipts: int = 0
    outbox: int = 0
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
    """Do nothing: nobody watches."""


class _Run:
    """``given`` is the caller's clock, if it has one; the verbs else read the database's anew."""

    def __init__(self, moment: datetime, given: datetime | None, progress: Progress) -> None:
        self.report = CleanupReport()
        self._now, self._given, self._progress = moment, given, progress
        self._chunk = settings().cleanup_chunk

    def run_steps(self) -> None:
        # First what people wait for; what only costs space comes after it.
        self._repeat_chunks("expired", lambda: len(expiry.expire_due(limit=self._chunk, now=self._given)), self._chunk)
        self._repeat_chunks("connections", lambda: closing.close_dead(limit=self._chunk, now=self._given), self._chunk)
        for step, rows in _find_leftovers(self._now).items():
            self._repeat_chunks(step, partial(_delete_chunk, rows, self._chunk), self._chunk)
        self._run_step("publications", self._trim_streams)
        self._repeat_chunks(
            "streams", lambda: retention.delete_unused_streams(self._now, limit=self._chunk), self._chunk
        )
        self._run_step("events", self._trim_timelines)
        self._run_step("revisions", self._trim_documents)
        self._repeat_chunks("purged", lambda: _purge_sessions(self._now), _PURGE_CHUNK)

    def _run_step(self, step: str, work: Callable[[], None]) -> None:
        """Run a step; one that fails is logged and counted, and keeps no other from running."""
        try:
            work()
        except Exception:
            logger.exception("The step %s of the cleanup failed", step)
            self.report.failed += 1

    def _repeat_chunks(self, step: str, chunk: Callable[[], int], size: int) -> None:
        self._run_step(step, lambda: self._work_off(step, chunk, size))

    def _work_off(self, step: str, chunk: Callable[[], int], size: int) -> None:
        while True:
            rows = chunk()
            self._count_rows(step, rows)
            # A full chunk means that there may be more; one that is not full was the last.
            if rows < size:
                return

    def _trim_streams(self) -> None:
        after = 0
        while due := retention.find_due_streams(self._now, after=after, limit=self._chunk):
            for stream in due:
                trim = partial(retention.trim_stream, stream, self._now, limit=self._chunk)
                self._repeat_chunks("publications", trim, self._chunk)
            after = due[-1]

    def _trim_timelines(self) -> None:
        after: UUID | None = None
        while due := timelines.find_due_timelines(self._now, after=after, limit=self._chunk):
            for session in due:
                trim = partial(timelines.trim_timeline, session, self._now, limit=self._chunk)
                self._repeat_chunks("events", trim, self._chunk)
            after = due[-1]

    def _trim_documents(self) -> None:
        self._count_rows("revisions", compaction.compact_due(self._chunk, now=self._given))

    def _count_rows(self, step: str, rows: int) -> None:
        if rows:
            setattr(self.report, step, getattr(self.report, step) + rows)
            self._progress(step, rows)


def _find_leftovers(now: datetime) -> dict[str, QuerySet]:
    """Return the rows that nobody can need any more."""
    using = settings().database
    return {
        "tokens": Token.objects.using(using).filter(expires_at__lt=now),
        # The client has confirmed them, and a process died before it could delete them; or it never came back for them.
        "receipts": Receipt.objects.using(using).filter(
            Q(seq__lte=F("client__confirmed_seq")) | Q(at__lt=now - settings().retention)
        ),
        "closed": Connection.objects.using(using).filter(closed_at__lt=now - settings().event_retention),
        "outbox": Outbox.objects.using(using).exclude(refused="").filter(created_at__lt=now - settings().retention),
    }


def _delete_chunk(rows: QuerySet, limit: int) -> int:
    """Delete by ascending key, so that two sweeps meet in one order."""
    keys = list(rows.order_by("pk").values_list("pk", flat=True)[:limit])
    if keys:
        rows.model._default_manager.using(rows.db).filter(pk__in=keys).delete()
    return len(keys)


def _find_ended(now: datetime) -> QuerySet[ClientSession]:
    return ClientSession.objects.using(settings().database).filter(ended_at__lt=now - settings().retention)


def _purge_sessions(now: datetime) -> int:
    """Delete ended sessions past the retention, with all that hangs on them."""
    keys = list(_find_ended(now).order_by("ended_at").values_list("pk", flat=True)[:_PURGE_CHUNK])
    if keys:
        deletion.delete_sessions(settings().database, keys)
    return len(keys)


def _count_due(now: datetime) -> CleanupReport:
    """Count the work of a sweep; logs are left out, because only trimming finds out."""
    using = settings().database
    lost = Connection.objects.using(using).filter(closed_at__isnull=True, lease_expires_at__lt=now)
    counts = {step: rows.count() for step, rows in _find_leftovers(now).items()}
    return CleanupReport(
        expired=expiry.count_due(now=now), connections=lost.count(), purged=_find_ended(now).count(), **counts
    )

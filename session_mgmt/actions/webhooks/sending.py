"""Send deliveries: in order for each endpoint and session, at least once, and for the time of ``webhook_life``.

A worker leases a cursor while it sends, so that several workers share the work. If a worker dies, its lease expires,
and then another worker sends the delivery again, with the same id, so that the receiver can recognise it. During a call
no transaction is open, and locks of writers are never waited for.

Calls run in threads, one at a time for each endpoint, so that a slow endpoint does not delay others. Only the thread of
the run uses the database.

Requests of endpoints are respected: one that is gone is deactivated, and one that is overloaded gets no calls for as
long as it asks.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from time import monotonic
from typing import Final

from django.db import transaction
from django.db.models import F, Q, QuerySet

from session_mgmt.actions.webhooks import calling, endpoints, signing
from session_mgmt.actions.webhooks.calling import Answer, CallFailed
from session_mgmt.actions.webhooks.recording import read_message_id
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import WebhookCursor, WebhookDelivery, clock
from session_mgmt.models.isolation import open_transaction

logger = logging.getLogger(__name__)

State = WebhookDelivery.State
Progress = Callable[[str], None]
Call = Callable[[], Answer]

# Longer than all calls of one turn with their look-ups of names, which only the resolver of the system limits.
LEASE: Final = timedelta(minutes=5)
TURN: Final = timedelta(minutes=2)
# Most cursors to try to lease before a run assumes that other workers hold them all.
CANDIDATES: Final = 50
# Most deliveries of one session before it is the turn of another session.
TURN_DELIVERIES: Final = 20
FIRST_WAIT: Final = 10.0
LONGEST_WAIT: Final = 3600.0
# Seconds after which a run starts no new calls, unless a call from before then still runs: the next run continues.
RUN_SECONDS: Final = 30.0
# Most endpoints to call at the same time; each thread waits for one answer.
MOST_CALLS: Final = 32
# Seconds after which a run that waits for answers looks for other endpoints again.
LOOK_SECONDS: Final = 1.0
# Status of a receiver that wants no more deliveries.
GONE: Final = 410
# Statuses of an overloaded receiver. All its deliveries wait then, and not only the one that got the answer.
TOO_MUCH: Final = (429, 502, 503, 504)


@dataclass(slots=True)
class SendingReport:
    """Counts of deliveries that were sent, that failed and wait, and that were given up."""

    sent: int = 0
    failed: int = 0
    dead: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def send_due(
    progress: Progress | None = None,
    *,
    seconds: float = RUN_SECONDS,
    now: datetime | None = None,
    stop: Callable[[], bool] | None = None,
) -> SendingReport:
    """Send all due deliveries, for about ``seconds``; ``progress(outcome)`` is called after each delivery.

    ``now`` is a time of the database's clock. When ``stop()`` returns true, no new call begins.
    """
    run = _Run(progress or _ignore_progress, now, monotonic() + seconds, stop or _go_on_always)
    with ThreadPoolExecutor(MOST_CALLS, "webhook") as pool:
        run.send(pool)
    return run.report


def _ignore_progress(outcome: str) -> None:
    """Ignore the progress."""


def _go_on_always() -> bool:
    return False


def compute_wait(attempts: int) -> timedelta:
    """Return the wait after this number of failures, up to a fifth more or less, so that retries are spread."""
    seconds = min(FIRST_WAIT * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT)
    # Waits are not secret, so the random numbers need not be secure.
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))


def read_retry_after(text: str, now: datetime) -> timedelta | None:
    """Parse ``Retry-After``, a number of seconds or a date, and return the wait; ``None`` if it cannot be parsed.

    The result is never less than the wait after a first failure, so that calls have a pause, and at most an hour.
    """
    try:
        if text.isascii() and text.isdecimal():
            # Twelve digits are more than 30,000 years.
            seconds = float(text[:12])
        else:
            until = parsedate_to_datetime(text)
            # A date without a time zone is in UTC, as all dates of HTTP are.
            seconds = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return timedelta(seconds=min(max(seconds, FIRST_WAIT), LONGEST_WAIT))


class _Run:
    def __init__(self, progress: Progress, now: datetime | None, until: float, stop: Callable[[], bool]) -> None:
        self.report = SendingReport()
        self._progress, self._given, self._until, self._using = progress, now, until, settings().database
        self._stop = stop
        # Endpoints that do not answer, where each call would take the whole timeout.
        self._silent: set[int] = set()
        # Turns whose endpoint is being called, with the moment at which the call began.
        self._calls: dict[Future[Answer], tuple[_Turn, float]] = {}

    def send(self, pool: ThreadPoolExecutor) -> None:
        """Call endpoints with due deliveries, each one at a time, until nothing is due or the time is over."""
        self._begin_turns(pool)
        while self._calls:
            settled, _ = wait(self._calls, LOOK_SECONDS, FIRST_COMPLETED)
            for future in settled:
                turn, _ = self._calls.pop(future)
                turn.settle(future)
                self._go_on(turn, pool)
            self._begin_turns(pool)

    def may_begin(self) -> bool:
        """Return whether another call may begin. While a slow call runs, other turns go on and do not wait for it."""
        if self._stop() or not settings().webhooks:
            return False
        return monotonic() < self._until or any(began < self._until for _, began in self._calls.values())

    def _begin_turns(self, pool: ThreadPoolExecutor) -> None:
        while len(self._calls) < MOST_CALLS and self.may_begin():
            cursor = self._claim()
            if cursor is None:
                return
            self._go_on(_Turn(self, cursor), pool)

    def _go_on(self, turn: _Turn, pool: ThreadPoolExecutor) -> None:
        call = turn.prepare()
        if call is not None:
            self._calls[pool.submit(call)] = turn, monotonic()

    def _claim(self) -> WebhookCursor | None:
        """Lease the cursor that has waited longest, of those that no other worker has leased."""
        now = self.read_clock()
        left_out = self._silent | {turn.endpoint for turn, _ in self._calls.values()}
        due = _find_due(self._using, now).exclude(endpoint__in=left_out).order_by("next_at", "pk")
        # Search without a lock, because every run searches and usually nothing is due.
        for pk in list(due.values_list("pk", flat=True)[:CANDIDATES]):
            with open_transaction(self._using):
                # Check again under the lock, because another worker may have leased it since.
                cursor = _lock(due.filter(pk=pk), self._using).select_related("endpoint").first()
                if cursor is not None:
                    cursor.lease, cursor.leased_until = secrets.token_hex(8), now + LEASE
                    cursor.save(using=self._using, update_fields=["lease", "leased_until"])
                    return cursor
        return None

    def read_clock(self) -> datetime:
        return self._given or clock.read(self._using)

    def count(self, outcome: str, endpoint: int, *, is_silent: bool) -> None:
        """Count a delivery. An endpoint that does not answer gets no more calls in this run."""
        setattr(self.report, outcome, getattr(self.report, outcome) + 1)
        if is_silent:
            self._silent.add(endpoint)
        self._progress(outcome)


def _find_due(using: str, now: datetime) -> QuerySet[WebhookCursor]:
    rows = WebhookCursor.objects.using(using).filter(done__lt=F("head"), next_at__lte=now, leased_until__lte=now)
    return rows.filter(_may_be_called(now), endpoint__active=True)


def _may_be_called(now: datetime) -> Q:
    return Q(endpoint__rests_until__isnull=True) | Q(endpoint__rests_until__lte=now)


def _lock(rows: QuerySet[WebhookCursor], using: str) -> QuerySet[WebhookCursor]:
    """Lock the rows, and skip those that are locked: a transaction of the project may hold one for a long time."""
    has_skip = transaction.get_connection(using).features.has_select_for_update_skip_locked
    return rows.select_for_update(skip_locked=True, of=("self",)) if has_skip else rows.select_for_update()


class _Turn:
    """Deliveries of one endpoint and session, one after the other, under one lease."""

    def __init__(self, run: _Run, cursor: WebhookCursor) -> None:
        self._run, self._cursor, self._using = run, cursor, cursor._state.db or settings().database
        self._began, self._left = run.read_clock(), TURN_DELIVERIES
        self._delivery: WebhookDelivery | None = None
        # The wait that the last answer asked for.
        self._asked: timedelta | None = None
        # The next turn comes after all others that are due, so that a session with many deliveries does not get every
        # turn.
        cursor.next_at = self._began

    @property
    def endpoint(self) -> int:
        return self._cursor.endpoint_id

    def prepare(self) -> Call | None:
        """Return the call for the next delivery. If the turn is over, release its lease and return ``None``."""
        now = self._run.read_clock()
        while self._left and now - self._began <= TURN and self._run.may_begin():
            self._left -= 1
            if not self._read_again(now):
                break
            delivery = self._delivery = self._find_next()
            if delivery is None:
                # Only up to the head that was read: deliveries that were recorded since then wait for their turn.
                self._cursor.done = self._cursor.head
                break
            delivery.attempts += 1
            delivery.last_status, delivery.last_error = None, ""
            try:
                return self._make_call(delivery, now)
            except StateUnreadable as error:
                delivery.last_error = f"The endpoint's secrets cannot be read: {error}"[:200]
                self._store_outcome(delivery, is_silent=True)
        self._release()
        return None

    def settle(self, answered: Future[Answer]) -> None:
        """Store the result of the call that was prepared last, and do what the endpoint asks for."""
        delivery, is_silent = self._delivery, False
        assert delivery is not None
        try:
            answer = answered.result()
        except CallFailed as error:
            delivery.last_error, is_silent = str(error)[:200], error.is_endpoint
        except Exception as error:
            # A fault of this app, which must not end the run for all other endpoints.
            logger.exception("A call of webhook endpoint %s failed", self.endpoint)
            delivery.last_error, is_silent = f"The call failed: {type(error).__name__}.", True
        else:
            delivery.last_status, is_silent = answer.status, self._obey(answer)
        self._store_outcome(delivery, is_silent=is_silent)

    def _obey(self, answer: Answer) -> bool:
        """Do what the endpoint asks for, and return whether to send it nothing more for now."""
        if answer.status == GONE:
            endpoints.stop_endpoint(self._cursor.endpoint, "It answered 410: it wants no more deliveries.")
            return True
        if answer.status not in TOO_MUCH:
            return False
        now = self._run.read_clock()
        # Without Retry-After, the endpoint rests only for a short time: it may have failed only because of this
        # delivery.
        self._asked = read_retry_after(answer.retry_after, now)
        endpoints.rest_endpoint(self._cursor.endpoint, now + (self._asked or timedelta(seconds=FIRST_WAIT)))
        return True

    def _read_again(self, now: datetime) -> bool:
        """Read the endpoint and the head of its cursor again, which may have changed, and return whether to
        continue.
        """
        cursor, self._asked = self._cursor, None
        found = WebhookCursor.objects.using(self._using).select_related("endpoint").filter(pk=cursor.pk).first()
        # The session, with all its rows, or the endpoint may have been deleted.
        if found is None:
            return False
        cursor.head, cursor.endpoint = found.head, found.endpoint
        rests_until = found.endpoint.rests_until
        return found.endpoint.active and (rests_until is None or rests_until <= now)

    def _find_next(self) -> WebhookDelivery | None:
        cursor = self._cursor
        mine = WebhookDelivery.objects.using(self._using).filter(session=cursor.session_id, endpoint=cursor.endpoint_id)
        waiting = mine.filter(state=State.WAITING, sequence__gt=cursor.done, sequence__lte=cursor.head)
        return waiting.order_by("sequence").first()

    def _store_outcome(self, delivery: WebhookDelivery, *, is_silent: bool) -> None:
        """Store an attempt. End the turn if the next deliveries would fail too, or must wait for this one."""
        after = self._run.read_clock()
        if delivery.last_status is not None and 200 <= delivery.last_status < 300:
            delivery.state, delivery.settled_at, outcome = State.SENT, after, "sent"
        elif after >= delivery.due_since + settings().webhook_life:
            delivery.state, delivery.settled_at, outcome = State.DEAD, after, "dead"
        else:
            last = delivery.due_since + settings().webhook_life
            wait = self._asked or compute_wait(delivery.attempts)
            self._cursor.next_at, outcome = min(after + wait, last), "failed"
        if delivery.state == State.WAITING:
            self._left = 0
        else:
            self._cursor.done = delivery.sequence
        if is_silent:
            self._left = 0
        self._store(delivery)
        self._run.count(outcome, self.endpoint, is_silent=is_silent)

    def _make_call(self, delivery: WebhookDelivery, now: datetime) -> Call:
        endpoint, body = self._cursor.endpoint, bytes(delivery.payload)
        message_id = read_message_id(body)
        # The time of this attempt: receivers refuse signatures that are too old.
        timestamp = int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "session_mgmt",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign(endpoints.read_secrets(endpoint, now), message_id, timestamp, body),
        }
        return partial(calling.post, endpoint.address, headers, body)

    def _store(self, delivery: WebhookDelivery) -> None:
        # After the lease has expired, another worker may have sent this delivery and stored its result.
        mine = WebhookDelivery.objects.using(self._using).filter(pk=delivery.pk, state=State.WAITING)
        names = ("attempts", "last_status", "last_error", "state", "settled_at")
        mine.update(**{name: getattr(delivery, name) for name in names})

    def _release(self) -> None:
        """Release the lease. If it was taken by a replay or another worker, or the row is locked, it just expires."""
        cursor = self._cursor
        with open_transaction(self._using):
            mine = WebhookCursor.objects.using(self._using).filter(pk=cursor.pk, lease=cursor.lease)
            row = _lock(mine, self._using).first()
            if row is None:
                return
            row.done, row.next_at, row.leased_until = cursor.done, cursor.next_at, self._run.read_clock()
            row.save(using=self._using, update_fields=["done", "next_at", "leased_until"])

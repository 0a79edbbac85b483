"""Send deliveries: in order for each endpoint and session, at least once, for a day.

A cursor is leased while somebody sends for it, so that several workers share the work. One that dies keeps its lease
to the end, and then another sends again: the same id, so that the receiver can tell. No transaction is open during a
call, and no lock of a writer is waited for.

Calls run in threads, one at a time for each endpoint, so that a slow one delays no other. The thread of the run alone
reads and writes the database.

What an endpoint asks for is done: one that is gone is switched off, and one that has too much to do rests, for as long
as it says.
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

# Longer than all calls of one turn and their look-ups of names, which nothing bounds but the system's resolver.
LEASE: Final = timedelta(minutes=5)
TURN: Final = timedelta(minutes=2)
# Cursors to try to lease before a run believes that others are at all of them.
CANDIDATES: Final = 50
# Deliveries of one session before another session's turn comes.
TURN_DELIVERIES: Final = 20
FIRST_WAIT: Final = 10.0
LONGEST_WAIT: Final = 3600.0
# Seconds after which a run begins nothing new, unless a call from before then still lasts: the next one goes on.
RUN_SECONDS: Final = 30.0
# Endpoints that are called at once; each thread waits for one answer.
MOST_CALLS: Final = 32
# Seconds after which a run that waits for answers looks for other endpoints again.
LOOK_SECONDS: Final = 1.0
# The receiver wants nothing more.
GONE: Final = 410
# The receiver has too much to do; all that goes to it waits, and not only what was answered so.
TOO_MUCH: Final = (429, 502, 503, 504)


@dataclass(slots=True)
class SendingReport:
    """Number of deliveries that were sent, that failed and wait, and that were given up."""

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
    """Send all that is due, for about ``seconds``; ``progress(outcome)`` is called after each delivery.

    ``now`` is of the database's clock. Once ``stop()`` is true no other call begins.
    """
    run = _Run(progress or _ignore_progress, now, monotonic() + seconds, stop or _go_on_always)
    with ThreadPoolExecutor(MOST_CALLS, "webhook") as pool:
        run.send(pool)
    return run.report


def _ignore_progress(outcome: str) -> None:
    """Do nothing: nobody watches."""


def _go_on_always() -> bool:
    return False


def compute_wait(attempts: int) -> timedelta:
    """Return the wait after so many failures, a fifth more or less so that they do not all come back at once."""
    seconds = min(FIRST_WAIT * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT)
    # How long one waits is no secret.
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))


def read_retry_after(text: str, now: datetime) -> timedelta | None:
    """Return how long an answer asks to wait, in seconds or until a date, or ``None`` for what says nothing.

    Never less than after a first failure, so that nobody is called without a rest, nor more than an hour.
    """
    try:
        if text.isascii() and text.isdecimal():
            # More digits than these are more than a century.
            seconds = float(text[:12])
        else:
            until = parsedate_to_datetime(text)
            # A date without a zone is meant in UTC, as all dates of HTTP are.
            seconds = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return timedelta(seconds=min(max(seconds, FIRST_WAIT), LONGEST_WAIT))


class _Run:
    def __init__(self, progress: Progress, now: datetime | None, until: float, stop: Callable[[], bool]) -> None:
        self.report = SendingReport()
        self._progress, self._given, self._until, self._using = progress, now, until, settings().database
        self._stop = stop
        # Endpoints that do not answer: each call would cost the whole timeout.
        self._silent: set[int] = set()
        # Turns whose endpoint is being called, with the moment at which the call began.
        self._calls: dict[Future[Answer], tuple[_Turn, float]] = {}

    def send(self, pool: ThreadPoolExecutor) -> None:
        """Call each endpoint of which something is due, one at a time, until nothing is due or the time is over."""
        self._begin_turns(pool)
        while self._calls:
            settled, _ = wait(self._calls, LOOK_SECONDS, FIRST_COMPLETED)
            for future in settled:
                turn, _ = self._calls.pop(future)
                turn.settle(future)
                self._go_on(turn, pool)
            self._begin_turns(pool)

    def may_begin(self) -> bool:
        """Tell whether another call may begin: those that end meanwhile do not wait for the slow ones."""
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
        """Lease the cursor that has waited longest, of those that nobody else holds."""
        now = self.read_clock()
        left_out = self._silent | {turn.endpoint for turn, _ in self._calls.values()}
        due = _find_due(self._using, now).exclude(endpoint__in=left_out).order_by("next_at", "pk")
        # Looked at without a lock, because every run asks and mostly there is nothing.
        for pk in list(due.values_list("pk", flat=True)[:CANDIDATES]):
            with open_transaction(self._using):
                # Asked again under the lock: another worker may have leased it since.
                cursor = _lock(due.filter(pk=pk), self._using).select_related("endpoint").first()
                if cursor is not None:
                    cursor.lease, cursor.leased_until = secrets.token_hex(8), now + LEASE
                    cursor.save(using=self._using, update_fields=["lease", "leased_until"])
                    return cursor
        return None

    def read_clock(self) -> datetime:
        return self._given or clock.read(self._using)

    def count(self, outcome: str, endpoint: int, *, is_silent: bool) -> None:
        """Count a delivery, and leave an endpoint that does not answer for the rest of the run."""
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
    """Lock the rows that nobody else holds: a transaction of the project may hold one for long."""
    has_skip = transaction.get_connection(using).features.has_select_for_update_skip_locked
    return rows.select_for_update(skip_locked=True, of=("self",)) if has_skip else rows.select_for_update()


class _Turn:
    """Deliveries of one endpoint and session, one after the other, under one lease."""

    def __init__(self, run: _Run, cursor: WebhookCursor) -> None:
        self._run, self._cursor, self._using = run, cursor, cursor._state.db or settings().database
        self._began, self._left = run.read_clock(), TURN_DELIVERIES
        self._delivery: WebhookDelivery | None = None
        # Wait that the last answer has asked for.
        self._asked: timedelta | None = None
        # Behind all others that are due: a session with many deliveries does not have every turn.
        cursor.next_at = self._began

    @property
    def endpoint(self) -> int:
        return self._cursor.endpoint_id

    def prepare(self) -> Call | None:
        """Return the call for the next delivery; ``None`` if the turn is over, and its lease given back."""
        now = self._run.read_clock()
        while self._left and now - self._began <= TURN and self._run.may_begin():
            self._left -= 1
            if not self._read_again(now):
                break
            delivery = self._delivery = self._find_next()
            if delivery is None:
                # As far as it was when it was looked for: what has been recorded since waits for its turn.
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
        """Store how the call went that was prepared last, and do what the endpoint asks for."""
        delivery, is_silent = self._delivery, False
        assert delivery is not None
        try:
            answer = answered.result()
        except CallFailed as error:
            delivery.last_error, is_silent = str(error)[:200], error.is_endpoint
        except Exception as error:
            # A fault of ours, which must not end the run for all other endpoints.
            logger.exception("A call of webhook endpoint %s failed", self.endpoint)
            delivery.last_error, is_silent = f"The call failed: {type(error).__name__}.", True
        else:
            delivery.last_status, is_silent = answer.status, self._obey(answer)
        self._store_outcome(delivery, is_silent=is_silent)

    def _obey(self, answer: Answer) -> bool:
        """Do what the endpoint asks for, and return whether it is to be left alone."""
        if answer.status == GONE:
            endpoints.stop_endpoint(self._cursor.endpoint, "It answered 410: it wants no more deliveries.")
            return True
        if answer.status not in TOO_MUCH:
            return False
        now = self._run.read_clock()
        # Without a word of its own not as long as the delivery, which may be all that it fails at.
        self._asked = read_retry_after(answer.retry_after, now)
        endpoints.rest_endpoint(self._cursor.endpoint, now + (self._asked or timedelta(seconds=FIRST_WAIT)))
        return True

    def _read_again(self, now: datetime) -> bool:
        """Read the endpoint and its cursor, which others may have changed, and return whether to go on."""
        cursor, self._asked = self._cursor, None
        found = WebhookCursor.objects.using(self._using).select_related("endpoint").filter(pk=cursor.pk).first()
        # The session may have been deleted, with all that hangs on it, or the endpoint.
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
        """Store an attempt, and end the turn if others would fare no better now, or must wait behind it."""
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
        # Of this attempt: receivers refuse what was signed long ago.
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
        # Another one may have sent it after this one's lease, and settled it.
        mine = WebhookDelivery.objects.using(self._using).filter(pk=delivery.pk, state=State.WAITING)
        names = ("attempts", "last_status", "last_error", "state", "settled_at")
        mine.update(**{name: getattr(delivery, name) for name in names})

    def _release(self) -> None:
        """Give the lease back. If a replay or somebody else has taken it, or a writer holds the row, it runs out."""
        cursor = self._cursor
        with open_transaction(self._using):
            mine = WebhookCursor.objects.using(self._using).filter(pk=cursor.pk, lease=cursor.lease)
            row = _lock(mine, self._using).first()
            if row is None:
                return
            row.done, row.next_at, row.leased_until = cursor.done, cursor.next_at, self._run.read_clock()
            row.save(using=self._using, update_fields=["done", "next_at", "leased_until"])

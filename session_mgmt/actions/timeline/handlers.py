"""Run durable event handlers: ``@on(type, durable=True)`` runs at least once for every entry, whatever dies."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any, TypeAlias

import orjson
from django.db import connections, transaction

from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.conf import settings
from session_mgmt.models import SessionEvent
from session_mgmt.models.late_transaction import open_late_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import OUTBOX
from session_mgmt.registry import registry
from session_mgmt.user_code import call_sync

logger = logging.getLogger(__name__)

_NO_GATE: AbstractContextManager[Any] = nullcontext()

# Events of a broken handler stay at the front: skip at most this many pages of them.
SKIPPED_PAGES = 10
FIRST_WAIT = 1.0
LONGEST_WAIT = 300.0
_MOST_REMEMBERED = 10_000

# Session and number of an event. Rows' ids would be used again where a test is rolled back.
Place: TypeAlias = tuple[Any, ...]


class Failures:
    """Events whose handler failed, in the memory of one process: each is tried again after a wait that doubles.

    Tried with every round, one broken handler would fill the log and use up the rounds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Times at which an event may be tried again, and the wait before.
        self._waits: OrderedDict[Place, tuple[float, float]] = OrderedDict()
        self._told: set[tuple[str, str]] = set()

    def is_waiting(self, event: Place, now: float) -> bool:
        """Return whether it is too early to try the event again."""
        with self._lock:
            return self._waits.get(event, (0.0, 0.0))[0] > now

    def add(self, event: Place, type_: str, error: Exception, now: float) -> None:
        """Note a failure; log the first of its kind."""
        with self._lock:
            wait = min(self._waits.pop(event, (0.0, FIRST_WAIT / 2))[1] * 2, LONGEST_WAIT)
            self._waits[event] = (now + wait, wait)
            if len(self._waits) > _MOST_REMEMBERED:
                # Bounded, because events of a broken handler may come without end; one
                # that is forgotten is tried sooner.
                self._waits.popitem(last=False)
            kind = (type_, type(error).__name__)
            is_new = kind not in self._told
            self._told.add(kind)
        if is_new:
            logger.error("A durable handler of %s failed; it will be tried again", type_, exc_info=error)

    def remove(self, event: Place, type_: str) -> None:
        """Note a success: the next failure of this type is told again."""
        with self._lock:
            if self._waits.pop(event, None) is not None:
                self._told = {kind for kind in self._told if kind[0] != type_}


failures = Failures()


def outbox_waits() -> bool:
    """Return whether there is anything to drain; one indexed look."""
    # Asked every second: compiling it by the ORM would cost ten times as much as the look.
    statements = Statements(connections[settings().database])
    return bool(statements.fetch(f"SELECT 1 FROM {OUTBOX} WHERE refused = '' LIMIT 1"))


def events_wait() -> bool:
    """Return whether an event waits for its durable handlers."""
    return bool(registry.durable) and SessionEvent.objects.using(settings().database).filter(pending=True).exists()


def find_waiting() -> tuple[bool, bool]:
    """Return whether anything waits in the outbox, and whether an event waits for its durable handlers."""
    return outbox_waits(), events_wait()


def run_pending(limit: int = 100, *, gate: AbstractContextManager[Any] = _NO_GATE, now: float | None = None) -> int:
    """Run the durable handlers of up to ``limit`` events, oldest first, and return how many were done.

    The handlers and the mark that they have run commit together, so a handler's writes to this database are kept
    exactly once; its effects elsewhere happen at least once. One that fails is tried again later, after waits that
    grow to five minutes, and holds up no other event. ``gate`` is held while something is written; ``now`` is of any
    clock that does not go back.
    """
    now = monotonic() if now is None else now
    using = settings().database
    waiting = SessionEvent.objects.using(using).filter(pending=True).order_by("id").values_list("id", "session", "seq")
    done, tried, after = 0, 0, 0
    while done < limit and tried < limit * SKIPPED_PAGES and (page := list(waiting.filter(id__gt=after)[:limit])):
        ready = [(id_, place) for id_, *place in page if not failures.is_waiting(tuple(place), now)]
        done += sum(_run_handlers(using, id_, tuple(place), gate, now) for id_, place in ready)
        tried, after = tried + len(page), page[-1][0]
    return done


class _HandledElsewhere(Exception):
    """Reason to roll back: another process was faster."""


def _run_handlers(using: str, key: int, place: Place, gate: AbstractContextManager[Any], now: float) -> bool:
    type_ = ""
    try:
        # One transaction for each event: a handler that fails undoes only its own work.
        with open_late_transaction(using, gate):
            # Two workers share the queue: each takes the events that the other does not hold.
            mine = SessionEvent.objects.using(using).select_for_update(skip_locked=_can_skip(using))
            # Read again under the lock: another worker may have done it since the page was read.
            row = mine.filter(pk=key, pending=True).first()
            if row is None:
                return False
            event = EmittedEvent(row.session_id, row.type, orjson.loads(bytes(row.data)), row.seq, row.pk)
            type_ = row.type
            for handler in registry.list_handlers(row.type, durable=True):
                # On this thread and inside the transaction, so that its writes commit with the mark.
                call_sync(handler, event)
            # SQLite locks no row, so there the mark decides which of two processes keeps its effects.
            if not SessionEvent.objects.using(using).filter(pk=key, pending=True).update(pending=False):
                raise _HandledElsewhere
    except _HandledElsewhere:
        return False
    except Exception as error:
        # Where two processes have run it at once, the slower one may have failed at what the other has written.
        if SessionEvent.objects.using(using).filter(pk=key, pending=True).exists():
            failures.add(place, type_, error, now)
        return False
    failures.remove(place, type_)
    return True


def _can_skip(using: str) -> bool:
    return bool(transaction.get_connection(using).features.has_select_for_update_skip_locked)

"""Run durable event handlers: ``@on(type, durable=True)`` runs at least once for every event, even if a process dies.

Each handler has its own transaction, and its own mark that it has run, so a handler that fails is tried again alone.
"""

from __future__ import annotations

import logging
import threading
import traceback
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

import orjson
from django.db import connections, transaction

from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.conf import settings
from session_mgmt.models import HandlerRun, SessionEvent, clock
from session_mgmt.models.late_transaction import open_late_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import OUTBOX
from session_mgmt.registry import EventHandler, registry
from session_mgmt.user_code import call_sync, name_of

logger = logging.getLogger(__name__)

_NO_GATE: AbstractContextManager[Any] = nullcontext()

# If all handlers fail: the most pages of events to begin in one run.
MOST_PAGES = 10
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=5)


class _Told:
    """Kinds of failures that are in the log already: a broken handler would fill the log otherwise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: set[tuple[str, str]] = set()

    def tell(self, handler: str, error: Exception) -> None:
        """Log the first failure of each kind."""
        kind = (handler, type(error).__name__)
        with self._lock:
            is_new = kind not in self._kinds
            self._kinds.add(kind)
        if is_new:
            logger.error("The durable handler %s failed; it will be tried again", handler, exc_info=error)

    def forget(self, handler: str) -> None:
        """Record a success, so that the next failure of this handler is logged again."""
        with self._lock:
            self._kinds = {kind for kind in self._kinds if kind[0] != handler}


_told = _Told()


def outbox_waits() -> bool:
    """Return whether the outbox has entries to apply; it takes one lookup in an index."""
    # This runs every second, and the ORM would take ten times as long to compile the query as the query takes.
    statements = Statements(connections[settings().database])
    return bool(statements.fetch(f"SELECT 1 FROM {OUTBOX} WHERE refused = '' LIMIT 1"))


def events_wait() -> bool:
    """Return whether an event waits for a durable handler that may run now."""
    if not registry.durable:
        return False
    using = settings().database
    if SessionEvent.objects.using(using).filter(pending=True).exists():
        return True
    runs = HandlerRun.objects.using(using)
    # Usually there are none, and then the query for the time is saved.
    return runs.exists() and runs.filter(next_at__lte=clock.read(using)).exists()


def find_waiting() -> tuple[bool, bool]:
    """Return whether anything waits in the outbox, and whether an event waits for its durable handlers."""
    return outbox_waits(), events_wait()


def run_pending(limit: int = 100, *, gate: AbstractContextManager[Any] = _NO_GATE, now: datetime | None = None) -> int:
    """Run durable handlers, oldest events first: those of up to ``limit`` new events, and up to ``limit`` that were
    left. Return how many have run without an error.

    A handler and the mark that it has run commit together, so its writes to this database are stored exactly once; its
    effects elsewhere happen at least once. A handler that fails is tried again later, alone, after waits that grow to
    five minutes, and does not delay other events. ``gate`` is held during writes; ``now`` is a time of the database's
    clock.
    """
    run = _Run(settings().database, gate, now)
    return run.begin_events(limit) + run.run_left(limit)


class _HandledElsewhere(Exception):
    """Reason to roll back: another process has already handled the event."""


class _Run:
    def __init__(self, using: str, gate: AbstractContextManager[Any], now: datetime | None) -> None:
        self._using, self._gate, self._given = using, gate, now

    def begin_events(self, limit: int) -> int:
        """Run the handlers of new events, oldest first, until ``limit`` have succeeded; return their number."""
        new = SessionEvent.objects.using(self._using).filter(pending=True).order_by("id").values_list("id", flat=True)
        done, tried, after = 0, 0, 0
        while done < limit and tried < limit * MOST_PAGES and (page := list(new.filter(id__gt=after)[:limit])):
            done += sum(map(self._begin_event, page))
            tried, after = tried + len(page), page[-1]
        return done

    def run_left(self, limit: int) -> int:
        """Run handlers that failed before, and handlers whose process died before their turn."""
        due = HandlerRun.objects.using(self._using).filter(next_at__lte=self._read_clock())
        return sum(map(self._run_one, list(due.order_by("next_at", "id").values_list("id", flat=True)[:limit])))

    def _begin_event(self, key: int) -> int:
        """Run the first handler in the transaction that marks the event as begun, and then the others."""
        name = ""
        try:
            with open_late_transaction(self._using, self._gate):
                row = self._take_event(key)
                if row is None:
                    return 0
                names = _list_names(row.type)
                for name in names[:1]:
                    _call(name, _read_event(row, row.pk))
                left = self._mark_begun(row, names[1:])
        except _HandledElsewhere:
            return 0
        except Exception as error:
            if not name:
                raise
            return sum(map(self._run_one, self._put_off(key, name, error)))
        _told.forget(name)
        return len(names[:1]) + sum(map(self._run_one, left))

    def _take_event(self, key: int) -> SessionEvent | None:
        # Two workers share the queue: each skips the events that the other has locked.
        mine = SessionEvent.objects.using(self._using).select_for_update(skip_locked=_can_skip(self._using))
        # Read again under the lock: another worker may have begun the event since the page was read.
        return mine.filter(pk=key, pending=True).first()

    def _mark_begun(self, row: SessionEvent, names: list[str]) -> list[int]:
        """Mark an event as begun, store a run for each handler that is left, and return the keys of these runs."""
        # SQLite does not lock rows, so there this update decides which of two processes keeps its writes.
        if not SessionEvent.objects.using(self._using).filter(pk=row.pk, pending=True).update(pending=False):
            raise _HandledElsewhere
        if not names:
            return []
        facts = {"session_id": row.session_id, "seq": row.seq, "event": row.pk, "type": row.type, "at": row.at}
        now = self._read_clock()
        runs = [HandlerRun(**facts, data=row.data, handler=name, next_at=now) for name in names]
        return [run.pk for run in HandlerRun.objects.using(self._using).bulk_create(runs)]

    def _put_off(self, key: int, name: str, error: Exception) -> list[int]:
        """Store runs for all handlers of an event whose first handler has failed, so that each is tried alone; return
        the keys of those to run now.
        """
        try:
            with open_late_transaction(self._using, self._gate):
                row = self._take_event(key)
                if row is None:
                    # Two processes ran the handler at once, and the slower one may have failed because of the other's
                    # writes.
                    return []
                failed, *left = self._mark_begun(row, [name, *(one for one in _list_names(row.type) if one != name)])
                self._note_failure(failed, 1, error)
        except _HandledElsewhere:
            return []
        _told.tell(name, error)
        return left

    def _run_one(self, key: int) -> bool:
        row = None
        try:
            with open_late_transaction(self._using, self._gate):
                mine = HandlerRun.objects.using(self._using).select_for_update(skip_locked=_can_skip(self._using))
                row = mine.filter(pk=key, next_at__lte=self._read_clock()).first()
                if row is None:
                    return False
                _call(row.handler, _read_event(row, row.event))
                if not HandlerRun.objects.using(self._using).filter(pk=key).delete()[0]:
                    raise _HandledElsewhere
        except _HandledElsewhere:
            return False
        except Exception as error:
            if row is None:
                raise
            with open_late_transaction(self._using, self._gate):
                is_left = self._note_failure(key, row.attempts + 1, error)
            if is_left:
                _told.tell(row.handler, error)
            return False
        _told.forget(row.handler)
        return True

    def _note_failure(self, key: int, attempts: int, error: Exception) -> bool:
        wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), LONGEST_WAIT)
        text = _describe_failure(error)
        return bool(
            HandlerRun.objects.using(self._using)
            .filter(pk=key)
            .update(attempts=attempts, error=text, next_at=self._read_clock() + wait)
        )

    def _read_clock(self) -> datetime:
        return self._given or clock.read(self._using)


def _describe_failure(error: Exception) -> str:
    """Return the type and the place of an error, which staff may read. Its text may hold people's data; only the log
    has it.
    """
    if isinstance(error, _Unknown):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.name}, {PurePath(frame.filename).name} line {frame.lineno}"[:500]


class _Unknown(Exception):
    """Error for a handler whose name is not declared: it was renamed or removed, or this process has other code."""


def _list_names(type_: str) -> list[str]:
    """Return the names of the durable handlers of a type, each once."""
    return list(dict.fromkeys(map(_name_mark, registry.list_handlers(type_, durable=True))))


def _name_mark(handler: EventHandler) -> str:
    return name_of(handler)[-300:]


def _call(name: str, event: EmittedEvent) -> None:
    """Call the handlers of one name; functions that are created in a loop share their name."""
    named = [one for one in registry.list_handlers(event.type, durable=True) if _name_mark(one) == name]
    if not named:
        raise _Unknown("no durable handler of this name is declared")
    for handler in named:
        # Call it on this thread and inside the transaction, so that its writes commit with the mark.
        call_sync(handler, event)


def _read_event(row: SessionEvent | HandlerRun, id_: int) -> EmittedEvent:
    return EmittedEvent(row.session_id, row.type, orjson.loads(bytes(row.data)), row.seq, id_)


def _can_skip(using: str) -> bool:
    return bool(transaction.get_connection(using).features.has_select_for_update_skip_locked)

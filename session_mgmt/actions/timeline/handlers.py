"""Run durable event handlers: ``@on(type, durable=True)`` runs at least once for every entry, whatever dies."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import orjson
from django.db import transaction

from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.conf import settings
from session_mgmt.models import Outbox, SessionEvent
from session_mgmt.models.late_transaction import open_late_transaction
from session_mgmt.registry import registry
from session_mgmt.user_code import call_sync

logger = logging.getLogger(__name__)

_NO_GATE: AbstractContextManager[Any] = nullcontext()

# Events of a broken handler stay at the front: skip at most this many pages of them.
SKIPPED_PAGES = 10


def outbox_waits() -> bool:
    """Return whether there is anything to drain; one indexed look."""
    return Outbox.objects.using(settings().database).filter(refused="").exists()


def events_wait() -> bool:
    """Return whether an event waits for its durable handlers."""
    return bool(registry.durable) and SessionEvent.objects.using(settings().database).filter(pending=True).exists()


def run_pending(limit: int = 100, *, gate: AbstractContextManager[Any] = _NO_GATE) -> int:
    """Run the durable handlers of up to ``limit`` events, oldest first, and return how many were done.

    The handlers and the mark that they have run commit together, so a handler's writes to this database are kept
    exactly once; its effects elsewhere happen at least once. One that fails is tried again later and holds up no
    other event. ``gate`` is held while something is written.
    """
    using = settings().database
    waiting = SessionEvent.objects.using(using).filter(pending=True).order_by("id").values_list("id", flat=True)
    done, tried, after = 0, 0, 0
    while done < limit and tried < limit * SKIPPED_PAGES and (page := list(waiting.filter(id__gt=after)[:limit])):
        done += sum(_run_handlers(using, key, gate) for key in page)
        tried, after = tried + len(page), page[-1]
    return done


class _HandledElsewhere(Exception):
    """Reason to roll back: another process was faster."""


def _run_handlers(using: str, key: int, gate: AbstractContextManager[Any]) -> bool:
    try:
        with open_late_transaction(using, gate):
            # Two workers share the queue: each takes the events that the other does not hold.
            mine = SessionEvent.objects.using(using).select_for_update(skip_locked=_can_skip(using))
            row = mine.filter(pk=key, pending=True).first()
            if row is None:
                return False
            event = EmittedEvent(row.session_id, row.type, orjson.loads(bytes(row.data)), row.seq, row.pk)
            for handler in registry.list_handlers(row.type, durable=True):
                call_sync(handler, event)
            # SQLite locks no row, so there the mark decides which of two processes keeps its effects.
            if not SessionEvent.objects.using(using).filter(pk=key, pending=True).update(pending=False):
                raise _HandledElsewhere
    except _HandledElsewhere:
        return False
    except Exception:
        logger.exception("A durable handler failed; it will be tried again")
        return False
    return True


def _can_skip(using: str) -> bool:
    return bool(transaction.get_connection(using).features.has_select_for_update_skip_locked)

"""Durable event handlers: ``@on(type, durable=True)`` runs at least once for every entry, whatever dies in between."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import orjson
from django.db import transaction

from session_mgmt.conf import settings
from session_mgmt.models import Outbox, SessionEvent
from session_mgmt.registry import registry

logger = logging.getLogger("session_mgmt.handling")

# Events of a broken handler stay at the front; so many pages of them are passed on the way to others.
PAST_FAILURES = 10


def outbox_waits() -> bool:
    """Whether there is anything to drain; one indexed look."""
    return Outbox.objects.using(settings().database).filter(refused="").exists()


def events_wait() -> bool:
    """Whether an event waits for its durable handlers."""
    return bool(registry.durable) and SessionEvent.objects.using(settings().database).filter(pending=True).exists()


def run_pending(limit: int = 100) -> int:
    """Run the durable handlers of up to ``limit`` events, oldest first; returns how many were done.

    The handlers and the mark that they have run commit together, so what a handler writes to this database is kept
    exactly once; what it does elsewhere happens at least once. One that fails is tried again later and holds up no
    other event.
    """
    using = settings().database
    waiting = SessionEvent.objects.using(using).filter(pending=True).order_by("id").values_list("id", flat=True)
    done, tried, after = 0, 0, 0
    while done < limit and tried < limit * PAST_FAILURES and (page := list(waiting.filter(id__gt=after)[:limit])):
        done += sum(_run_one(using, event) for event in page)
        tried, after = tried + len(page), page[-1]
    return done


def _run_one(using: str, event: int) -> bool:
    try:
        with transaction.atomic(using=using):
            mine = SessionEvent.objects.using(using).select_for_update(skip_locked=_skips(using))
            row = mine.filter(pk=event, pending=True).first()
            if row is None:
                return False
            told = SimpleNamespace(
                session_id=row.session_id, type=row.type, data=orjson.loads(bytes(row.data)), seq=row.seq, id=row.pk
            )
            for handler in registry.handlers(row.type, durable=True):
                handler(told)
            SessionEvent.objects.using(using).filter(pk=event).update(pending=False)
    except Exception:
        logger.exception("A durable handler failed; it will be tried again")
        return False
    return True


def _skips(using: str) -> bool:
    return bool(transaction.get_connection(using).features.has_select_for_update_skip_locked)

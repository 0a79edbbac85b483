"""Notify after a commit, and only then: doorbells for processes that serve logs, Django signals for the project.

Both are sent at most once and may be lost; entries of logs are not. A hook that fails must not make the caller believe
that its transaction failed, so every hook is robust.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from session_mgmt.actions.outcome import Appended
from session_mgmt.backends import doorbell
from session_mgmt.documents import pointer
from session_mgmt.models.isolation import call_after_commit
from session_mgmt.protocol.codes import Close
from session_mgmt.registry import registry
from session_mgmt.signals import session_event, state_changed
from session_mgmt.user_code import call_sync

logger = logging.getLogger(__name__)

CONTROL = "control"
OUTBOX = "outbox"


@dataclass(frozen=True, slots=True)
class EmittedEvent:
    """Event as ``@on`` handlers get it: ``seq`` numbers it in the session's log, ``id`` is its row for durable ones."""

    session_id: uuid.UUID | None
    type: str
    data: Any
    seq: int | None
    id: int | None = None


# Set on threads of ours, which may hold a lock as well: a slow receiver would keep everybody waiting.
_passed_to: ContextVar[Callable[[list[EmittedEvent]], None] | None] = ContextVar("passed_to", default=None)


def after_commit(
    using: str,
    *,
    rings: dict[str, int] | None = None,
    events: Iterable[EmittedEvent] = (),
    orders: dict[str, Any] | None = None,
) -> None:
    """Once the current transaction has committed, ring these logs, send these events, and give ``orders`` to all
    processes.
    """
    transaction.on_commit(partial(_notify, rings or {}, list(events), orders or {}), using=using, robust=True)


def _notify(heads: dict[str, int], events: list[EmittedEvent], orders: dict[str, Any]) -> None:
    doorbell().ring(heads)
    if orders:
        doorbell().ring({CONTROL: 0}, orders)
    send_events(events)


def hears_changes() -> bool:
    """Return whether the project has a receiver for new versions of documents."""
    return bool(state_changed.has_listeners())


def has_listeners(events: Iterable[EmittedEvent]) -> bool:
    """Return whether the project has a receiver or a handler for a new version, or for one of these events."""
    if hears_changes() or session_event.has_listeners():
        return True
    return any(registry.list_handlers(event.type, durable=False) for event in events)


@contextmanager
def pass_events_on(receive: Callable[[list[EmittedEvent]], None]) -> Iterator[None]:
    """Pass the events of this thread to ``receive`` while it works: it is one of ours, and others wait for it."""
    before = _passed_to.set(receive)
    try:
        yield
    finally:
        _passed_to.reset(before)


def send_events(events: Iterable[EmittedEvent]) -> None:
    """Have the receivers of these events called: here and now, or by whoever this thread passes them to."""
    receive = _passed_to.get()
    if receive is None:
        call_receivers(events)
    else:
        receive(list(events))


def call_receivers(events: Iterable[EmittedEvent]) -> None:
    """Call signals and ``@on`` handlers that are not durable; log a failing one and go on with the others."""
    for event in events:
        send_signal(session_event, session_id=event.session_id, type=event.type, data=event.data, seq=event.seq)
        for handler in registry.list_handlers(event.type, durable=False):
            try:
                call_sync(handler, event)
            except Exception:
                logger.exception("An event handler failed")


def send_changes(changes: Iterable[Any]) -> None:
    """Send ``state_changed`` for every new version."""
    if not hears_changes():
        return
    for change in changes:
        send_signal(
            state_changed,
            session_id=change.session,
            document=change.name,
            version=change.version,
            paths=tuple(pointer.strip_marks(change.paths)),
            client_id=change.writer or None,
        )


def send_signal(signal: Signal, **facts: Any) -> None:
    """Send a signal of this app; log a receiver that fails."""
    try:
        call_sync(signal.send_robust, None, **facts)
    except Exception:
        # A receiver that quits, which Django does not catch.
        logger.exception("A receiver of a signal failed")


def ring_appended(appended: dict[str, Appended]) -> None:
    """Notify of the logs that a lane has written."""
    doorbell().ring({key: log.entries[-1].offset for key, log in appended.items()})


def ring_attached(heads: dict[str, int], replaced: Sequence[tuple[int, int]]) -> None:
    """Ring the sessions' logs of a group of connects, and name the clients that came back, with their generations."""
    doorbell().ring(heads)
    if replaced:
        # A ring of its own, because one with a payload is never merged with others.
        doorbell().ring({CONTROL: 0}, {"replaced": [list(pair) for pair in replaced]})


def ring_outbox(using: str) -> None:
    """Notify after the commit of the current transaction that the outbox has entries."""
    call_after_commit(using, lambda: doorbell().ring({OUTBOX: 0}))


def order_close(sessions: Iterable[uuid.UUID], code: int, reason: str = "") -> dict[str, Any]:
    """Return the order to close the connections of sessions; their clients get the code, and the reason if given."""
    told = {"reason": reason} if reason else {}
    return {"close": [session.hex for session in sessions], "code": int(code), **told}


def order_stop(sessions: Iterable[uuid.UUID], fenced: Iterable[tuple[int, int]], code: int) -> dict[str, Any]:
    """Return the order to close the connections of sessions' clients that are older than these generations, and to ask
    the application anew when they come back.
    """
    told = [session.hex for session in sessions]
    return {"stop": [list(pair) for pair in fenced], "code": int(code), "forget": told}


def tell_departure(client: int, generation: int) -> None:
    """Have whoever holds a poll or a stream of a client that has left for good end it."""
    doorbell().ring({CONTROL: 0}, {"stop": [[client, generation + 1]], "code": int(Close.NORMAL)})


def order_look(sessions: Iterable[uuid.UUID]) -> dict[str, Any]:
    """Return the order to look at once how sessions stand, whoever serves them."""
    return {"look": [session.hex for session in sessions]}


def look_at_sessions(sessions: Sequence[uuid.UUID]) -> None:
    """Have somebody who serves these sessions look at them at once."""
    if sessions:
        doorbell().ring({CONTROL: 0}, order_look(sessions))


def send_ephemeral(topic_key: str, topic: str, data: Any) -> None:
    """Send an ephemeral message, which lives in the doorbell and nowhere else."""
    # With 0 as the head: the log has not moved, and nobody is to read it.
    doorbell().ring({topic_key: 0}, {"topic": topic, "data": data})

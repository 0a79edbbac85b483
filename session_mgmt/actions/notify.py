"""Telling after commit, and only then: doorbells for those who serve logs, Django signals for the project.

Both are at most once and may be lost; the logs themselves are not. A hook that fails must not make the caller believe
that its transaction failed, so every hook is robust.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

from django.db import transaction

from session_mgmt.actions.outcome import Appended
from session_mgmt.backends import doorbell
from session_mgmt.registry import registry
from session_mgmt.signals import session_event, state_changed

logger = logging.getLogger("session_mgmt.notices")

Fact = tuple[uuid.UUID | None, str, Any, int | None]
CONTROL = "control"
OUTBOX = "outbox"


def after_commit(
    using: str,
    *,
    rings: dict[str, int] | None = None,
    facts: Iterable[Fact] = (),
    ended: Iterable[uuid.UUID] = (),
    payload: dict[str, Any] | None = None,
) -> None:
    """Once the current transaction has committed: ring these logs, send these events, stop these sessions'
    connections.
    """
    stopped = [session.hex for session in ended]
    orders = {**(payload or {}), **({"ended": stopped} if stopped else {})}
    transaction.on_commit(partial(_tell, rings or {}, list(facts), orders), using=using, robust=True)


def _tell(heads: dict[str, int], facts: list[Fact], orders: dict[str, Any]) -> None:
    doorbell().ring(heads)
    if orders:
        doorbell().ring({CONTROL: 0}, orders)
    send_events(facts)


def send_events(facts: Iterable[Fact]) -> None:
    """Signals and ``@on`` handlers that are not durable; a failing receiver is logged and does not stop the others."""
    for session, type_, data, seq in facts:
        session_event.send_robust(sender=None, session_id=session, type=type_, data=data, seq=seq)
        for handler in registry.handlers(type_, durable=False):
            try:
                handler(SimpleNamespace(session_id=session, type=type_, data=data, seq=seq))
            except Exception:
                logger.exception("An event handler failed")


def send_changes(changes: Iterable[Any]) -> None:
    """``state_changed`` for every new version."""
    if not state_changed.has_listeners():
        return
    for change in changes:
        state_changed.send_robust(
            sender=None,
            session_id=change.session,
            document=change.name,
            version=change.version,
            paths=change.paths,
            client_id=change.writer or None,
        )


def ring_appended(appended: dict[str, Appended]) -> None:
    """Ring for what a lane has committed."""
    doorbell().ring({key: log.entries[-1].offset for key, log in appended.items()})


def ring_outbox(using: str) -> None:
    """Wake whoever drains, once the current transaction has committed."""
    transaction.on_commit(lambda: doorbell().ring({OUTBOX: 0}), using=using, robust=True)


def detach(sessions: Iterable[uuid.UUID], code: int) -> None:
    """Close the connections of sessions on whatever process holds them."""
    doorbell().ring({CONTROL: 0}, {"close": [session.hex for session in sessions], "code": code})


def carry(topic_key: str, topic: str, data: Any) -> None:
    """An ephemeral message: it lives in the doorbell and nowhere else."""
    doorbell().ring({topic_key: 0}, {"topic": topic, "data": data})

"""What went wrong with a session, for its log and its people: refused tokens and faults.

Clients in a loop could fill a disk with these; so there is one of a kind per session, or per address, in a while.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import connections, transaction

from session_mgmt.actions import audit, notify
from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.timeline import events
from session_mgmt.actions.timeline.events import record
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionEnded, SessionMgmtError, TokenExpired
from session_mgmt.models import AuditEntry, SessionEvent, Token, clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import events as names

ONE_IN = timedelta(seconds=10)


def auth_refused(secret: str, error: SessionMgmtError, *, ip: str | None = None, now: datetime | None = None) -> None:
    """A token was refused: ``auth_required`` if it only expired, else ``auth_failed``; for nobody's in the audit trail.

    A session that has ended is told nothing more: its log says how it ended.
    """
    using = settings().database
    now = now or clock.read(using)
    token = Token.objects.using(using).filter(digest=tokens.digest(secret)).values("session_id").first()
    type_ = names.AUTH_REQUIRED if isinstance(error, TokenExpired) else names.AUTH_FAILED
    if token is None:
        _tell_nobodys(using, type_, error, ip, now)
    elif not isinstance(error, SessionEnded):
        _tell(using, token["session_id"], type_, error, now)


def failed(session: uuid.UUID, error: SessionMgmtError, *, now: datetime | None = None) -> None:
    """The server, or the application's code in it, failed for this session: ``error_occurred``."""
    using = settings().database
    _tell(using, session, names.ERROR_OCCURRED, error, now or clock.read(using))


def _tell(using: str, session: uuid.UUID, type_: str, error: SessionMgmtError, now: datetime) -> None:
    lately = SessionEvent.objects.using(using).filter(session=session, type=type_, at__gt=now - ONE_IN)
    with transaction.atomic(using=using):
        if lately.exists():
            return
        entry = record(session, type_, {"name": error.name, "code": error.number})
        ledger = events.append(Statements(connections[using]), [entry], at=now)
        notify.after_commit(using, rings=ledger.heads(), facts=ledger.facts())


def _tell_nobodys(using: str, type_: str, error: SessionMgmtError, ip: str | None, now: datetime) -> None:
    """Signals for everyone who tries; entries for one try of an address in a while."""
    lately = AuditEntry.objects.using(using).filter(at__gt=now - ONE_IN, action=type_, ip=ip)
    if not lately.exists():
        audit.note(type_, ip=ip, name=error.name)
    notify.send_events([(None, type_, {"name": error.name, "code": error.number}, None)])

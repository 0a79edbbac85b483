"""Record incidents of a session, for its log and its people: refused tokens and faults.

Clients in a loop could fill a disk with these; so there is one of a kind per session, or per address, in a while.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from session_mgmt.actions import audit, notify
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionEnded, SessionMgmtError, TokenExpired
from session_mgmt.models import AuditEntry, SessionEvent, Token, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol import events as names

ONE_IN = timedelta(seconds=10)


def record_refusal(secret: str, error: SessionMgmtError, *, ip: str | None = None, now: datetime | None = None) -> None:
    """Record that a token was refused: ``auth_required`` if it only expired, else ``auth_failed``. A token of nobody
    goes to the audit trail.

    A session that has ended is told nothing more: its log says how it ended.
    """
    using = settings().database
    now = now or clock.read(using)
    token = Token.objects.using(using).filter(digest=tokens.hash_token(secret)).values("session_id").first()
    type_ = names.AUTH_REQUIRED if isinstance(error, TokenExpired) else names.AUTH_FAILED
    if token is None:
        _report_unknown_token(using, type_, error, ip, now)
    elif not isinstance(error, SessionEnded):
        _record_once(using, token["session_id"], type_, error, now)


def record_failure(session: uuid.UUID, error: SessionMgmtError, *, now: datetime | None = None) -> None:
    """Record that the server, or the application's code in it, failed for this session: ``error_occurred``."""
    using = settings().database
    _record_once(using, session, names.ERROR_OCCURRED, error, now or clock.read(using))


def _record_once(using: str, session: uuid.UUID, type_: str, error: SessionMgmtError, now: datetime) -> None:
    lately = SessionEvent.objects.using(using).filter(session=session, type=type_, at__gt=now - ONE_IN)
    # Two at once may both write one: the bound is for the disk, and needs no lock.
    with open_transaction(using):
        if lately.exists():
            return
        entry = make_record(session, type_, {"name": error.name, "code": error.number})
        record_entries(using, [entry], at=now)


def _report_unknown_token(using: str, type_: str, error: SessionMgmtError, ip: str | None, now: datetime) -> None:
    """Send a signal for every try, and write an entry for one try of an address in a while."""
    lately = AuditEntry.objects.using(using).filter(at__gt=now - ONE_IN, action=type_, ip=ip)
    if not lately.exists():
        audit.add_entry(type_, ip=ip, name=error.name)
    notify.send_events([EmittedEvent(None, type_, {"name": error.name, "code": error.number}, None)])

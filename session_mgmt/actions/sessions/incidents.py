"""Record incidents of a session, such as refused tokens and faults, for its log and for staff.

Clients in a loop could fill the disk with records. Therefore each kind is recorded at most once in ``ONE_IN`` for each
session or address.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from session_mgmt.actions import audit, notify
from session_mgmt.actions.addresses import veil_address
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.conf import settings
from session_mgmt.exceptions import LoginEnded, SessionEnded, SessionLimit, SessionMgmtError, TokenExpired
from session_mgmt.models import AuditEntry, SessionEvent, Token, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol import events as names

ONE_IN = timedelta(seconds=10)


def record_refusal(secret: str, error: SessionMgmtError, *, ip: str | None = None, now: datetime | None = None) -> None:
    """Record that a token was refused: ``auth_required`` if it has only expired, else ``auth_failed``. An unknown token
    is recorded in the audit trail.

    Nothing is recorded for a session that has ended, because its log shows how it ended.
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
    """Record ``error_occurred``: the server, or the application's code in it, has failed for this session."""
    using = settings().database
    _record_once(using, session, names.ERROR_OCCURRED, error, now or clock.read(using))


def _record_once(using: str, session: uuid.UUID, type_: str, error: SessionMgmtError, now: datetime) -> None:
    lately = SessionEvent.objects.using(using).filter(session=session, type=type_, at__gt=now - ONE_IN)
    # Before any transaction, so that refusing a known token takes the same statements as refusing an unknown one. Two
    # calls at once may both write a record: the limit only protects the disk, and needs no lock.
    if lately.exists():
        return
    with open_transaction(using):
        entry = make_record(session, type_, {"name": error.name, "code": error.number})
        record_entries(using, [entry], at=now)


def find_kind(error: SessionMgmtError) -> str | None:
    """Return the audit action for a refusal because of a missing permission or a limit; ``None`` for other errors."""
    # `LoginEnded` comes from a browser whose login was ended, which may be a copy of the cookie.
    if error.status == 403 or isinstance(error, LoginEnded):
        return audit.PERMISSION_DENIED
    if error.status == 429 or isinstance(error, SessionLimit):
        return audit.LIMIT_REACHED
    return None


def record_denial(
    error: SessionMgmtError,
    *,
    user_id: Any = None,
    session: uuid.UUID | None = None,
    ip: str | None,
    call: str,
    log: str | None = None,
) -> None:
    """Record that a permission was missing or a limit was reached, at most once in ``ONE_IN`` for each address.

    ``log`` is the requested log. Call ``limits.is_news`` before, which needs no statement.
    """
    using, kind = settings().database, find_kind(error)
    if kind is None:
        return
    facts = {"name": error.name, "call": call, "user_id": _as_text(user_id)} | ({} if log is None else {"log": log})
    _audit_once(using, kind, clock.read(using), session=session, ip=ip, **facts)


def record_refused_refresh(
    session: uuid.UUID | None, error: SessionMgmtError, *, ip: str | None, now: datetime | None = None
) -> None:
    """Record that a refresh token is unknown or no longer valid, at most once in ``ONE_IN`` for each address."""
    using = settings().database
    at = now or clock.read(using)
    _audit_once(using, audit.REFRESH_REFUSED, at, session=session, ip=ip, name=error.name)


def _as_text(key: Any) -> str | None:
    return None if key is None else str(key)


def _audit_once(using: str, action: str, now: datetime, *, ip: str | None = None, **facts: Any) -> None:
    lately = AuditEntry.objects.using(using).filter(at__gt=now - ONE_IN, action=action, ip=veil_address(ip))
    if not lately.exists():
        audit.add_entry(action, ip=ip, **facts)


def _report_unknown_token(using: str, type_: str, error: SessionMgmtError, ip: str | None, now: datetime) -> None:
    """Send a signal for each attempt, and write an entry at most once in ``ONE_IN`` for each address."""
    _audit_once(using, type_, now, ip=ip, name=error.name)
    notify.send_events([EmittedEvent(None, type_, {"name": error.name, "code": error.number}, None)])

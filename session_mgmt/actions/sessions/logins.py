"""Follow Django's logins: stamp them, and end their sessions when they end.

The row of a login is locked before any of its sessions, here and everywhere a session is created. Therefore a session
that is created during a logout is either seen and ended by it, or finds that the login has ended and is not created.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import connections
from django.db.models import Q

from session_mgmt.actions.sessions import ending, stamps
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.conf import settings
from session_mgmt.exceptions import LoginEnded
from session_mgmt.models import ClientSession, Login, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements

logger = logging.getLogger(__name__)

LOGGED_OUT = "logged_out"
LOGIN_CHANGED = "login_changed"


def watch_logins() -> None:
    """Connect receivers to Django's signals of logins and logouts."""
    user_logged_in.connect(_after_login, dispatch_uid="session_mgmt")
    user_logged_out.connect(_before_logout, dispatch_uid="session_mgmt")


def _after_login(request: Any, user: Any, **_: Any) -> None:
    """Stamp the Django session. An error in this app never prevents a login."""
    try:
        # Libraries for tokens send the signal without a Django session of this user.
        if request is not None and stamps.is_logged_in(request, user):
            _note_login(request, user)
    except Exception:
        logger.exception("A login could not be noted")


def _note_login(request: Any, user: Any) -> None:
    using = settings().database
    stamp = stamps.read_stamp(request)
    with open_transaction(using):
        now = clock.read(using)
        known = Login.objects.using(using)
        row = None if stamp is None else known.filter(digest=stamps.hash_id(stamp["id"])).first()
        if row is not None and row.ended_at is None:
            mine = ClientSession.objects.using(using).filter(login=row, state=ClientSession.State.ACTIVE)
            mine.update(auth_time=now)
        elif stamp is None:
            _end_others(using, request, user, now)
    # An ended login never becomes valid again: a user who logs in again gets a new one.
    stamps.write_stamp(request, is_new=row is not None and row.ended_at is not None, now=now)


def _end_others(using: str, request: Any, user: Any, now: datetime) -> None:
    """End the login of another user in this browser: Django flushes its session without a signal."""
    cookie = stamps.hash_cookie(stamps.read_cookie(request))
    if cookie is not None:
        end_logins(using, Q(cookie_digest=cookie, ended_at=None) & ~Q(user=user), LOGIN_CHANGED, now)


def _before_logout(request: Any, user: Any, **_: Any) -> None:
    """End the login of a browser with its sessions. An error in this app never prevents a logout."""
    try:
        if request is None or user is None or not stamps.is_logged_in(request, user):
            return
        digest = stamps.find_digest(request)
        if digest is not None:
            end_login(digest, user, LOGGED_OUT)
    except Exception:
        logger.exception("A logout could not be noted; its sessions end at their next login check")


def end_login(digest: bytes, user: Any, reason: str, *, now: datetime | None = None) -> None:
    """End a login permanently with its sessions; with its ``user``, also one that is not stored yet."""
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        if user is not None:
            _put_missing(using, digest, user, None, now)
        end_logins(using, Q(digest=digest), reason, now)


def end_logins(using: str, which: Q, reason: str, now: datetime) -> set[uuid.UUID]:
    """End logins permanently, in the caller's transaction, and return the sessions that were terminated with them.

    All logins are locked before the first session, because a page that enters holds a login and may wait for any
    session.
    """
    found = Login.objects.using(using).filter(which).order_by("pk").select_for_update(no_key=True)
    keys = list(found.values_list("pk", flat=True))
    Login.objects.using(using).filter(pk__in=keys, ended_at=None).update(ended_at=now, end_reason=reason[:60])
    # Read under the lock: another transaction that creates a session for this login has committed by now, or waits.
    mine = ClientSession.objects.using(using).filter(login__in=keys, state=ClientSession.State.ACTIVE)
    sessions = list(mine.values_list("pk", flat=True))
    return ending.end_sessions(using, sessions, ClientSession.State.TERMINATED, reason, now)


def end_login_of(request_or_key: Any, reason: str) -> bool:
    """End the login of a Django request, or of the Django session with this key; return ``False`` if it is unknown."""
    using = settings().database
    if isinstance(request_or_key, str):
        which = Q(cookie_digest=stamps.hash_cookie(request_or_key))
        digest = stamps.find_digest_by_key(request_or_key)
        which = which if digest is None else which | Q(digest=digest)
    else:
        digest = stamps.find_digest(request_or_key)
        which = Q(digest=digest)
        user = request_or_key.user
        if digest is not None and stamps.is_logged_in(request_or_key, user):
            end_login(digest, user, reason)
            return True
    with open_transaction(using):
        exists = Login.objects.using(using).filter(which).exists()
        end_logins(using, which, reason, clock.read(using))
    return exists


def has_ended(request: Any) -> bool:
    """Return whether the login of a request's Django session was ended, with one query by an index."""
    digest = stamps.find_digest(request)
    if digest is None:
        return False
    mine = Login.objects.using(settings().database).filter(digest=digest, ended_at__isnull=False)
    return bool(mine.exists())


def lock_login(using: str, evidence: Evidence, now: datetime) -> Login | None:
    """Lock the login that a request proves, and create its row if necessary; ``None`` without a Django session.

    Raises ``LoginEnded``.
    """
    if evidence.stamp is None:
        return None
    row = None
    while row is None:
        # Try again if the cleanup deletes the row in between.
        _put_missing(using, evidence.stamp, evidence.user, evidence.cookie, now)
        row = Login.objects.using(using).select_for_update(no_key=True).filter(digest=evidence.stamp).first()
    if row.ended_at is not None or row.user_id != evidence.user.pk:
        raise LoginEnded()
    Login.objects.using(using).filter(pk=row.pk).update(seen_at=now, cookie_digest=evidence.cookie)
    row.seen_at = now
    return row


def _put_missing(using: str, digest: bytes, user: Any, cookie: bytes | None, now: datetime) -> None:
    row = Login(digest=digest, user=user, cookie_digest=cookie, created_at=now, seen_at=now)
    Statements(connections[using]).put_missing([row])


def find_due_in(login: Login, now: datetime) -> float | None:
    """Return the seconds after which the login must be proved again, or ``None`` if that is never necessary."""
    due = find_due(login)
    return None if due is None else max(round((due - now).total_seconds(), 3), 0.0)


def find_due(login: Login) -> datetime | None:
    """Return when the login must be proved again, or ``None`` if that is never necessary."""
    return login.seen_at + settings().login_check_interval if settings().follow_login else None

"""Act on sessions whose users stand no longer as they did: end them, or have their logins proved again.

The browser that has changed its password is still logged in, and nobody tells which one that was. So a session that
hangs on a login is not ended: its tokens are refused, its sockets closed, and it has ten minutes for a call that
carries the browser's cookie. Django has logged out every other browser, whose cookies prove nothing any more.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from session_mgmt.actions import notify
from session_mgmt.actions.sessions import ending, fingerprints, tokens
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionNotFound, SessionTerminated
from session_mgmt.models import ClientSession, SessionActivity, clock
from session_mgmt.models.isolation import open_transaction

CREDENTIALS_CHANGED = "credentials_changed"
USER_DEACTIVATED = "user_deactivated"
CHECK_WITHIN = timedelta(minutes=10)


def settle_session(key: uuid.UUID, *, now: datetime | None = None) -> None:
    """Settle a session that was seen to stand no longer; one that stands after all stays as it is."""
    using = settings().database
    with open_transaction(using):
        session = _lock_live(using, key)
        reason = None if session is None else find_fault(session)
        if session is None or reason is None:
            return
        now = now or clock.read(using)
        if reason == CREDENTIALS_CHANGED and session.login is not None:
            _shorten_deadline(using, session.activity, now)
            notify.after_commit(using, orders=notify.order_look([key]))
        else:
            ending.end_session(using, key, ClientSession.State.TERMINATED, reason, now)


def _lock_live(using: str, key: uuid.UUID) -> ClientSession | None:
    """Lock a live session and read it; in statements of their own, so that these are the last committed values."""
    mine = SessionActivity.objects.using(using).filter(pk=key, live=True)
    activity = mine.select_for_update(no_key=True).first()
    if activity is None:
        return None
    session = ClientSession.objects.using(using).select_related("user", "login").get(pk=key)
    session.activity = activity
    return session


def find_fault(session: ClientSession) -> str | None:
    """Return why a session may not go on by its user or its login, or ``None``."""
    if session.login is not None and session.login.ended_at is not None:
        return session.login.end_reason
    if not tokens.may_act(session):
        return USER_DEACTIVATED
    return None if tokens.fits(session) else CREDENTIALS_CHANGED


# -- deadlines ---------------------------------------------------------------------------------------------------------


def find_deadline(activity: SessionActivity) -> datetime:
    """Return when a session ends by its timeouts alone."""
    idle = activity.last_active_at + timedelta(seconds=activity.idle_seconds)
    return min(idle, activity.absolute_deadline)


def awaits_proof(using: str, activity: SessionActivity) -> bool:
    """Return whether the login of a session must be proved before activity counts again."""
    if activity.expires_at >= find_deadline(activity):
        return False
    session = ClientSession.objects.using(using).select_related("user").get(pk=activity.pk)
    return not tokens.fits(session)


def _shorten_deadline(using: str, activity: SessionActivity, now: datetime) -> None:
    soon = now + CHECK_WITHIN
    if activity.expires_at > soon:
        SessionActivity.objects.using(using).filter(pk=activity.pk).update(expires_at=soon)


def give_back_deadline(using: str, activity: SessionActivity) -> None:
    """Let a session, whose row the caller has locked, live by its timeouts again."""
    activity.expires_at = find_deadline(activity)
    SessionActivity.objects.using(using).filter(pk=activity.pk).update(expires_at=activity.expires_at)


# -- verbs -------------------------------------------------------------------------------------------------------------


def rebind_session(session: uuid.UUID, user: Any) -> None:
    """Bind a session of the user to credentials that have just changed, so that it goes on with its tokens.

    Raises ``SessionNotFound`` for a session of somebody else, or ``SessionTerminated``.
    """
    using = settings().database
    with open_transaction(using):
        found = _lock_live(using, session)
        if found is None or found.user_id != user.pk:
            known = ClientSession.objects.using(using).filter(pk=session, user=user.pk)
            raise SessionTerminated() if known.exists() else SessionNotFound()
        fingerprint = fingerprints.make_fingerprint(user)
        ClientSession.objects.using(using).filter(pk=session).update(auth_fingerprint=fingerprint)
        give_back_deadline(using, found.activity)

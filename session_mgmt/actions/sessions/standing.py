"""React to sessions whose users have changed: end them, or require that their logins are proved again.

The browser that has changed a password is still logged in, but nothing shows which browser that was. Therefore a
session that belongs to a login is not ended at once: its tokens are refused, its sockets are closed, and it has ten
minutes for a call with the browser's cookie. Django has logged out all other browsers, so their cookies prove nothing
any more.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
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


def settle_sessions(keys: Iterable[uuid.UUID], *, now: datetime | None = None) -> set[uuid.UUID]:
    """End the sessions that may no longer go on, or shorten their deadlines until their logins are proved, in one
    transaction. Sessions without a fault are not changed.

    Return the sessions that are finished: if there are several reasons for an end, one call handles only the first of
    them.
    """
    using, wanted = settings().database, set(keys)
    with open_transaction(using):
        faults = {session: find_fault(session) for session in _lock_live(using, wanted)}
        now = now or clock.read(using)
        checks = {session.pk for session, reason in faults.items() if session.login and reason == CREDENTIALS_CHANGED}
        if checks:
            _shorten_deadlines(using, checks, now)
            notify.after_commit(using, orders=notify.order_look(sorted(checks)))
        ends = {s.pk: reason for s, reason in faults.items() if reason is not None and s.pk not in checks}
        first = next(iter(ends.values()), "")
        late = {key for key, reason in ends.items() if reason != first}
        ending.end_sessions(using, ends.keys() - late, ClientSession.State.TERMINATED, first, now)
    return wanted - late


def _lock_live(using: str, keys: Iterable[uuid.UUID]) -> list[ClientSession]:
    """Lock live sessions and read them, with separate statements, so that these are the last committed values."""
    mine = SessionActivity.objects.using(using).filter(pk__in=keys, live=True).order_by("pk")
    activities = {activity.pk: activity for activity in mine.select_for_update(no_key=True)}
    rows = ClientSession.objects.using(using).select_related("user", "login").filter(pk__in=activities)
    found = list(rows.order_by("pk")) if activities else []
    for session in found:
        session.activity = activities[session.pk]
    return found


def find_fault(session: ClientSession) -> str | None:
    """Return why a session may not go on, because of its user or its login, or ``None``."""
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


def find_awaiting(using: str, activities: Iterable[SessionActivity]) -> set[uuid.UUID]:
    """Return the sessions whose logins must be proved again before their activity counts."""
    shortened = [activity.pk for activity in activities if activity.expires_at < find_deadline(activity)]
    if not shortened:
        return set()
    rows = ClientSession.objects.using(using).select_related("user").filter(pk__in=shortened)
    return {session.pk for session in rows if not tokens.fits(session)}


def _shorten_deadlines(using: str, sessions: set[uuid.UUID], now: datetime) -> None:
    soon = now + CHECK_WITHIN
    SessionActivity.objects.using(using).filter(pk__in=sessions, expires_at__gt=soon).update(expires_at=soon)


def give_back_deadline(using: str, activity: SessionActivity) -> None:
    """Restore the deadline by the timeouts for a session whose row the caller has locked."""
    activity.expires_at = find_deadline(activity)
    SessionActivity.objects.using(using).filter(pk=activity.pk).update(expires_at=activity.expires_at)


# -- bindings ----------------------------------------------------------------------------------------------------------


def rebind_session(session: uuid.UUID, user: Any) -> None:
    """Bind a session of the user to credentials that have just changed, so that its tokens remain valid.

    Raises ``SessionNotFound`` for a session of another user, or ``SessionTerminated``.
    """
    using = settings().database
    with open_transaction(using):
        found = next(iter(_lock_live(using, [session])), None)
        if found is None or found.user_id != user.pk:
            known = ClientSession.objects.using(using).filter(pk=session, user=user.pk)
            raise SessionTerminated() if known.exists() else SessionNotFound()
        fingerprint = fingerprints.make_fingerprint(user)
        ClientSession.objects.using(using).filter(pk=session).update(auth_fingerprint=fingerprint)
        give_back_deadline(using, found.activity)

"""End devices and everything of a user: the sessions, and the logins that would bring new ones in the next second.

A session that is ended alone leaves its browser logged in to Django, and the page makes another one. So whoever ends a
device ends its login too, and that browser is told ``login_ended`` until somebody really logs in there.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db.models import Q

from session_mgmt.actions import access
from session_mgmt.actions.access import Actor
from session_mgmt.actions.sessions import ending, lifecycle, logins
from session_mgmt.actions.timeline import proofs
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, clock
from session_mgmt.models.isolation import open_transaction

State = ClientSession.State


def end_device(actor: Actor, session: uuid.UUID, *, reason: str = "requested", now: datetime | None = None) -> bool:
    """End a session for good, with the login of its device; return false if it had ended before.

    A session that ends itself, or another one of its own browser, leaves that browser's login. Raises
    ``SessionNotFound``, ``PermissionDenied`` or ``ReauthRequired``, and as ``hold_proof``.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        found = lifecycle.find_to_end(using, actor, session, now)
        if access.is_self(actor, found):
            proofs.hold_proof(using, actor.proof, now)
        else:
            proofs.check_proof(using, actor.proof)
        is_own = found.login_id == _find_login(using, actor.session)
        return end_with_login(using, session, None if is_own else found.login_id, reason, now)


def end_with_login(using: str, session: uuid.UUID, login: int | None, reason: str, now: datetime) -> bool:
    """End a session and the login that it hangs on, if any; return false if the session had ended before."""
    # The login first, in the order of all locks; it takes its sessions along.
    ended = set() if login is None else logins.end_logins(using, Q(pk=login), reason, now)
    return session in ended or ending.end_session(using, session, State.TERMINATED, reason, now)


def end_user_sessions(
    user: Any, *, keep: uuid.UUID | None = None, reason: str = "requested", now: datetime | None = None
) -> int:
    """End all sessions and logins of a user but those of the browser that has the session ``keep``.

    Return how many sessions were ended.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        login = _find_login(using, keep)
        others = Q(user=user, ended_at=None)
        ended = logins.end_logins(using, others if login is None else others & ~Q(pk=login), reason, now)
        live = ClientSession.objects.using(using).filter(user=user, state=State.ACTIVE)
        if keep is not None:
            live = live.exclude(pk=keep)
        if login is not None:
            live = live.exclude(login=login)
        for key in list(live.order_by("pk").values_list("pk", flat=True)):
            if ending.end_session(using, key, State.TERMINATED, reason, now):
                ended.add(key)
    return len(ended)


def _find_login(using: str, session: uuid.UUID | None) -> int | None:
    """Return the login that a session hangs on."""
    if session is None:
        return None
    return ClientSession.objects.using(using).filter(pk=session).values_list("login_id", flat=True).first()

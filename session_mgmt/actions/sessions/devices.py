"""End devices, or everything of a user: the sessions, and the logins that would create new ones within a second.

If only a session is ended, its browser is still logged in to Django, and its page creates another one. Therefore the
login of the device is ended too, and that browser gets ``login_ended`` until somebody logs in there again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Q

from session_mgmt.actions import access
from session_mgmt.actions.access import Actor
from session_mgmt.actions.pacing import make_pace
from session_mgmt.actions.sessions import ending, lifecycle, logins
from session_mgmt.actions.timeline import proofs
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, clock
from session_mgmt.models.isolation import open_transaction

State = ClientSession.State


def end_device(actor: Actor, session: uuid.UUID, *, reason: str = "requested", now: datetime | None = None) -> bool:
    """End a session permanently, with the login of its device; return ``False`` if the session had ended before.

    A session that ends itself, or another session of its own browser, does not end that browser's login. Raises
    ``SessionNotFound``, ``PermissionDenied`` or ``ReauthRequired``, and the errors of ``hold_proof``.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        found = lifecycle.find_to_end(using, actor, session, now)
        if access.is_self(actor, found):
            proofs.hold_proof(using, actor.proof, now)
        else:
            proofs.check_proof(using, actor.proof)
        is_own = found.login_id == find_login(using, actor.session)
        return session in end_with_logins(using, {session: None if is_own else found.login_id}, reason, now)


def end_with_logins(using: str, sessions: Mapping[uuid.UUID, int | None], reason: str, now: datetime) -> set[uuid.UUID]:
    """End sessions and the logins that they belong to, if any; return the sessions that were ended, including other
    sessions of these logins.
    """
    held = sorted({login for login in sessions.values() if login is not None})
    # Lock the logins first, in the usual order of locks. Ending them ends their sessions.
    ended = logins.end_logins(using, Q(pk__in=held), reason, now) if held else set()
    return ended | ending.end_sessions(using, sessions.keys() - ended, State.TERMINATED, reason, now)


def end_devices(
    sessions: Iterable[uuid.UUID], reason: str, note: Callable[[list[uuid.UUID]], Any]
) -> Iterator[list[uuid.UUID]]:
    """End sessions permanently, with the logins of their devices, in groups with one transaction each.

    Yield for each group the sessions that have ended, also if they ended with another one on the same device. ``note``
    is called with them in the same transaction, to record their end. Permissions are not checked.
    """
    using = settings().database
    pace = make_pace(using, ending.TOGETHER)
    waiting = list(dict.fromkeys(sessions))
    ended: set[uuid.UUID] = set()
    while waiting:
        group, waiting = waiting[: pace.size], waiting[pace.size :]
        yield pace.take(partial(_end_group, using, group, ended, reason, note))


def _end_group(
    using: str, group: list[uuid.UUID], ended: set[uuid.UUID], reason: str, note: Callable[[list[uuid.UUID]], Any]
) -> list[uuid.UUID]:
    with open_transaction(using):
        live = ClientSession.objects.using(using).filter(pk__in=group, state=State.ACTIVE)
        found = end_with_logins(using, dict(live.values_list("pk", "login_id")), reason, clock.read(using))
        done = [session for session in group if session in ended or session in found]
        if done:
            note(done)
    ended |= found
    return done


def end_user_sessions(
    user: Any, *, keep: uuid.UUID | None = None, reason: str = "requested", now: datetime | None = None
) -> int:
    """End all sessions and logins of a user, except those of the browser that has the session ``keep``.

    Return the number of sessions that were ended.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        login = find_login(using, keep)
        others = Q(user=user, ended_at=None)
        ended = logins.end_logins(using, others if login is None else others & ~Q(pk=login), reason, now)
        live = ClientSession.objects.using(using).filter(user=user, state=State.ACTIVE)
        if keep is not None:
            live = live.exclude(pk=keep)
        if login is not None:
            live = live.exclude(login=login)
        found = list(live.values_list("pk", flat=True))
        ended |= ending.end_sessions(using, found, State.TERMINATED, reason, now)
    return len(ended)


def find_login(using: str, session: uuid.UUID | None) -> int | None:
    """Return the id of the login that a session belongs to, or ``None``."""
    if session is None:
        return None
    return ClientSession.objects.using(using).filter(pk=session).values_list("login_id", flat=True).first()

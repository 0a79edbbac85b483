"""Create, read, update and terminate sessions."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connections
from django.db.models import Exists, OuterRef, Q, QuerySet

from session_mgmt.actions import access, audit, checking, limits, notify
from session_mgmt.actions.access import Actor, access_session
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.sessions import (
    ending,
    fingerprints,
    first_rows,
    fresh_devices,
    pairs,
    standing,
    tokens,
    users,
)
from session_mgmt.actions.sessions.connections import find_live
from session_mgmt.actions.sessions.first_rows import Device
from session_mgmt.actions.sessions.pairs import Origin, Pair
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.proofs import hold_proof
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.actions.webhooks.recording import Recorded, put_deliveries
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    InvalidField,
    SessionEnded,
    SessionLimit,
    SessionNotFound,
    SessionTerminated,
)
from session_mgmt.models import (
    ClientSession,
    Login,
    SessionActivity,
    clock,
)
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY
from session_mgmt.protocol import events as names
from session_mgmt.protocol.position import Position

TIMEOUTS = ("idle_timeout", "absolute_timeout")


@dataclass(frozen=True, slots=True)
class Created:
    """New session with its token, whose secret is stored nowhere; ``pair`` is set if the token is one of a pair."""

    session: ClientSession
    token: tokens.Issued
    position: Position
    pair: Pair | None = None


def create_session(
    *,
    user: Any = None,
    metadata: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    device: Device | None = None,
    session_id: uuid.UUID | None = None,
    predecessor: ClientSession | None = None,
    nonce: str | None = None,
    origin: Origin | None = None,
    login: Login | None = None,
    auth_time: datetime | None = None,
    scopes: Sequence[str] = (),
    tenant: str = "",
    acting: str = "",
    now: datetime | None = None,
) -> Created:
    """Create a session, its token and its first event, in one transaction; with a ``nonce`` a pair of tokens.

    The caller has locked the row of ``login``. ``auth_time`` is when the user logged in, if known: creating a session
    is not a login. ``origin`` is the secret from which the pair is derived, in place of the nonce. ``scopes`` limit
    the session; without any it has no limits. ``acting`` names who acts for the user.

    A successor with the same user inherits the scopes and the tenant of its ``predecessor``; without an ``auth_time``,
    it also inherits that and the absolute deadline.

    ``config`` may contain ``idle_timeout`` and ``absolute_timeout`` in seconds, from 60 up to the values of the
    settings. Only trusted server code may choose the ``session_id``. Raises ``SessionLimit``, ``InvalidField``, or
    ``TooManyRequests`` for too many sessions without a user.
    """
    using = settings().database
    idle, absolute = first_rows.read_timeouts(config or {})
    if user is None and predecessor is None and device is not None:
        limits.admit_anonymous(device.ip)
    # The explanation is outside the transaction, because PostgreSQL runs no queries in it after an error.
    with _explain_refusal(using, user, session_id), open_transaction(using):
        now = now or clock.read(using)
        if user is not None:
            make_room(using, user, now)
        session = first_rows.build_session(user, metadata, config, device, session_id, predecessor, nonce, now)
        session.login, session.auth_time = login, auth_time
        session.auth_fingerprint = fingerprints.make_fingerprint(user)
        session.scopes, session.tenant, session.acting = list(scopes), tenant, acting
        deadline = _inherit(session, predecessor, now + absolute)
        origin = origin or (None if nonce is None else pairs.begin_family(nonce))
        return _store(using, session, origin, idle, deadline, now)


def _inherit(session: ClientSession, predecessor: ClientSession | None, deadline: datetime) -> datetime:
    """Give a successor the limits of its predecessor, if both have the same user; return the absolute deadline."""
    if predecessor is None or predecessor.user_id != session.user_id:
        return deadline
    session.scopes, session.tenant = predecessor.scopes, predecessor.tenant
    if session.auth_time is not None:
        return deadline
    session.auth_time = predecessor.auth_time
    return min(deadline, predecessor.activity.absolute_deadline)


def _store(
    using: str, session: ClientSession, origin: Origin | None, idle: timedelta, deadline: datetime, now: datetime
) -> Created:
    """Store a new session with its first rows and its tokens, and send its notifications after the commit."""
    session.save(using=using, force_insert=True)
    activity, event, position = first_rows.make_first_rows(session, idle, deadline, now)
    proofs, token, pair = first_rows.make_proofs(session, activity, origin, now)
    statements = Statements(connections[using])
    statements.put(activity, event, *proofs)
    put_deliveries(statements, [Recorded(session.pk, names.SESSION_CREATED, b"{}", 1)], now)
    notify.after_commit(using, events=[EmittedEvent(session.pk, names.SESSION_CREATED, {}, 1)])
    fresh_devices.tell_new_device(using, session)
    audit.log_committed(using, names.SESSION_CREATED, session=session.pk, user=session.user_id, ip=session.ip)
    if session.acting:
        audit.add_entry(audit.IMPERSONATED, user=session.user, session=session.pk, acting=session.acting)
    return Created(session, token, position, pair)


@contextmanager
def _explain_refusal(using: str, user: Any, session_id: uuid.UUID | None) -> Iterator[None]:
    """Turn an ``IntegrityError`` into ``InvalidField``: the id is in use, or the user was deleted in the meantime."""
    try:
        yield
    except IntegrityError as error:
        if session_id is not None and ClientSession.objects.using(using).filter(pk=session_id).exists():
            raise InvalidField("There is a session of this id.", field="session_id") from error
        if user is None or type(user)._default_manager.using(using).filter(pk=user.pk).exists():
            raise
        raise InvalidField("There is no such user.", field="user") from error


def make_room(using: str, user: Any, now: datetime) -> None:
    """End sessions of a user who has as many as allowed. Raises ``SessionLimit`` if the policy is to refuse new
    ones.
    """
    # Without a lock: two creations at once may exceed the limit, and the next creation ends the surplus.
    live = ClientSession.objects.using(using).filter(user=user, state=ClientSession.State.ACTIVE)
    surplus = live.count() - settings().max_sessions_per_user + 1
    if surplus <= 0:
        return
    policy = settings().session_limit_policy
    if policy == "reject":
        raise SessionLimit(limit=settings().max_sessions_per_user)
    # The other policy ends connected sessions last.
    order = ["created_at"] if policy == "evict_oldest" else ["is_connected", "activity__last_active_at"]
    connected = find_live(using, now).filter(session=OuterRef("pk"))
    candidates = live.annotate(is_connected=Exists(connected)).order_by(*order)
    waiting = list(candidates.values_list("pk", flat=True))
    while surplus > 0 and waiting:
        group, waiting = waiting[:surplus], waiting[surplus:]
        ended = ending.end_sessions(
            using, _lock_free(using, group), ClientSession.State.TERMINATED, "session_limit", now
        )
        audit.add_entries(audit.SESSION_EVICTED, sorted(ended), user_id=str(user.pk), policy=policy)
        surplus -= len(ended)


def _lock_free(using: str, sessions: list[uuid.UUID]) -> list[uuid.UUID]:
    """Lock sessions, and skip those that are locked: two requests that end each other's sessions would deadlock."""
    rows = SessionActivity.objects.using(using).filter(pk__in=sessions, live=True).order_by("pk")
    return list(rows.select_for_update(no_key=True, skip_locked=True).values_list("pk", flat=True))


def read_session(
    actor: Actor, session: uuid.UUID, permissions: Iterable[str] = (), *, or_sister: bool = False
) -> ClientSession:
    """Return the session with its user and activity. Raises ``SessionNotFound`` or ``PermissionDenied``."""
    return access_session(settings().database, actor, session, permissions, or_sister=or_sister)


def read_states(sessions: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the states of sessions by id; sessions that do not exist are left out."""
    rows = ClientSession.objects.using(settings().database).filter(pk__in=list(sessions))
    return dict(rows.order_by("pk").values_list("pk", "state"))


def list_active(actor: Actor, *, user: Any = None, before: uuid.UUID | None = None) -> QuerySet[ClientSession]:
    """Return live sessions, newest first, as a lazy QuerySet: the actor's own ones, or all for the server.

    ``user`` limits them to one user; an actor with the permission to see sessions finds those of its own tenant.
    ``before`` leaves out that session and newer ones. Raises ``SessionNotFound`` if ``before`` is no session that the
    actor may see.
    """
    live = ClientSession.objects.using(settings().database).filter(state=ClientSession.State.ACTIVE)
    if not actor.trusted:
        live = live.filter(_find_reach(actor, others=user is not None))
    if user is not None:
        live = live.filter(user=user)
    if before is not None:
        # Also for a session that has ended: the last session of a page may have ended since that page was read.
        last = ClientSession.objects.using(settings().database).filter(pk=before).first()
        is_mine = last is not None and (access.is_self(actor, last) or access.is_sister(actor, last))
        if last is None or not (is_mine or access.may_see(actor, last)):
            raise SessionNotFound()
        live = live.filter(Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk))
    return live.select_related("user", "activity").order_by("-created_at", "-pk")


def _find_reach(actor: Actor, *, others: bool) -> Q:
    """Return the filter of the sessions that an actor may list: its own ones, or with ``others`` those of its
    tenant.
    """
    if others and actor.may(access.SEE):
        return Q(tenant=actor.tenant)
    return Q(pk=actor.session) if actor.user_id is None else Q(user_id=actor.user_id, tenant=actor.tenant)


def update_session(
    actor: Actor,
    session: uuid.UUID,
    *,
    metadata: dict[str, Any] | None = None,
    label: str | None = None,
    config: dict[str, Any] | None = None,
    now: datetime | None = None,
) -> ClientSession:
    """Replace metadata, label or config of a live session.

    Timeouts that a new config does not name are kept, and only the server and people with the permission
    ``change_clientsession`` may make them longer. A change by another person than the owner is no activity. Raises
    ``SessionNotFound``, ``PermissionDenied``, ``SessionEnded`` or ``InvalidField``.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        # Lock the activity row first, as the end of a session does, so that all locks are taken in one order.
        hold_proof(using, actor.proof, now)
        found = access_session(using, actor, session, [access.CHANGE])
        tokens.require_live(found, now)
        if config is not None:
            config = _keep_timeouts(config, found.config)
        changed = _check_changes(metadata=metadata, label=label, config=config)
        activity = _lock_activity(using, found, now)
        awaits_proof = bool(standing.find_awaiting(using, [activity]))
        if config is not None:
            _set_timeouts(activity, found, config, may_lengthen=actor.may(access.CHANGE))
        # A change by an administrator must not extend a session, nor one after the idle deadline that no cleanup has
        # noticed yet.
        if (actor.trusted or access.is_self(actor, found)) and activity.expires_at > now:
            activity.last_active_at = now
        # Activity never extends a session beyond its absolute deadline, nor one whose login must be proved first.
        deadline = standing.find_deadline(activity)
        activity.expires_at = min(deadline, activity.expires_at) if awaits_proof else deadline
        activity.save(using=using, update_fields=["last_active_at", "idle_seconds", "absolute_deadline", "expires_at"])
        ClientSession.objects.using(using).filter(pk=session).update(**changed)
        record_entries(using, [make_record(session, names.SESSION_UPDATED, {"fields": sorted(changed)})], at=now)
    return access_session(using, actor, session)


def _lock_activity(using: str, session: ClientSession, now: datetime) -> SessionActivity:
    """Lock and return the activity row of a live session. Raises ``SessionEnded``."""
    mine = SessionActivity.objects.using(using).filter(pk=session.pk, live=True).select_for_update(no_key=True)
    activity = mine.first()
    if activity is None:
        # The session has ended before the lock was taken; the fresh row shows how.
        session.refresh_from_db(using=using)
        raise tokens.explain_end(session, now=now) or SessionTerminated()
    return activity


def _keep_timeouts(config: Any, before: dict[str, Any]) -> Any:
    """Keep the timeouts that a new config does not name, because they belong to the server and a successor
    needs them.
    """
    if not isinstance(config, dict):
        return config
    kept = {name: before[name] for name in TIMEOUTS if name in before and config.get(name) is None}
    return {**config, **kept}


def _set_timeouts(
    activity: SessionActivity, session: ClientSession, config: dict[str, Any], *, may_lengthen: bool
) -> None:
    """Set the timeouts that a config names in the activity row. Raises ``InvalidField``."""
    idle, absolute = first_rows.read_timeouts(config)
    if config.get("idle_timeout") is not None:
        seconds = int(idle.total_seconds())
        _check_length("idle_timeout", seconds <= activity.idle_seconds or may_lengthen)
        activity.idle_seconds = seconds
    if config.get("absolute_timeout") is not None:
        deadline = session.created_at + absolute
        _check_length("absolute_timeout", deadline <= activity.absolute_deadline or may_lengthen)
        activity.absolute_deadline = deadline


def _check_length(name: str, is_allowed: bool) -> None:
    if not is_allowed:
        raise InvalidField(f"{name} may be made shorter, not longer.", field=name)


def _check_changes(**given: Any) -> dict[str, Any]:
    changed = {name: value for name, value in given.items() if value is not None}
    if not changed:
        raise InvalidField("There is nothing to change.", field="metadata")
    for name in ("metadata", "config"):
        if name in changed:
            first_rows.check_object(changed[name], name)
    if "label" in changed and (not isinstance(changed["label"], str) or len(changed["label"]) > 200):
        raise InvalidField("label is text of at most 200 characters.", field="label")
    return {name: checking.check_value(value) for name, value in changed.items()}


def count_activity(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> set[uuid.UUID]:
    """Record activity of sessions now, with the idle timeout of each, and return the sessions that are still live."""
    now = now or clock.read(settings().database)
    return count_activity_at(dict.fromkeys(sessions, now))


def count_activity_at(moments: Mapping[uuid.UUID, datetime]) -> set[uuid.UUID]:
    """Record activity that happened at these moments, if it came before the deadlines at that time.

    It is written with a delay, so it may be written after a deadline that it extends. Return the sessions that are
    still live.
    """
    using = settings().database
    statements = Statements(connections[using])
    rows = []
    with open_transaction(using):
        mine = SessionActivity.objects.using(using).filter(pk__in=list(moments), live=True)
        # Lock by key, as the lane does, or two flushes at the same time could wait for each other.
        locked = list(mine.order_by("pk").select_for_update(no_key=True))
        # If the deadline was before the activity, the session had ended, and late activity must not revive it.
        in_time = [row for row in locked if row.expires_at > moments[row.pk]]
        live = {row.pk for row in in_time}
        awaiting = standing.find_awaiting(using, in_time)
        for row in in_time:
            at = moments[row.pk]
            # This activity was on its way when the password was changed.
            if row.pk in awaiting:
                continue
            expires = min(at + timedelta(seconds=row.idle_seconds), row.absolute_deadline)
            # Another process may have written a later moment already.
            if at > row.last_active_at:
                rows.append((statements.uuid(row.pk), statements.moment(at), statements.moment(expires)))
        statements.update(
            ACTIVITY, {"session_id": "uuid", "last_active_at": "timestamptz", "expires_at": "timestamptz"}, rows
        )
    return live


def terminate_session(
    actor: Actor, session: uuid.UUID, *, reason: str = "requested", now: datetime | None = None
) -> bool:
    """End a session permanently; return ``False`` if it had ended before.

    Another session of the actor's user can be ended only after a recent login. Raises ``SessionNotFound``,
    ``PermissionDenied`` or ``ReauthRequired``.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        find_to_end(using, actor, session, now)
        return ending.end_session(using, session, ClientSession.State.TERMINATED, reason, now)


def find_to_end(using: str, actor: Actor, session: uuid.UUID, now: datetime) -> ClientSession:
    """Return a session that the actor may end. Raises the errors of ``terminate_session``."""
    found = access_session(using, actor, session, [access.TERMINATE], or_sister=True)
    if access.is_sister(actor, found) and not actor.may(access.TERMINATE):
        access.require_recent_login(actor.auth_time, access.SISTER_LOGIN, now)
    return found


def find_refusal(
    actor: Actor, session: uuid.UUID, *, permission: str | None = None, now: datetime | None = None
) -> str | None:
    """Return the reason why the session may not act, or ``None``. Raises ``SessionNotFound``."""
    using = settings().database
    found = access_session(using, actor, session)
    error: SessionEnded | None = tokens.explain_end(found, now=now or clock.read(using))
    if error is not None:
        return error.name
    if permission and not (tokens.may_act(found) and users.has_permission(found.user, permission)):
        return "permission_denied"
    return None

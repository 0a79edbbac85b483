"""Claim a visitor's session for the user who logs in: the session is kept, and all its earlier tokens become invalid.

The project's code decides about the claim, its documents and its topics, outside of locks and transactions. The claim
is written only if the session has not changed since then.
"""

from __future__ import annotations

import copy
import logging
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from session_mgmt.actions import audit, notify
from session_mgmt.actions.sessions import carrying, ending, fingerprints, first_rows, lifecycle
from session_mgmt.actions.sessions.carrying import Carried, Moved
from session_mgmt.actions.sessions.entries import ASK, CLAIMED
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.actions.topics import subscriptions
from session_mgmt.conf import settings
from session_mgmt.exceptions import TemporaryError, TopicDenied
from session_mgmt.models import ClientSession, Login, SessionActivity, Subscription
from session_mgmt.protocol import events as names
from session_mgmt.protocol.codes import Close
from session_mgmt.user_code import ask, find_hook

logger = logging.getLogger(__name__)

CLAIM, FRESH = "claim", "fresh"


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan for a visitor's session as it was at ``auth_version``.

    ``topics`` are those that were checked for the user, and ``denied`` those of them that the user may not follow.
    ``ip`` is the address of the page that makes the request.
    """

    auth_version: int
    answer: str
    carried: Carried = field(default_factory=Carried)
    topics: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """Request of a page: who is logged in, the visitor's ``choice``, and the request for the project's functions."""

    evidence: Evidence
    choice: str | None = None
    previous: uuid.UUID | None = None
    request: Any = None
    ip: str | None = None


def make_plan(using: str, session: ClientSession, asking: Asking, now: datetime) -> Plan:
    """Return the plan for a visitor's session, whose token the page has shown.

    This runs the project's code: call it without any lock or transaction.
    """
    answer = _find_answer(session, asking, now)
    if answer != CLAIM:
        return Plan(session.auth_version, answer)
    carried = carrying.find_carried(using, session, asking.previous, asking.evidence)
    mine = Subscription.objects.using(using).filter(session=session).values_list("topic", flat=True)
    topics, theirs = frozenset(mine), _as_theirs(session, asking.evidence)
    # A topic that only requires a newer login is kept.
    denied = {topic for topic in topics if isinstance(subscriptions.find_refusal(theirs, topic), TopicDenied)}
    return Plan(session.auth_version, CLAIM, carried, topics, frozenset(denied), asking.ip)


def _as_theirs(session: ClientSession, evidence: Evidence) -> ClientSession:
    """Return a copy of the session as it will be after the claim, for the project's functions."""
    theirs = copy.copy(session)
    theirs.user, theirs.auth_time, theirs.scopes = evidence.user, evidence.auth_time, list(evidence.scopes)
    return theirs


def _find_answer(session: ClientSession, asking: Asking, now: datetime) -> str:
    setting, choice = settings().on_login, asking.choice
    # A page may ask for less than the settings allow, never for more.
    if FRESH in (setting, choice) or not _is_claimable(session, asking.evidence, now):
        return FRESH
    if not _may_claim(session, asking):
        return FRESH
    return ASK if setting == ASK and choice is None else CLAIM


def _is_claimable(session: ClientSession, evidence: Evidence, now: datetime) -> bool:
    is_recent = now - session.activity.last_active_at <= settings().claim_within
    return is_recent and session.tenant == evidence.tenant and not evidence.acting


def _may_claim(session: ClientSession, asking: Asking) -> bool:
    try:
        function = find_hook("may_claim")
        return function is None or ask(function, session, asking.evidence.user, asking.request)
    except TemporaryError:
        raise
    except Exception:
        logger.exception("A session is not claimed, because may_claim fails")
        return False


def claim_session(
    using: str, session: ClientSession, plan: Plan, evidence: Evidence, login: Login | None, nonce: bytes, now: datetime
) -> None:
    """Give a visitor's session, whose row the caller has locked, to a user. Its earlier tokens become invalid.

    Raises ``SessionLimit``, before anything is changed, or ``Moved`` if the session has changed since the plan was
    made.
    """
    lifecycle.make_room(using, evidence.user, now)
    _, absolute = first_rows.read_timeouts(session.config)
    _move_deadlines(using, session.activity, find_deadline(evidence, absolute, now), now)
    changes: dict[str, Any] = {
        "user": evidence.user,
        "login": login,
        "auth_time": evidence.auth_time,
        "scopes": list(evidence.scopes),
        "auth_fingerprint": fingerprints.make_fingerprint(evidence.user),
        "auth_version": session.auth_version + 1,
        "login_missing_at": None,
        "claimed_at": now,
        "nonce": nonce,
    }
    seen = ClientSession.objects.using(using).filter(pk=session.pk, user=None, auth_version=plan.auth_version)
    if not seen.update(**changes):
        raise Moved
    for name, value in changes.items():
        setattr(session, name, value)
    # Before the documents, so that later writes of clients are refused by the raised generation.
    ending.detach_clients(using, [session.pk], Close.DETACHED, now)
    carrying.write_carried(using, session.pk, plan.carried, now)
    _leave_topics(using, session.pk, plan)
    tell_claim(using, session, plan, now)


def claim_successor(
    using: str, old: uuid.UUID, session: ClientSession, plan: Plan, evidence: Evidence, now: datetime
) -> None:
    """Record that a user's new session continues an expired session of a visitor, and write the documents to it."""
    session.claimed_at = now
    ClientSession.objects.using(using).filter(pk=session.pk).update(claimed_at=now)
    carrying.write_carried(using, old, plan.carried, now, onto=session.pk)
    _leave_topics(using, session.pk, plan)
    tell_claim(using, session, plan, now)


def find_deadline(evidence: Evidence, absolute: timedelta, now: datetime) -> datetime:
    """Return the absolute deadline of a claimed session, counted from its user's login.

    If that deadline has passed, it is counted from now, as for any new session.
    """
    deadline = (evidence.auth_time or now) + absolute
    return deadline if deadline > now else now + absolute


def tell_claim(using: str, session: ClientSession, plan: Plan, now: datetime) -> None:
    """Record a claim in the session's log and the audit trail, and order its connections to close."""
    data = {"user_id": str(session.user_id), "claimed": True}
    orders = notify.order_close([session.pk], Close.DETACHED, CLAIMED)
    record_entries(using, [make_record(session.pk, names.AUTH_SUCCESS, data)], at=now, orders=orders)
    audit.add_entry(audit.SESSION_CLAIMED, user=session.user, session=session.pk, ip=plan.ip)


def _move_deadlines(using: str, activity: SessionActivity, deadline: datetime, now: datetime) -> None:
    """Count the login as activity, and set the new deadlines."""
    activity.last_active_at, activity.absolute_deadline = now, deadline
    activity.expires_at = min(now + timedelta(seconds=activity.idle_seconds), deadline)
    activity.save(using=using, update_fields=["last_active_at", "absolute_deadline", "expires_at"])


def _leave_topics(using: str, session: uuid.UUID, plan: Plan) -> None:
    """Delete the subscriptions that the user may not have. Raises ``Moved`` for a topic that was not checked."""
    mine = Subscription.objects.using(using).filter(session=session)
    if frozenset(mine.values_list("topic", flat=True)) - plan.topics:
        raise Moved
    if plan.denied:
        mine.filter(topic__in=plan.denied).delete()

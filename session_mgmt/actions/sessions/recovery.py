"""Recover an expired session: create a successor with its documents and subscriptions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from session_mgmt.actions import checking, ends
from session_mgmt.actions.sessions import ending, lifecycle, tokens
from session_mgmt.actions.sessions.lifecycle import Created, Device
from session_mgmt.actions.state import bodies, prepare
from session_mgmt.actions.state.ledger import DocumentLedger
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.conf import settings
from session_mgmt.documents import size
from session_mgmt.exceptions import InvalidToken, LoginCheck, NotRecoverable
from session_mgmt.models import (
    ClientSession,
    Login,
    SessionActivity,
    StateDocument,
    Subscription,
    Token,
    clock,
)
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import events as names
from session_mgmt.protocol.position import Position


@dataclass(frozen=True, slots=True)
class Restored:
    """Successor of an expired session, and the receipt of the recovery."""

    created: Created
    receipt: dict[str, Any] = field(default_factory=dict)


def recover_session(
    secret: str,
    *,
    state: bool = True,
    subscriptions: bool = True,
    maximum_age: timedelta | None = None,
    device: Device | None = None,
    now: datetime | None = None,
) -> Restored:
    """Create a successor of an expired session with the old token, within the retention.

    The successor gets the documents and the subscriptions. The application decides about writes that the old client had
    not sent. Raises ``InvalidToken``, ``LoginCheck`` or ``NotRecoverable``.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        old = tokens.find_session(using, secret, now=now)
        # An access token of a pair proves the session only for its own short lifetime.
        token = Token.objects.using(using).filter(digest=tokens.hash_token(secret)).first()
        if token is not None and token.salt is not None:
            raise InvalidToken("A session with a refresh token is recovered by entering with it.")
        if token is not None and token.scopes is not None:
            raise InvalidToken("A token with fewer scopes than its session recovers nothing.")
        if old.acting:
            raise NotRecoverable()
        if old.login_id is not None:
            # Lock it before the session, as everywhere: a logout at the same time is either seen here, or ends the
            # successor.
            old.login = Login.objects.using(using).select_for_update(no_key=True).filter(pk=old.login_id).first()
        # The second of two tabs that ask at once waits here and then finds the successor.
        lock_session(using, old)
        _require_expired(using, old, now, maximum_age)
        require_inheritance(old, now)
        if not tokens.fits(old):
            raise LoginCheck()
        successor = find_successor(using, old)
        if successor is not None:
            return _return_successor(using, old, successor, now)
        return make_successor(
            using, old, state=state, subscriptions=subscriptions, device=device, login=old.login, now=now
        )


def lock_session(using: str, session: ClientSession) -> None:
    """Lock a session against its end and all changes of its tokens, and read its activity again."""
    session.activity = SessionActivity.objects.using(using).select_for_update(no_key=True).get(pk=session.pk)


def find_successor(using: str, old: ClientSession) -> ClientSession | None:
    """Return the successor that another request has created for an expired session, or ``None``."""
    return ClientSession.objects.using(using).select_related("activity").filter(recovered_from=old).first()


def require_inheritance(old: ClientSession, now: datetime) -> None:
    """Check that a successor may be created without a new login: the absolute deadline has not passed, and the login
    has not ended.

    Raises ``NotRecoverable``.
    """
    if old.activity.absolute_deadline <= now or (old.login is not None and old.login.ended_at is not None):
        raise NotRecoverable()


def make_successor(
    using: str,
    old: ClientSession,
    *,
    state: bool = True,
    subscriptions: bool = True,
    device: Device | None = None,
    user: Any = None,
    now: datetime,
    **proof: Any,
) -> Restored:
    """Create the successor of an expired session whose row is locked; ``proof`` is passed to ``create_session``.

    ``user`` is the user who continues a session that had none.
    """
    created = lifecycle.create_session(
        user=user or old.user,
        metadata=old.metadata,
        config=old.config,
        device=device,
        predecessor=old,
        now=now,
        **proof,
    )
    documents = _carry_documents(using, old, created.session, now) if state else []
    topics = _carry_subscriptions(using, old, created.session) if subscriptions else []
    receipt = _make_receipt(old, documents, topics)
    record_entries(using, [make_record(created.session.pk, names.CONNECTION_RESTORED, receipt)], at=now)
    return Restored(created, receipt)


def _require_expired(using: str, old: ClientSession, now: datetime, maximum_age: timedelta | None) -> None:
    if not old.activity.live and old.state != ClientSession.State.EXPIRED:
        raise NotRecoverable()
    if old.activity.live and tokens.explain_end(old, now=now) is None:
        raise NotRecoverable("The session is alive: resume it.")
    # Its time is over but no cleanup has ended it: end it now, so that the predecessor of the successor has ended.
    if old.activity.live:
        ending.end_session(using, old.pk, ClientSession.State.EXPIRED, ends.TIMEOUT, now)
    age = now - (old.ended_at or now)
    if age > min(maximum_age or settings().retention, settings().retention):
        raise NotRecoverable()


def _return_successor(using: str, old: ClientSession, successor: ClientSession, now: datetime) -> Restored:
    """Return the existing successor with a new token, because the first answer was lost or two tabs have asked."""
    tokens.require_live(successor, now)
    activity = successor.activity
    token = tokens.issue_token(using, successor, expires_at=activity.absolute_deadline + settings().retention, now=now)
    position = Position(activity.epoch, activity.event_seq, activity.event_tag)
    return Restored(Created(successor, token, position), describe_successor(using, old, successor))


def describe_successor(using: str, old: ClientSession, successor: ClientSession) -> dict[str, Any]:
    """Return the receipt of an earlier recovery."""
    documents = StateDocument.objects.using(using).filter(session=successor).order_by("name")
    topics = Subscription.objects.using(using).filter(session=successor).order_by("topic")
    return _make_receipt(
        old, list(documents.values_list("name", flat=True)), list(topics.values_list("topic", flat=True))
    )


def _make_receipt(old: ClientSession, documents: list[str], topics: list[str]) -> dict[str, Any]:
    return {
        "verdict": "state_only" if documents else "none",
        "reason": "session_expired",
        "recovered_from": str(old.pk),
        "documents": documents,
        "subscriptions": topics,
    }


def _carry_documents(using: str, old: ClientSession, new: ClientSession, now: datetime) -> list[str]:
    carried = []
    # A document that was followed but never written is left out, so that `if_absent` can give it its first value.
    for document in StateDocument.objects.using(using).filter(session=old, version__gt=0).order_by("name"):
        body = bodies.load_body(using, document.pk)
        _copy_document(using, new, document.name, body.data, now)
        carried.append(document.name)
    return carried


def _copy_document(using: str, session: ClientSession, name: str, data: Any, now: datetime) -> None:
    """Write the last value of the old document to the successor's document, which has an epoch of its own."""
    fresh = bodies.ensure_document(using, session.pk, name, most=settings().max_documents, at=now)
    update = prepare.prepare_blind(fresh, "data", data)._replace(exact_size=size.measure_extent(data))
    ledger = DocumentLedger(Statements(connections[using]), checking.document_limits().extent)
    ledger.load([update], at=now, wait=True)
    # Without a fence, because no client has written this, and none may repeat it.
    ledger.decide(update, None)
    ledger.write(now)


def _carry_subscriptions(using: str, old: ClientSession, new: ClientSession) -> list[str]:
    kept = list(
        Subscription.objects.using(using).filter(session=old).order_by("topic").values_list("topic", "created_at")
    )
    Subscription.objects.using(using).bulk_create(
        # Keep the time of creation, because the topic has been followed without a break.
        [Subscription(session=new, topic=topic, created_at=since) for topic, since in kept]
    )
    return [topic for topic, _ in kept]

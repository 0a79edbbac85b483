"""Follow one more log on an open connection, and check that the session may follow it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from session_mgmt.actions.clients import Attached, require_attached
from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.sessions.looking import (
    Log,
    LogWish,
    Looked,
    View,
    look_at_logs,
    make_document_log,
    make_timeline_log,
    make_topic_log,
    read_offset,
    settle_places,
)
from session_mgmt.actions.state import bodies
from session_mgmt.actions.timeline import reading as timelines
from session_mgmt.actions.topics import history, judging, presence, snapshots, subscriptions
from session_mgmt.actions.topics import reading as topics_reading
from session_mgmt.actions.topics.history import PastPage
from session_mgmt.actions.topics.presence import Members
from session_mgmt.actions.topics.snapshots import Value
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    Replaced,
    SessionEnded,
    SessionExpired,
    SessionTerminated,
)
from session_mgmt.models import ClientSession, SessionActivity, clock
from session_mgmt.models.deadlines import filter_over
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.logs import SESSION, TOPIC
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.scopes import Restriction, explain_log


def claim_session(using: str, session: uuid.UUID, now: datetime) -> None:
    """Lock the session's row against its expiry. Raises ``SessionEnded`` if the session has ended."""
    # If its time is over, the session has ended, even if no cleanup has run: nobody may come back to it (promise L1).
    activity = _find_live(using, session, now)
    # The update changes nothing but locks the row: either this or the expiry is first, and the other one sees it.
    if not activity.update(live=True):
        raise _find_end(using, session, now)


def require_live(using: str, session: uuid.UUID, now: datetime, attached: Attached | None = None) -> None:
    """Check the session's row without a lock, for functions that only read; the same query checks the client.

    Raises ``SessionEnded`` or ``Replaced``.
    """
    live = _find_live(using, session, now)
    if attached is not None:
        live = live.filter(session__clients=attached.client, session__clients__generation=attached.generation)
    if live.exists():
        return
    if attached is not None and _find_live(using, session, now).exists():
        raise Replaced()
    raise _find_end(using, session, now)


def _find_live(using: str, session: uuid.UUID, now: datetime) -> QuerySet[SessionActivity]:
    return SessionActivity.objects.using(using).filter(~filter_over(now), pk=session, live=True)


def _find_end(using: str, session: uuid.UUID, now: datetime) -> SessionEnded:
    found = ClientSession.objects.using(using).select_related("activity").filter(pk=session).first()
    # A missing session was deleted.
    return SessionTerminated() if found is None else tokens.explain_end(found, now=now) or SessionExpired()


def subscribe(
    session: ClientSession,
    name: str,
    position: Any,
    attached: Attached,
    restriction: Restriction | None = None,
    slow: str | None = None,
    since: Any = None,
    only: Any = None,
    *,
    gate: AbstractContextManager[Any],
) -> Log:
    """Return one more log for an open connection, after asking the application whether its topic is allowed.

    ``slow`` is how the client wants to be served if it is slow, ``since`` where to begin without a position, and
    ``only`` its filter. If nothing must be stored for a log, no transaction is opened; otherwise ``gate`` is held
    around the transaction. Raises the errors of ``follow_log``, and ``ScopeMissing`` or ``ReauthRequired``.
    """
    unscoped = explain_log(restriction, name)
    if unscoped is not None:
        raise unscoped
    granted = subscriptions.ask_granted(session, [name])
    ways, starts, parts = {name: slow}, {name: since}, {name: only}
    wish = LogWish(session.pk, {name: position}, granted, None, attached, ways, starts, parts)
    # Nothing is stored to subscribe again, or to follow a document that exists already.
    known = find_log(wish, name)
    if known is not None:
        return known
    with gate:
        return follow_log(wish, name)


def read_past(
    session: uuid.UUID, topic: str, before: Position | None, limit: int, attached: Attached | None = None
) -> PastPage:
    """Return a page of a topic's history for a session that may follow it.

    The check of the permission may have taken a while, so the session, and the client if ``attached`` is given, are
    checked again. Raises ``SessionEnded``, ``Replaced`` or ``UnknownPosition``.
    """
    using = settings().database
    require_live(using, session, clock.read(using), attached)
    return history.read_page_before(using, topic, before, limit)


def read_allowed_past(
    session: ClientSession, topic: str, before: Position | None, limit: int, attached: Attached | None = None
) -> PastPage:
    """Return a page of a topic's history as ``read_past`` does, with only the allowed entries if the topic checks each
    entry.

    This runs the project's code. Raises also ``TemporaryError`` if that cannot answer now.
    """
    if judging.find_judged(TOPIC + topic) is None:
        return read_past(session.pk, topic, before, limit, attached)
    using = settings().database
    require_live(using, session.pk, clock.read(using), attached)
    page = judging.read_allowed_page(using, session, topic, before, limit)
    # Check again, because the project's code may have taken a while.
    require_live(using, session.pk, clock.read(using), attached)
    return page


def read_members(session: uuid.UUID, topic: str, attached: Attached | None = None) -> Members:
    """Return the members of a topic for a session that may see them.

    Raises ``SessionEnded``, ``Replaced`` or ``InvalidField``.
    """
    using = settings().database
    require_live(using, session, clock.read(using), attached)
    return presence.read_members(topic)


def read_value(
    session: ClientSession,
    name: str,
    restriction: Restriction | None,
    drain: Callable[[], int],
    attached: Attached | None = None,
) -> Value:
    """Return the value of a topic for a session, after checking that it may follow the topic. This runs the project's
    code.

    Raises the errors of ``require_granted`` and ``snapshots.read_value``, ``SessionEnded`` or ``Replaced``.
    """
    using = settings().database
    topic = subscriptions.require_granted(session, name, restriction)
    # Before and after, because the project's code may take a while for the permission and for the value.
    require_live(using, session.pk, clock.read(using), attached)
    value = snapshots.read_value(using, session, topic, drain)
    require_live(using, session.pk, clock.read(using), attached)
    return value


def find_log(wish: LogWish, name: str, *, now: datetime | None = None) -> Log | None:
    """Return a log without writing anything; ``None`` if its document or subscription must be created first.

    Raises the errors of ``follow_log``: a session that has ended follows nothing.
    """
    using = settings().database
    now = now or clock.read(using)
    require_live(using, wish.session, now, wish.attached)
    view = View(wish)
    if name in view.denied:
        raise view.denied[name]
    if name == SESSION:
        return _load_timeline(using, wish)
    statements, asked, given = Statements(connections[using]), view.asked[name], view.given[name]
    for place in view.list_documents():
        document = bodies.load_windows(statements, [place]).get(place)
        return None if document is None else make_document_log(name, document, asked, given)
    (topic,) = view.topics
    if not subscriptions.is_subscribed(using, wish.session, topic):
        return None
    settle_places(statements, [view], now)
    ((_, offset),) = view.list_topics()
    window = topics_reading.read_windows(statements, [(topic, offset)])[topic, offset]
    return make_topic_log(topic, window, view, now)


def follow_log(wish: LogWish, name: str, *, now: datetime | None = None) -> Log:
    """Return one more log for an open connection; create its document or subscription if necessary.

    Raises ``TopicDenied``, ``InvalidField``, ``SessionEnded``, ``Replaced`` or a limit's error.
    """
    using = settings().database
    with open_transaction(using):
        looked = _look_at_claimed(using, wish, now)
        if name in looked.denied:
            raise looked.denied[name]
        return _load_timeline(using, wish) if name == SESSION else looked.logs[name]


def follow_topics(wish: LogWish, *, now: datetime | None = None) -> Looked:
    """Return verdicts on topics; create their subscriptions if necessary. Raises ``SessionEnded`` or ``Replaced``."""
    using = settings().database
    with open_transaction(using):
        return _look_at_claimed(using, wish, now)


def _look_at_claimed(using: str, wish: LogWish, now: datetime | None) -> Looked:
    """Return verdicts on logs of a session, which is locked first."""
    now = now or clock.read(using)
    claim_session(using, wish.session, now)
    if wish.attached is not None:
        # A separate statement: under the session's lock it reads what a claim has committed.
        require_attached(Statements(connections[using]), wish.attached, hold=True)
    (looked,) = look_at_logs(Statements(connections[using]), [wish], now)
    return looked


def _load_timeline(using: str, wish: LogWish) -> Log:
    given = wish.logs[SESSION]
    asked = positions.parse(given)
    window = timelines.read_window(using, wish.session, read_offset(asked))
    if window is None:
        # The session was deleted in the meantime.
        raise SessionTerminated()
    return make_timeline_log(wish.session, window, asked, given)

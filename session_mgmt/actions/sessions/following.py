"""Follow one more log for a live connection, and see that its session may."""

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
    View,
    Wish,
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
    """Compete with expiry for the session's row, and lock it. Raises ``SessionEnded`` for the one who loses."""
    # A session whose time is over has ended, swept or not: nobody may come back after it (promise L1).
    activity = _find_live(using, session, now)
    # Changes nothing and locks the row: of this and expiry, one comes first and the other sees it.
    if not activity.update(live=True):
        raise _find_end(using, session, now)


def require_live(using: str, session: uuid.UUID, now: datetime, attached: Attached | None = None) -> None:
    """Look at the session's row and lock nothing, for verbs that only read; one query for the client as well.

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
    # One that is missing was deleted.
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
    """Look at one more log for a live connection, and ask the application for the right to a topic.

    ``slow`` is the way to go on that the client wishes for, ``since`` where to begin without a position, and ``only``
    its filter. A log for which nothing must be stored costs no transaction. ``gate`` is held around any other. Raises
    as ``follow_log``, and ``ScopeMissing`` or ``ReauthRequired``.
    """
    unscoped = explain_log(restriction, name)
    if unscoped is not None:
        raise unscoped
    granted = subscriptions.ask_granted(session, [name])
    ways, starts, parts = {name: slow}, {name: since}, {name: only}
    wish = Wish(session.pk, {name: position}, granted, None, attached, ways, starts, parts)
    # To subscribe again, or to a log that somebody has made already, stores nothing.
    known = find_log(wish, name)
    if known is not None:
        return known
    with gate:
        return follow_log(wish, name)


def read_past(
    session: uuid.UUID, topic: str, before: Position | None, limit: int, attached: Attached | None = None
) -> PastPage:
    """Read a page of a topic's past for a session that has the right to follow it.

    The application may have taken its time to tell: the session, and the client if one is attached, is looked at
    again. Raises ``SessionEnded``, ``Replaced`` or ``UnknownPosition``.
    """
    using = settings().database
    require_live(using, session, clock.read(using), attached)
    return history.read_page_before(using, topic, before, limit)


def read_allowed_past(
    session: ClientSession, topic: str, before: Position | None, limit: int, attached: Attached | None = None
) -> PastPage:
    """Read a page of a topic's past as ``read_past`` does, where the topic asks about each entry.

    This runs the project's code. Raises also ``TemporaryError`` where that can give no answer now.
    """
    if judging.find_judged(TOPIC + topic) is None:
        return read_past(session.pk, topic, before, limit, attached)
    using = settings().database
    require_live(using, session.pk, clock.read(using), attached)
    page = judging.read_allowed_page(using, session, topic, before, limit)
    # Again: the application takes its time.
    require_live(using, session.pk, clock.read(using), attached)
    return page


def read_members(session: uuid.UUID, topic: str, attached: Attached | None = None) -> Members:
    """Read who is there in a topic for a session that has the right to see it.

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
    """Read the value of a topic for a session that has the right to follow it; this runs the project's code.

    Raises as ``require_granted`` and ``snapshots.read_value``, ``SessionEnded`` or ``Replaced``.
    """
    using = settings().database
    topic = subscriptions.require_granted(session, name, restriction)
    # Before and after: the application takes its time to allow it, and to tell.
    require_live(using, session.pk, clock.read(using), attached)
    value = snapshots.read_value(using, session, topic, drain)
    require_live(using, session.pk, clock.read(using), attached)
    return value


def find_log(wish: Wish, name: str, *, now: datetime | None = None) -> Log | None:
    """Look at a log by reading alone; ``None`` if its document or subscription must be made first.

    Raises as ``follow_log``: a session that ended follows nothing.
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


def follow_log(wish: Wish, name: str, *, now: datetime | None = None) -> Log:
    """Look at one more log for a live connection.

    Raises ``TopicDenied``, ``InvalidField``, ``SessionEnded``, ``Replaced`` or a limit's error.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        claim_session(using, wish.session, now)
        if wish.attached is not None:
            # A statement of its own: under the session's lock it reads what a claim has committed.
            require_attached(Statements(connections[using]), wish.attached, hold=True)
        (looked,) = look_at_logs(Statements(connections[using]), [wish], now)
        if name in looked.denied:
            raise looked.denied[name]
        return _load_timeline(using, wish) if name == SESSION else looked.logs[name]


def _load_timeline(using: str, wish: Wish) -> Log:
    given = wish.logs[SESSION]
    asked = positions.parse(given)
    window = timelines.read_window(using, wish.session, read_offset(asked))
    if window is None:
        # Deleted meanwhile.
        raise SessionTerminated()
    return make_timeline_log(wish.session, window, asked, given)

"""Follow logs: compare the position of a client with each log and give a verdict."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from session_mgmt.actions.clients import Attached, require_attached
from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.state import bodies
from session_mgmt.actions.state.bodies import DocumentWindow
from session_mgmt.actions.timeline import reading as timelines
from session_mgmt.actions.topics import beginnings, ledger, subscriptions
from session_mgmt.actions.topics import reading as topics_reading
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    DocumentLimit,
    Replaced,
    SessionEnded,
    SessionExpired,
    SessionMgmtError,
    SessionTerminated,
    SubscriptionLimit,
)
from session_mgmt.models import ClientSession, SessionActivity, clock
from session_mgmt.models.deadlines import filter_over
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC, document_key, stream_key, timeline_key
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason, Verdict, Window, decide
from session_mgmt.protocol.scopes import Restriction, explain_log


@dataclass(frozen=True, slots=True)
class Log:
    """Log that may be followed: its key, its head, and the verdict on the client's position.

    ``id`` is the row of a document. ``mark`` is the tag that clients of a topic are given for the place before its
    first entry.
    """

    name: str
    key: str
    id: int | None
    head: Position
    asked: Position | None
    verdict: Verdict
    encrypted: bool = False
    mark: str = ""

    def show_place(self, place: Position) -> list[Any]:
        """Return a place in this log as its clients are given it."""
        return [place.epoch, 0, self.mark] if place.offset == 0 else place.as_json()


@dataclass(frozen=True, slots=True)
class Wish:
    """Logs that a client of a session wants to follow, by name, each with the position that it gave.

    ``granted`` are the topics that the application allows, ``restriction`` are the scopes of its token. ``attached`` is
    the client of a connection that is open already.
    """

    session: uuid.UUID
    logs: dict[str, Any]
    granted: frozenset[str]
    restriction: Restriction | None = None
    attached: Attached | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """Logs that may be followed, the error of every other log, and the topics that the session is subscribed to."""

    logs: dict[str, Log]
    denied: dict[str, SessionMgmtError]
    subscribed: list[str]


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


def look_at_logs(statements: Statements, wishes: Sequence[Wish], now: datetime) -> list[Looked]:
    """Give a verdict on every log of many clients, or the error of one that may not be followed: a log is denied
    alone. A fixed number of statements for any number.

    Documents that do not exist yet are made, and the topics become subscriptions. The sessions' own logs
    are left to the caller, who may be writing them. The caller has locked the sessions.
    """
    views = [_View(wish) for wish in wishes]
    subscribed = subscriptions.add_subscriptions(statements, [(v.wish.session, v.topics) for v in views], now)
    for view, topics in zip(views, subscribed, strict=True):
        # Before streams are made: one that nobody may follow would only lie about.
        view.leave_out(topics)
    documents = _load_documents(statements, [place for view in views for place in view.list_documents()], now)
    # Held until the commit: cleanup deletes streams that nobody follows, and these subscriptions are not yet visible.
    ledger.hold_streams(statements, {topic for view in views for topic in view.topics})
    prove_beginnings(statements, views, now)
    streams = topics_reading.read_windows(statements, [place for view in views for place in view.list_topics()])
    logs = _Logs(documents, streams, now)
    return [Looked(logs.build_all(view), view.denied, topics) for view, topics in zip(views, subscribed, strict=True)]


def prove_beginnings(statements: Statements, views: Sequence[_View], now: datetime) -> None:
    """Judge the places before the first entry of a topic, and keep their marks for the answers."""
    asked = [(view, topic, place) for view in views for topic, place in view.list_beginnings()]
    proved = beginnings.prove_beginnings(statements, [(v.wish.session, topic, place) for v, topic, place in asked], now)
    for view, topic, place in asked:
        view.marks[TOPIC + topic] = place.tag
        view.asked[TOPIC + topic] = proved.get((view.wish.session, topic, place), place)


class _View:
    """Wish whose names and positions have been read."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.topics, self.denied = subscriptions.split_logs(wish.logs, wish.granted, wish.restriction)
        self.asked = {name: positions.parse(value) for name, value in wish.logs.items() if name not in self.denied}
        # Tags of places before the first entry, by the log.
        self.marks: dict[str, str] = {}

    def leave_out(self, subscribed: list[str]) -> None:
        """Deny the topics for which the session has no room."""
        over = set(self.topics).difference(subscribed)
        for topic in over:
            self.denied[TOPIC + topic] = SubscriptionLimit(limit=settings().max_subscriptions)
            del self.asked[TOPIC + topic]
        self.topics = [topic for topic in self.topics if topic not in over]

    def list_beginnings(self) -> Iterator[tuple[str, Position]]:
        """Return the topics of which the client stands before the first entry, each with the place that it names."""
        for topic in self.topics:
            place = self.asked[TOPIC + topic]
            if place is not None and place.offset == 0 and place.tag:
                yield topic, place

    def list_documents(self) -> Iterator[bodies.Asked]:
        for name, position in self.asked.items():
            if name.startswith(STATE):
                yield self.wish.session, name.removeprefix(STATE), _read_offset(position)

    def list_topics(self) -> Iterator[topics_reading.Asked]:
        for topic in self.topics:
            yield topic, _read_offset(self.asked[TOPIC + topic])


def _load_documents(
    statements: Statements, places: list[bodies.Asked], now: datetime
) -> dict[bodies.Asked, DocumentWindow]:
    """Return the windows of documents; those that are missing are made, as far as their sessions have room."""
    found = bodies.load_windows(statements, places)
    missing = [place for place in places if place not in found]
    if missing:
        bodies.ensure_documents(statements, dict.fromkeys(place[:2] for place in missing), at=now)
        # Read again and not made up: somebody else may have made them in between, and written to them.
        found |= bodies.load_windows(statements, missing)
    return found


class _Logs:
    """Verdicts on the logs of a group: clients that stand at one place of a topic share one."""

    def __init__(
        self,
        documents: dict[bodies.Asked, DocumentWindow],
        streams: dict[topics_reading.Asked, Window],
        now: datetime,
    ) -> None:
        self._documents, self._streams, self._now = documents, streams, now
        self._shared: dict[tuple[str, Position | None, bool, str | None], Log] = {}

    def build_all(self, view: _View) -> dict[str, Log]:
        """Build the logs of one wish; a document for which there is no room is denied."""
        found: dict[str, Log] = {}
        for place in view.list_documents():
            name = STATE + place[1]
            if place in self._documents:
                asked, given = view.asked[name], view.wish.logs[name]
                found[name] = make_document_log(name, self._documents[place], asked, given)
            else:
                view.denied[name] = DocumentLimit(limit=settings().max_documents)
        for topic, offset in view.list_topics():
            name = TOPIC + topic
            # Clients that stand at one place of a topic share one.
            key = (topic, view.asked[name], view.wish.logs[name] is None, view.marks.get(name))
            if key not in self._shared:
                self._shared[key] = make_topic_log(topic, self._streams[topic, offset], view, self._now)
            found[name] = self._shared[key]
        return found


def make_document_log(name: str, document: DocumentWindow, asked: Position | None, given: Any) -> Log:
    """Give the verdict on a document."""
    verdict = _give_verdict(name, asked, document.window, given)
    key = document_key(document.id)
    return Log(name, key, document.id, document.window.head, asked, verdict, encrypted=document.encrypted)


def make_topic_log(topic: str, window: Window, view: _View, now: datetime) -> Log:
    """Give the verdict on a topic."""
    name = TOPIC + topic
    asked = view.asked[name]
    verdict = _give_verdict(name, asked, window, view.wish.logs[name])
    # A client that has lost nothing stays at its own place, which keeps its own mark.
    is_kept = asked is not None and asked.offset == 0 and verdict.mode is not Mode.LOST
    mark = view.marks.get(name, "") if is_kept else beginnings.make_mark(now)
    return Log(name, stream_key(topic), None, window.head, asked, verdict, mark=mark)


def make_timeline_log(session: uuid.UUID, window: Window, given: Any) -> Log:
    """Give the verdict on a session's own log."""
    asked = positions.parse(given)
    return Log(SESSION, timeline_key(session), None, window.head, asked, _give_verdict(SESSION, asked, window, given))


def _give_verdict(name: str, asked: Position | None, window: Window, given: Any) -> Verdict:
    if asked is not None:
        return decide(asked, window, most=settings().replay_most)
    if given is not None:
        return Verdict(Mode.LOST, Reason.UNREADABLE_POSITION, 0, window.head.offset)
    # A document is useless without its value, so a new reader gets all of it; the other logs begin now.
    if name.startswith(STATE):
        return Verdict(Mode.LOST, Reason.FIRST, 0, window.head.offset)
    return Verdict(Mode.UP_TO_DATE, Reason.FROM_NOW)


def _read_offset(position: Position | None) -> int | None:
    return position.offset if position else None


def subscribe(
    session: ClientSession,
    name: str,
    position: Any,
    attached: Attached,
    restriction: Restriction | None = None,
    *,
    gate: AbstractContextManager[Any],
) -> Log:
    """Look at one more log for a live connection, and ask the application for the right to a topic.

    A log for which nothing must be stored costs no transaction. ``gate`` is held around any other. Raises as
    ``follow_log``, and ``ScopeMissing`` or ``ReauthRequired``.
    """
    unscoped = explain_log(restriction, name)
    if unscoped is not None:
        raise unscoped
    granted = subscriptions.ask_granted(session, [name])
    wish = Wish(session.pk, {name: position}, granted, attached=attached)
    # To subscribe again, or to a log that somebody has made already, stores nothing.
    known = find_log(wish, name)
    if known is not None:
        return known
    with gate:
        return follow_log(wish, name)


def find_log(wish: Wish, name: str, *, now: datetime | None = None) -> Log | None:
    """Look at a log by reading alone; ``None`` if its document or subscription must be made first.

    Raises as ``follow_log``: a session that ended follows nothing.
    """
    using = settings().database
    now = now or clock.read(using)
    require_live(using, wish.session, now, wish.attached)
    view = _View(wish)
    if name in view.denied:
        raise view.denied[name]
    if name == SESSION:
        return _load_timeline(using, wish)
    statements, asked, given = Statements(connections[using]), view.asked[name], wish.logs[name]
    for place in view.list_documents():
        document = bodies.load_windows(statements, [place]).get(place)
        return None if document is None else make_document_log(name, document, asked, given)
    ((topic, offset),) = view.list_topics()
    if not subscriptions.is_subscribed(using, wish.session, topic):
        return None
    prove_beginnings(statements, [view], now)
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
    window = timelines.read_window(using, wish.session, _read_offset(positions.parse(given)))
    if window is None:
        # Deleted meanwhile.
        raise SessionTerminated()
    return make_timeline_log(wish.session, window, given)

"""Compare the positions of clients with the heads of their logs, and give a verdict on each log."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from session_mgmt.actions.clients import Attached
from session_mgmt.actions.state import bodies
from session_mgmt.actions.state.bodies import DocumentWindow
from session_mgmt.actions.timeline import reading as timelines
from session_mgmt.actions.topics import beginnings, ledger, starts, subscriptions
from session_mgmt.actions.topics import reading as topics_reading
from session_mgmt.actions.topics.starts import Start
from session_mgmt.conf import settings
from session_mgmt.exceptions import DocumentLimit, DocumentNotFound, InvalidField, SessionMgmtError, SubscriptionLimit
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC, document_key, stream_key, timeline_key
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason, Verdict, Window, decide
from session_mgmt.protocol.scopes import Restriction
from session_mgmt.protocol.since import Since


class Log(NamedTuple):
    """Log that may be followed: its key, its head, and the verdict on the client's position.

    ``id`` is the id of a document. ``mark`` is the tag that clients of a topic get for the position before its first
    entry. ``complete`` is false if entries since the requested start are gone. ``only`` is a filter: the client wants
    only matching entries.
    """

    name: str
    key: str
    id: int | None
    head: Position
    asked: Position | None
    verdict: Verdict
    encrypted: bool = False
    mark: str = ""
    complete: bool = True
    only: Filter | None = None

    def show_place(self, place: Position) -> list[Any]:
        """Return a position of this log as it is sent to clients."""
        return [place.epoch, 0, self.mark] if place.offset == 0 else place.as_json()


@dataclass(frozen=True, slots=True)
class LogWish:
    """Logs that a client of a session wants to follow, by name, each with the position that the client sent.

    ``granted`` are the topics that the application allows, and ``restriction`` are the scopes of the token.
    ``attached`` is the client of a connection that is already open. By log: ``slow`` is how to serve a slow reader,
    ``since`` where to begin without a position, and ``filters`` the requested filters.
    """

    session: uuid.UUID
    logs: dict[str, Any]
    granted: frozenset[str]
    restriction: Restriction | None = None
    attached: Attached | None = None
    slow: Mapping[str, Any] = field(default_factory=dict)
    since: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looked:
    """Logs that may be followed, the error of each other log, the topics that the session is subscribed to, and the
    position of the client in the session's own log.
    """

    logs: dict[str, Log]
    denied: dict[str, SessionMgmtError]
    subscribed: list[str]
    place: Position | None


def look_at_logs(statements: Statements, wishes: Sequence[LogWish], now: datetime) -> list[Looked]:
    """Return a verdict on each log of many clients, or the error of a log that may not be followed; other logs are not
    affected. It runs a fixed number of statements.

    Documents that do not exist are created, and topics become subscriptions. The caller handles the sessions' own logs,
    because it may be writing to them. The caller has locked the sessions.
    """
    views = [View(wish) for wish in wishes]
    subscribed = subscriptions.add_subscriptions(statements, [(v.wish.session, v.topics) for v in views], now)
    for view, topics in zip(views, subscribed, strict=True):
        # Before streams are locked, so that topics beyond the limit are left out.
        view.leave_out(topics)
    documents = _load_documents(statements, [place for view in views for place in view.list_documents()], now)
    # Locked until the commit, because the cleanup deletes streams without followers, and these subscriptions are not
    # visible to it yet.
    ledger.hold_streams(statements, {topic for view in views for topic in view.topics})
    settle_places(statements, views, now)
    streams = topics_reading.read_windows(statements, [place for view in views for place in view.list_topics()])
    logs = _Logs(documents, streams, now)
    return [
        Looked(logs.build_all(view), view.denied, topics, view.asked.get(SESSION))
        for view, topics in zip(views, subscribed, strict=True)
    ]


def look_again(statements: Statements, wishes: Sequence[LogWish], now: datetime) -> list[Looked]:
    """Return the same verdicts for clients that follow their logs already, and on the sessions' own logs. Nothing is
    stored or locked, and a missing document is denied.
    """
    if not wishes:
        return []
    views = [View(wish) for wish in wishes]
    documents = bodies.load_windows(statements, [place for view in views for place in view.list_documents()])
    settle_places(statements, views, now)
    streams = topics_reading.read_windows(statements, [place for view in views for place in view.list_topics()])
    own = timelines.read_windows(statements, [place for view in views for place in view.list_timelines()])
    logs = _Logs(documents, streams, now)
    found: list[Looked] = []
    for view in views:
        built = logs.build_all(view, missing=DocumentNotFound())
        for place in view.list_timelines():
            # A missing log was deleted with its session.
            if place in own:
                asked, given = view.asked[SESSION], view.given[SESSION]
                built[SESSION] = make_timeline_log(view.wish.session, own[place], asked, given)
        found.append(Looked(built, view.denied, [], view.asked.get(SESSION)))
    return found


def settle_places(statements: Statements, views: Sequence[View], now: datetime) -> None:
    """Check positions before the first entry of a topic, and keep their marks for the answers; find the start for
    clients without a position.
    """
    asked = [(view, topic, place) for view in views for topic, place in view.list_beginnings()]
    proved = beginnings.prove_beginnings(statements, [(v.wish.session, topic, place) for v, topic, place in asked], now)
    for view, topic, place in asked:
        view.marks[TOPIC + topic] = place.tag
        view.asked[TOPIC + topic] = proved.get((view.wish.session, topic, place), place)
    wishes = [(view, topic, since) for view in views for topic, since in view.list_wishes()]
    found = starts.find_starts(statements, [(topic, since) for _, topic, since in wishes], now) if wishes else {}
    for view, topic, since in wishes:
        view.starts[TOPIC + topic] = found[topic, since]
        view.asked[TOPIC + topic] = found[topic, since].place


class View:
    """LogWish with parsed names and positions."""

    def __init__(self, wish: LogWish) -> None:
        self.wish = wish
        self.topics, self.denied = subscriptions.split_logs(wish.logs, wish.granted, wish.restriction, wish.slow)
        self.given = {name: value for name, value in wish.logs.items() if name not in self.denied}
        self._since: dict[str, Since] = {}
        self.filters: dict[str, Filter] = {}
        self._read_wishes()
        self._read_filters()
        self.asked = {name: positions.parse(value) for name, value in self.given.items()}
        # By log: tags of positions before the first entry, and starts that were found.
        self.marks: dict[str, str] = {}
        self.starts: dict[str, Start] = {}

    def _read_wishes(self) -> None:
        """Parse where to begin without a position; an invalid value denies only its own log."""
        for name in self.wish.since.keys() & self.given.keys():
            if self.wish.since[name] is None:
                continue
            try:
                since = subscriptions.read_since(name, self.wish.since[name])
            except InvalidField as error:
                self._deny(name, error)
                continue
            # A client with a position continues from there, even if it requests a start.
            if self.given[name] is not None:
                continue
            if since.position is not None:
                self.given[name] = since.position
            else:
                self._since[name] = since

    def _read_filters(self) -> None:
        for name in self.wish.filters.keys() & self.given.keys():
            if self.wish.filters[name] is None:
                continue
            try:
                self.filters[name] = subscriptions.read_filter(name, self.wish.filters[name])
            except InvalidField as error:
                self._deny(name, error)

    def _deny(self, name: str, error: InvalidField) -> None:
        """Deny a log because of a request that is invalid or impossible."""
        self.denied[name] = error
        del self.given[name]
        self.topics = [topic for topic in self.topics if TOPIC + topic != name]

    def leave_out(self, subscribed: list[str]) -> None:
        """Deny the topics that exceed the session's limit of subscriptions."""
        over = set(self.topics).difference(subscribed)
        for topic in over:
            self.denied[TOPIC + topic] = SubscriptionLimit(limit=settings().max_subscriptions)
            del self.asked[TOPIC + topic], self.given[TOPIC + topic]
        self.topics = [topic for topic in self.topics if topic not in over]

    def list_beginnings(self) -> Iterator[tuple[str, Position]]:
        """Yield the topics for which the client's position is before the first entry, with these positions."""
        for topic in self.topics:
            place = self.asked[TOPIC + topic]
            if place is not None and place.offset == 0 and place.tag:
                yield topic, place

    def list_wishes(self) -> Iterator[tuple[str, Since]]:
        """Yield the topics for which a start must be found, with the requested start."""
        for topic in self.topics:
            if TOPIC + topic in self._since:
                yield topic, self._since[TOPIC + topic]

    def list_documents(self) -> Iterator[bodies.Asked]:
        for name, position in self.asked.items():
            if name.startswith(STATE):
                yield self.wish.session, name.removeprefix(STATE), read_offset(position)

    def list_topics(self) -> Iterator[topics_reading.Asked]:
        for topic in self.topics:
            yield topic, read_offset(self.asked[TOPIC + topic])

    def list_timelines(self) -> Iterator[timelines.Asked]:
        if SESSION in self.asked:
            yield self.wish.session, read_offset(self.asked[SESSION])


def _load_documents(
    statements: Statements, places: list[bodies.Asked], now: datetime
) -> dict[bodies.Asked, DocumentWindow]:
    """Return the windows of documents; missing ones are created, up to the limits of their sessions."""
    found = bodies.load_windows(statements, places)
    missing = [place for place in places if place not in found]
    if missing:
        bodies.ensure_documents(statements, dict.fromkeys(place[:2] for place in missing), at=now)
        # Read them again, because another transaction may have created them in between, and written to them.
        found |= bodies.load_windows(statements, missing)
    return found


class _Logs:
    """Verdicts on the logs of a group. Clients with the same position in a topic share one."""

    def __init__(
        self,
        documents: dict[bodies.Asked, DocumentWindow],
        streams: dict[topics_reading.Asked, Window],
        now: datetime,
    ) -> None:
        self._documents, self._streams, self._now = documents, streams, now
        self._shared: dict[tuple[Any, ...], Log] = {}

    def build_all(self, view: View, *, missing: SessionMgmtError | None = None) -> dict[str, Log]:
        """Build the logs of one wish. A missing document is denied with ``missing``, by default ``DocumentLimit``."""
        found: dict[str, Log] = {}
        for place in view.list_documents():
            name = STATE + place[1]
            if place in self._documents:
                asked, given = view.asked[name], view.given[name]
                found[name] = make_document_log(name, self._documents[place], asked, given)
            else:
                view.denied[name] = missing or DocumentLimit(limit=settings().max_documents)
        for topic, offset in view.list_topics():
            name = TOPIC + topic
            # Clients with the same position in a topic and the same requests share one verdict.
            places = view.asked[name], view.given[name] is None, view.marks.get(name), view.starts.get(name)
            key = (topic, *places, view.filters.get(name))
            if key not in self._shared:
                self._shared[key] = make_topic_log(topic, self._streams[topic, offset], view, self._now)
            found[name] = self._shared[key]
        return found


def make_document_log(name: str, document: DocumentWindow, asked: Position | None, given: Any) -> Log:
    """Return a document's log with its verdict."""
    verdict = _give_verdict(name, asked, document.window, given)
    key = document_key(document.id)
    return Log(name, key, document.id, document.window.head, asked, verdict, encrypted=document.encrypted)


def make_topic_log(topic: str, window: Window, view: View, now: datetime) -> Log:
    """Return a topic's log with its verdict."""
    name = TOPIC + topic
    asked, start = view.asked[name], view.starts.get(name)
    verdict = _give_verdict(name, asked, window, view.given[name])
    # A client that has lost nothing keeps its own position, with its own mark.
    is_kept = asked is not None and asked.offset == 0 and verdict.mode is not Mode.LOST and start is None
    mark = view.marks.get(name, "") if is_kept else beginnings.make_mark(now)
    complete = start is None or start.is_complete
    key, only = stream_key(topic), view.filters.get(name)
    return Log(name, key, None, window.head, asked, verdict, mark=mark, complete=complete, only=only)


def make_timeline_log(session: uuid.UUID, window: Window, asked: Position | None, given: Any) -> Log:
    """Return a session's own log with its verdict."""
    return Log(SESSION, timeline_key(session), None, window.head, asked, _give_verdict(SESSION, asked, window, given))


def _give_verdict(name: str, asked: Position | None, window: Window, given: Any) -> Verdict:
    if asked is not None:
        return decide(asked, window, most=settings().replay_most)
    if given is not None:
        return Verdict(Mode.LOST, Reason.UNREADABLE_POSITION, 0, window.head.offset)
    # A document is useless without its value, so a new reader gets the whole value; other logs begin now.
    if name.startswith(STATE):
        return Verdict(Mode.LOST, Reason.FIRST, 0, window.head.offset)
    return Verdict(Mode.UP_TO_DATE, Reason.FROM_NOW)


def read_offset(position: Position | None) -> int | None:
    return position.offset if position else None

"""Follow logs: compare the position of a client with each log and give a verdict."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connections

from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.state import bodies
from session_mgmt.actions.timeline import reading as timelines
from session_mgmt.actions.topics import ledger, subscriptions
from session_mgmt.actions.topics import reading as topics_reading
from session_mgmt.conf import settings
from session_mgmt.exceptions import DocumentLimit, SessionEnded, SessionExpired, SessionMgmtError, SubscriptionLimit
from session_mgmt.models import ClientSession, SessionActivity, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC, document_key, stream_key, timeline_key
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason, Verdict, Window, decide


@dataclass(frozen=True, slots=True)
class Log:
    """Log that may be followed: its key, its head, and the verdict on the client's position. ``id`` is its row (none
    for ``session``).
    """

    name: str
    key: str
    id: int | None
    head: Position
    asked: Position | None
    verdict: Verdict
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """Logs that may be followed, the error of every other log, and the topics that the session is subscribed to."""

    logs: dict[str, Log]
    denied: dict[str, SessionMgmtError]
    subscribed: list[str]


def claim_session(using: str, session: ClientSession, now: datetime) -> None:
    """Compete with expiry for the session's row, and lock it. Raises ``SessionEnded`` for the one who loses."""
    activity = SessionActivity.objects.using(using).filter(pk=session.pk, live=True, expires_at__gt=now)
    if not activity.update(live=True):
        raise _find_end(using, session, now)


def require_live(using: str, session: ClientSession, now: datetime) -> None:
    """Look at the session's row and lock nothing, for verbs that only read. Raises ``SessionEnded``."""
    if not SessionActivity.objects.using(using).filter(pk=session.pk, live=True, expires_at__gt=now).exists():
        raise _find_end(using, session, now)


def _find_end(using: str, session: ClientSession, now: datetime) -> SessionEnded:
    session.refresh_from_db(using=using)
    return tokens.explain_end(session, now=now) or SessionExpired()


def look_at_logs(
    using: str,
    session: ClientSession,
    logs: dict[str, Any],
    granted: frozenset[str],
    now: datetime,
) -> Looked:
    """Give a verdict on every log, or the error of one that may not be followed: a log is denied alone.

    Documents and streams that do not exist yet are made, and the topics become subscriptions.
    """
    statements = Statements(connections[using])
    topics, denied = subscriptions.split_logs(logs, granted)
    subscribed = subscriptions.add_subscriptions(using, session.pk, topics, now)
    over = set(topics).difference(subscribed)
    denied |= {TOPIC + topic: SubscriptionLimit(limit=settings().max_subscriptions) for topic in over}
    topics = [topic for topic in topics if topic not in over]
    asked = {name: positions.parse(value) for name, value in logs.items() if name not in denied}
    documents = {name.removeprefix(STATE): position for name, position in asked.items() if name.startswith(STATE)}
    found, missing = _look_at_documents(using, statements, session.pk, documents, logs, now)
    denied |= {STATE + name: DocumentLimit(limit=settings().max_documents) for name in missing}
    ledger.hold_streams(statements, topics, at=now)
    found |= _load_topics(statements, {topic: asked[TOPIC + topic] for topic in topics}, logs)
    if SESSION in asked:
        found |= _load_timeline(using, session.pk, asked[SESSION], logs)
    return Looked(found, denied, subscribed)


def _look_at_documents(
    using: str,
    statements: Statements,
    session: uuid.UUID,
    documents: dict[str, Position | None],
    logs: dict[str, Any],
    now: datetime,
) -> tuple[dict[str, Log], set[str]]:
    """Return the logs of documents, and the names for which the session has no room."""
    found = _load_documents(statements, session, documents, logs)
    missing = [name for name in documents if STATE + name not in found]
    made = _make_documents(using, session, missing, now)
    found |= _load_documents(statements, session, {name: documents[name] for name in made}, logs)
    return found, {name for name in documents if STATE + name not in found}


def _load_documents(
    statements: Statements, session: uuid.UUID, documents: dict[str, Position | None], logs: dict[str, Any]
) -> dict[str, Log]:
    """Return the logs of the documents that exist."""
    offsets = {name: _read_offset(position) for name, position in documents.items()}
    found = {}
    for name, document in bodies.load_windows(statements, session, offsets).items():
        log = STATE + name
        key, asked, window = document_key(document.id), documents[name], document.window
        found[log] = replace(
            _make_log(log, key, document.id, asked, window, given=logs[log]), encrypted=document.encrypted
        )
    return found


def _load_topics(statements: Statements, topics: dict[str, Position | None], logs: dict[str, Any]) -> dict[str, Log]:
    """Return the logs of the topics that have a stream."""
    offsets = {topic: _read_offset(position) for topic, position in topics.items()}
    found = {}
    for topic, seen in topics_reading.read_windows(statements, offsets).items():
        name = TOPIC + topic
        found[name] = _make_log(name, stream_key(seen.id), seen.id, topics[topic], seen.window, given=logs[name])
    return found


def _load_timeline(using: str, session: uuid.UUID, position: Position | None, logs: dict[str, Any]) -> dict[str, Log]:
    window = timelines.read_window(using, session, _read_offset(position))
    if window is None:
        return {}
    return {SESSION: _make_log(SESSION, timeline_key(session), None, position, window, given=logs[SESSION])}


def _make_documents(using: str, session: uuid.UUID, names: list[str], now: datetime) -> list[str]:
    made: list[str] = []
    for name in names:
        try:
            bodies.ensure_document(using, session, name, most=settings().max_documents, at=now)
        except DocumentLimit:
            break
        made.append(name)
    return made


def _make_log(name: str, key: str, row: int | None, asked: Position | None, window: Window, *, given: Any) -> Log:
    return Log(name, key, row, window.head, asked, _give_verdict(name, asked, window, given))


def _give_verdict(name: str, asked: Position | None, window: Window, given: Any) -> Verdict:
    if asked is not None:
        return decide(asked, window, most=settings().replay_most)
    if given is not None:
        return Verdict(Mode.LOST, Reason.UNREADABLE_POSITION, 0, window.head.offset)
    if name.startswith(STATE):
        return Verdict(Mode.LOST, Reason.FIRST, 0, window.head.offset)
    return Verdict(Mode.UP_TO_DATE, Reason.FROM_NOW)


def _read_offset(position: Position | None) -> int | None:
    return position.offset if position else None


def subscribe(session: ClientSession, name: str, position: Any, *, gate: AbstractContextManager[Any]) -> Log:
    """Look at one more log for a live connection, and ask the application for the right to a topic.

    A log for which nothing must be stored costs no transaction. ``gate`` is held around any other. Raises as
    ``follow_log``.
    """
    granted = subscriptions.ask_granted(session, [name])
    known = find_log(session, name, position, granted)
    if known is not None:
        return known
    with gate:
        return follow_log(session, name, position, granted)


def find_log(
    session: ClientSession, name: str, position: Any, granted: frozenset[str], *, now: datetime | None = None
) -> Log | None:
    """Look at a log by reading alone; ``None`` if its document, stream or subscription must be made first.

    Raises as ``follow_log``: a session that ended follows nothing.
    """
    using = settings().database
    require_live(using, session, now or clock.read(using))
    topics, denied = subscriptions.split_logs([name], granted)
    if name in denied:
        raise denied[name]
    statements, logs, asked = Statements(connections[using]), {name: position}, positions.parse(position)
    if name == SESSION:
        return _load_timeline(using, session.pk, asked, logs).get(name)
    if name.startswith(STATE):
        return _load_documents(statements, session.pk, {name.removeprefix(STATE): asked}, logs).get(name)
    if not subscriptions.is_subscribed(using, session.pk, topics[0]):
        return None
    return _load_topics(statements, {topics[0]: asked}, logs).get(name)


def follow_log(
    session: ClientSession, name: str, position: Any, granted: frozenset[str], *, now: datetime | None = None
) -> Log:
    """Look at one more log for a live connection.

    ``granted`` are the topics that the application allows. Raises ``TopicDenied``, ``InvalidField``, ``SessionEnded``
    or a limit's error.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        claim_session(using, session, now)
        looked = look_at_logs(using, session, {name: position}, granted, now)
        if name in looked.denied:
            raise looked.denied[name]
        return looked.logs[name]

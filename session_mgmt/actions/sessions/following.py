"""Follow logs: compare the position of a client with each log and give a verdict."""

from __future__ import annotations

import uuid
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
from session_mgmt.exceptions import DocumentLimit, SessionExpired, SessionMgmtError, SubscriptionLimit
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
        session.refresh_from_db(using=using)
        raise tokens.explain_end(session, now=now) or SessionExpired()


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
    offsets = {topic: _read_offset(asked[TOPIC + topic]) for topic in topics}
    for topic, seen in topics_reading.read_windows(statements, offsets).items():
        name = TOPIC + topic
        found[name] = _make_log(name, stream_key(seen.id), seen.id, asked[name], seen.window, given=logs[name])
    if SESSION in asked:
        window = timelines.read_window(using, session.pk, _read_offset(asked[SESSION]))
        assert window is not None  # the session's row was claimed in this transaction
        found[SESSION] = _make_log(SESSION, timeline_key(session.pk), None, asked[SESSION], window, given=logs[SESSION])
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
    offsets = {name: _read_offset(position) for name, position in documents.items()}
    seen = bodies.load_windows(statements, session, offsets)
    missing = [name for name in documents if name not in seen]
    made = _make_documents(using, session, missing, now)
    if made:
        seen |= bodies.load_windows(statements, session, {name: offsets[name] for name in made})
    found = {}
    for name, document in seen.items():
        log = STATE + name
        key, asked, window = document_key(document.id), documents[name], document.window
        found[log] = replace(
            _make_log(log, key, document.id, asked, window, given=logs[log]), encrypted=document.encrypted
        )
    return found, documents.keys() - seen.keys()


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

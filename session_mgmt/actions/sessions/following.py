"""Follow logs: compare the position of a client with each log and give a verdict."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connections, transaction

from session_mgmt.actions.state import bodies
from session_mgmt.actions.timeline import reading as timelines
from session_mgmt.actions.topics import ledger, subscriptions
from session_mgmt.actions.topics import reading as topics_reading
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    SessionMgmtError,
)
from session_mgmt.models import ClientSession, clock
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


def look_at_logs(
    using: str,
    session: ClientSession,
    logs: dict[str, Any],
    topics: list[str],
    denied: dict[str, SessionMgmtError],
    now: datetime,
) -> dict[str, Log]:
    """Give a verdict on every log; make the documents and streams that do not exist yet."""
    statements = Statements(connections[using])
    asked = {name: positions.parse(value) for name, value in logs.items() if name not in denied}
    found: dict[str, Log] = {}
    documents = {name.removeprefix(STATE): position for name, position in asked.items() if name.startswith(STATE)}
    found |= _look_at_documents(using, statements, session.pk, documents, logs, now)
    ledger.ensure_streams(statements, topics, at=now)
    offsets = {topic: _read_offset(asked[TOPIC + topic]) for topic in topics}
    for topic, seen in topics_reading.read_windows(statements, offsets).items():
        name = TOPIC + topic
        found[name] = _make_log(name, stream_key(seen.id), seen.id, asked[name], seen.window, given=logs[name])
    if SESSION in asked:
        window = timelines.read_window(using, session.pk, _read_offset(asked[SESSION]))
        assert window is not None  # the session's row was claimed in this transaction
        found[SESSION] = _make_log(SESSION, timeline_key(session.pk), None, asked[SESSION], window, given=logs[SESSION])
    return found


def _look_at_documents(
    using: str,
    statements: Statements,
    session: uuid.UUID,
    documents: dict[str, Position | None],
    logs: dict[str, Any],
    now: datetime,
) -> dict[str, Log]:
    offsets = {name: _read_offset(position) for name, position in documents.items()}
    seen = bodies.load_windows(statements, session, offsets)
    missing = documents.keys() - seen.keys()
    for name in sorted(missing):
        bodies.ensure_document(using, session, name, most=settings().max_documents, at=now)
    if missing:
        seen |= bodies.load_windows(statements, session, {name: offsets[name] for name in missing})
    found = {}
    for name, document in seen.items():
        log = STATE + name
        key, asked, window = document_key(document.id), documents[name], document.window
        found[log] = replace(
            _make_log(log, key, document.id, asked, window, given=logs[log]), encrypted=document.encrypted
        )
    return found


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


def follow_log(session: ClientSession, name: str, position: Any, *, now: datetime | None = None) -> Log:
    """Look at one more log for a live connection. Raises ``TopicDenied``, ``InvalidField`` or a limit's error."""
    using = settings().database
    with transaction.atomic(using=using):
        now = now or clock.read(using)
        topics, denied = subscriptions.split_topics(session, {name: position})
        if denied:
            raise denied[name]
        if topics:
            subscriptions.check_limit(using, session.pk, topics[0])
            subscriptions.add_subscriptions(using, session.pk, topics, now)
        return look_at_logs(using, session, {name: position}, topics, {}, now)[name]

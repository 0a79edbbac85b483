"""Connecting: one transaction that proves the session, takes over the client, and gives a verdict on every log.

A fixed number of queries, whatever the session holds; rights to topics are asked of the application each time.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import connections, transaction
from django.db.models import F

from session_mgmt.actions import access, bodies, events, notices, streams, tokens
from session_mgmt.actions.events import Record, record
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    ClientForgotten,
    ConnectionLimit,
    InvalidField,
    SessionMgmtError,
    SubscriptionLimit,
)
from session_mgmt.models import Client, ClientSession, Connection, SessionActivity, Subscription, clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import events as names
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.logs import SESSION, STATE, TOPIC, document_key, stream_key, timeline_key
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason, Verdict, Window, decide


@dataclass(frozen=True, slots=True)
class Log:
    """A log that may be followed: its key, where it stands, and what the client must be given. ``id`` is its row
    (none for ``session``).
    """

    name: str
    key: str
    id: int | None
    head: Position
    asked: Position | None
    verdict: Verdict
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """A client that is connected: everything that its connection must know."""

    session: ClientSession
    client: int
    client_id: str
    generation: int
    connection: int
    last_seq: int
    went_back: bool
    is_new: bool
    logs: dict[str, Log]
    denied: dict[str, SessionMgmtError]
    at: datetime
    subscriptions: list[str] = field(default_factory=list)
    queries: int = 0


def attach(connect: Connect, *, server: str, transport: str = "websocket", now: datetime | None = None) -> Attachment:
    """Resume: prove the session, fence off older connections of this client, and look at every log that it follows.

    Raises ``InvalidToken``, ``TokenExpired``, ``SessionEnded``, ``ClientForgotten`` or ``ConnectionLimit``.
    """
    using = settings().database
    counter = _Counter()
    with connections[using].execute_wrapper(counter), transaction.atomic(using=using):
        now = now or clock.read(using)
        session = tokens.verify(using, connect.token, now=now)
        _claim(using, session, now)
        client, went_back, is_new = _take_over(using, session, connect, now)
        _check_connections(using, session, now)
        connection = _open(using, session, client, server, transport, now)
        topics, denied = _split_topics(session, connect.logs)
        _subscribe(using, session.pk, topics, now)
        event = names.CONNECTION_ESTABLISHED if is_new else names.CONNECTION_RESTORED
        ledger = events.append(
            Statements(connections[using]),
            [record(session.pk, event, {"client_id": client.client_id, "generation": client.generation})],
            at=now,
        )
        logs = _look(using, session, connect.logs, topics, denied, now)
        heads, facts = ledger.heads(), ledger.facts()
        synchronised = None if is_new else _synchronised(client, logs)
        if synchronised is not None:
            later = events.append(Statements(connections[using]), [synchronised], at=now)
            heads, facts = heads | later.heads(), [*facts, *later.facts()]
        subscriptions = list(Subscription.objects.using(using).filter(session=session).values_list("topic", flat=True))
        notices.after_commit(
            using,
            rings=heads,
            facts=facts,
            cargo={"replaced": [client.pk, client.generation]},
        )
    return Attachment(
        session=session,
        client=client.pk,
        client_id=client.client_id,
        generation=client.generation,
        connection=connection,
        last_seq=client.last_seq,
        went_back=went_back,
        is_new=is_new,
        logs=logs,
        denied=denied,
        at=now,
        subscriptions=subscriptions,
        queries=counter.count,
    )


def _synchronised(client: Client, logs: dict[str, Log]) -> Record | None:
    """The event of a resume that brings documents to where they are; none if nothing has to move."""
    moved = {
        log.name.removeprefix(STATE): [log.asked.offset if log.asked else None, log.head.offset]
        for log in logs.values()
        if log.name.startswith(STATE) and log.verdict.mode is not Mode.UP_TO_DATE
    }
    if not moved:
        return None
    data = {"client_id": client.client_id, "documents": moved}
    return record(client.session_id, names.STATE_SYNCHRONIZED, data)


class _Counter:
    """How many statements a recovery took; part of its receipt."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.count += 1
        return execute(sql, params, many, context)


def _claim(using: str, session: ClientSession, now: datetime) -> None:
    """Compete with expiry for the session's row; whoever loses is told so."""
    activity = SessionActivity.objects.using(using).filter(pk=session.pk, live=True, expires_at__gt=now)
    if not activity.update(live=True):
        session.refresh_from_db(using=using)
        raise tokens.why_not_live(session, now=now) or tokens.SessionExpired()


def _take_over(using: str, session: ClientSession, connect: Connect, now: datetime) -> tuple[Client, bool, bool]:
    """The client with its new generation; whether the server was behind it; whether it is new."""
    clients = Client.objects.using(using)
    if connect.client_id is None:
        fresh = Client(session=session, generation=1, agent=connect.agent, created_at=now)
        fresh.save(using=using, force_insert=True)
        return fresh, False, True
    mine = clients.filter(session=session, client_id=connect.client_id)
    if not mine.update(generation=F("generation") + 1):
        raise ClientForgotten()
    client = mine.get()
    went_back = connect.acked > client.last_seq
    if went_back:
        # A restored database: the numbers that it forgot were decided, and must not be given out again.
        mine.update(last_seq=connect.acked)
        client.last_seq = connect.acked
    Connection.objects.using(using).filter(client=client, closed_at__isnull=True).update(
        closed_at=now, close_code=4507, closed_by="server"
    )
    return client, went_back, False


def _check_connections(using: str, session: ClientSession, now: datetime) -> None:
    if session.user_id is None:
        return
    live = Connection.objects.using(using).filter(
        session__user=session.user_id, closed_at__isnull=True, lease_expires_at__gt=now
    )
    if live.count() >= settings().max_connections_per_user:
        raise ConnectionLimit(limit=settings().max_connections_per_user, retry_after=60.0)


def _open(using: str, session: ClientSession, client: Client, server: str, transport: str, now: datetime) -> int:
    connection = Connection(
        session=session,
        client=client,
        generation=client.generation,
        transport=transport,
        server=server,
        opened_at=now,
        lease_expires_at=now + settings().lease_duration,
    )
    connection.save(using=using, force_insert=True)
    return connection.pk


def _split_topics(session: ClientSession, logs: dict[str, Any]) -> tuple[list[str], dict[str, SessionMgmtError]]:
    """The topics that may be followed, and why not for every other log."""
    topics: list[str] = []
    denied: dict[str, SessionMgmtError] = {}
    for name in logs:
        error = _why_not(session, name)
        if error is not None:
            denied[name] = error
        elif name.startswith(TOPIC):
            topics.append(name.removeprefix(TOPIC))
    if len(topics) > settings().max_subscriptions:
        raise SubscriptionLimit(limit=settings().max_subscriptions)
    return topics, denied


def _why_not(session: ClientSession, name: str) -> SessionMgmtError | None:
    if name == SESSION or (name.startswith(STATE) and access.is_document(name.removeprefix(STATE))):
        return None
    if not name.startswith(TOPIC):
        return InvalidField("A log is session, state:<name> or topic:<topic>.", field="logs")
    try:
        access.may_follow(session, name.removeprefix(TOPIC))
    except SessionMgmtError as error:
        return error
    return None


def _subscribe(using: str, session: uuid.UUID, topics: list[str], now: datetime) -> None:
    if topics:
        Subscription.objects.using(using).bulk_create(
            [Subscription(session_id=session, topic=topic, created_at=now) for topic in topics], ignore_conflicts=True
        )


def follow(session: ClientSession, name: str, position: Any, *, now: datetime | None = None) -> Log:
    """Look at one more log for a live connection. Raises ``TopicDenied``, ``InvalidField`` or a limit's error."""
    using = settings().database
    with transaction.atomic(using=using):
        now = now or clock.read(using)
        topics, denied = _split_topics(session, {name: position})
        if denied:
            raise denied[name]
        if topics:
            _check_subscriptions(using, session.pk, topics[0])
            _subscribe(using, session.pk, topics, now)
        return _look(using, session, {name: position}, topics, {}, now)[name]


def _check_subscriptions(using: str, session: uuid.UUID, topic: str) -> None:
    mine = Subscription.objects.using(using).filter(session_id=session)
    if mine.exclude(topic=topic).count() >= settings().max_subscriptions:
        raise SubscriptionLimit(limit=settings().max_subscriptions)


def publish_ephemeral(session: ClientSession, topic: str, data: Any) -> None:
    """Tell those who are there now; nothing is stored. Raises ``PublishDenied``."""
    using = settings().database
    access.may_publish(session, topic)
    found = streams.windows(Statements(connections[using]), {topic: None}).get(topic)
    if found is not None:
        # Without a stream nobody follows the topic: to follow makes one.
        notices.carry(stream_key(found.id), topic, data)


def unfollow(session: uuid.UUID, topic: str) -> None:
    """Take a topic out of what the session is subscribed to."""
    Subscription.objects.using(settings().database).filter(session_id=session, topic=topic).delete()


def _look(
    using: str,
    session: ClientSession,
    logs: dict[str, Any],
    topics: list[str],
    denied: dict[str, SessionMgmtError],
    now: datetime,
) -> dict[str, Log]:
    """A verdict on every log; documents and streams that do not exist yet are made."""
    statements = Statements(connections[using])
    asked = {name: positions.parse(value) for name, value in logs.items() if name not in denied}
    found: dict[str, Log] = {}
    documents = {name.removeprefix(STATE): position for name, position in asked.items() if name.startswith(STATE)}
    found |= _look_at_documents(using, statements, session.pk, documents, logs, now)
    streams.ensure(statements, topics, at=now)
    offsets = {topic: _offset(asked[TOPIC + topic]) for topic in topics}
    for topic, seen in streams.windows(statements, offsets).items():
        name = TOPIC + topic
        found[name] = _log(name, stream_key(seen.id), seen.id, asked[name], seen.window, given=logs[name])
    if SESSION in asked:
        window = events.window(statements, session.pk, _offset(asked[SESSION]))
        assert window is not None  # the session's row was claimed in this transaction
        found[SESSION] = _log(SESSION, timeline_key(session.pk), None, asked[SESSION], window, given=logs[SESSION])
    return found


def _look_at_documents(
    using: str,
    statements: Statements,
    session: uuid.UUID,
    documents: dict[str, Position | None],
    logs: dict[str, Any],
    now: datetime,
) -> dict[str, Log]:
    offsets = {name: _offset(position) for name, position in documents.items()}
    seen = bodies.windows(statements, session, offsets)
    missing = documents.keys() - seen.keys()
    for name in sorted(missing):
        bodies.ensure(using, session, name, most=settings().max_documents, at=now)
    if missing:
        seen |= bodies.windows(statements, session, {name: offsets[name] for name in missing})
    found = {}
    for name, document in seen.items():
        log = STATE + name
        key, asked, window = document_key(document.id), documents[name], document.window
        found[log] = replace(_log(log, key, document.id, asked, window, given=logs[log]), encrypted=document.encrypted)
    return found


def _log(name: str, key: str, row: int | None, asked: Position | None, window: Window, *, given: Any) -> Log:
    return Log(name, key, row, window.head, asked, _verdict(name, asked, window, given))


def _verdict(name: str, asked: Position | None, window: Window, given: Any) -> Verdict:
    if asked is not None:
        return decide(asked, window, most=settings().replay_most)
    if given is not None:
        return Verdict(Mode.LOST, Reason.UNREADABLE_POSITION, 0, window.head.offset)
    if name.startswith(STATE):
        return Verdict(Mode.LOST, Reason.FIRST, 0, window.head.offset)
    return Verdict(Mode.UP_TO_DATE, Reason.FROM_NOW)


def _offset(position: Position | None) -> int | None:
    return position.offset if position else None

"""Connect a client: one transaction proves the session, takes over the client, and gives a verdict on every log.

A fixed number of queries, whatever the session holds; rights to topics are asked of the application each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import Exists, F, Max, OuterRef

from session_mgmt.actions.sessions import following, tokens
from session_mgmt.actions.sessions.connections import close_taken_over, find_live, ghost_time
from session_mgmt.actions.sessions.following import Log
from session_mgmt.actions.timeline.ledger import Record, make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.actions.topics import subscriptions
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    ClientForgotten,
    ConnectionLimit,
    SessionMgmtError,
)
from session_mgmt.models import Client, ClientSession, Connection, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol import events as names
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.logs import STATE
from session_mgmt.protocol.recovery import Mode


@dataclass(frozen=True, slots=True)
class Attachment:
    """Connected client: everything that its connection must know."""

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


def ask_granted(connect: Connect, *, now: datetime | None = None) -> frozenset[str]:
    """Ask the application which topics of a ``connect`` its session may follow.

    This runs the project's code, so no transaction and no lock is held. Raises as ``attach_client`` does.
    """
    if not connect.has_topics:
        return frozenset()
    using = settings().database
    session = tokens.verify_token(using, connect.token, now=now or clock.read(using))
    return subscriptions.ask_granted(session, connect.logs)


def attach_client(
    connect: Connect,
    granted: frozenset[str] = frozenset(),
    *,
    server: str,
    transport: str = "websocket",
    now: datetime | None = None,
) -> Attachment:
    """Prove the session, fence off older connections of this client, and look at every log that it follows.

    ``granted`` are the topics that the application allows; any other topic, and any log over a limit, is denied.
    Raises ``InvalidToken``, ``TokenExpired``, ``SessionEnded``, ``ClientForgotten`` or ``ConnectionLimit``.
    """
    using = settings().database
    counter = _Counter()
    with connections[using].execute_wrapper(counter), open_transaction(using):
        now = now or clock.read(using)
        session = tokens.verify_token(using, connect.token, now=now)
        following.claim_session(using, session, now)
        client, went_back, is_new = _take_over_client(using, session, connect, now)
        _check_connections(using, session, now)
        connection = _open_connection(using, session, client, server, transport, now)
        event = names.CONNECTION_ESTABLISHED if is_new else names.CONNECTION_RESTORED
        entry = make_record(session.pk, event, {"client_id": client.client_id, "generation": client.generation})
        record_entries(using, [entry], at=now, orders={"replaced": [client.pk, client.generation]})
        looked = following.look_at_logs(using, session, connect.logs, granted, now)
        # Only now are the missed entries known; the event comes after the verdict on the session's own log.
        synchronised = None if is_new else _make_synchronised(client, looked.logs)
        if synchronised is not None:
            record_entries(using, [synchronised], at=now)
    return Attachment(
        session=session,
        client=client.pk,
        client_id=client.client_id,
        generation=client.generation,
        connection=connection,
        last_seq=client.last_seq,
        went_back=went_back,
        is_new=is_new,
        logs=looked.logs,
        denied=looked.denied,
        at=now,
        subscriptions=looked.subscribed,
        queries=counter.count,
    )


def _make_synchronised(client: Client, logs: dict[str, Log]) -> Record | None:
    """Return the event of a resume that brings documents up to date; none if nothing has to move."""
    moved = {
        log.name.removeprefix(STATE): [log.asked.offset if log.asked else None, log.head.offset]
        for log in logs.values()
        if log.name.startswith(STATE) and log.verdict.mode is not Mode.UP_TO_DATE
    }
    if not moved:
        return None
    data = {"client_id": client.client_id, "documents": moved}
    return make_record(client.session_id, names.STATE_SYNCHRONIZED, data)


class _Counter:
    """Count of the statements that a recovery took; part of its receipt."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.count += 1
        return execute(sql, params, many, context)


def _take_over_client(using: str, session: ClientSession, connect: Connect, now: datetime) -> tuple[Client, bool, bool]:
    """Return the client with its new generation, if the server was behind it, and if it is new."""
    clients = Client.objects.using(using)
    if connect.client_id is None:
        _make_room_for_client(using, session, now)
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
    close_taken_over(using, client, now)
    return client, went_back, False


def _make_room_for_client(using: str, session: ClientSession, now: datetime) -> None:
    """Delete the clients that were away longest, if the session has as many as it may. Raises ``ConnectionLimit``."""
    clients = Client.objects.using(using).filter(session=session)
    surplus = clients.count() - settings().max_clients + 1
    if surplus <= 0:
        return
    served = find_live(using, now).filter(client=OuterRef("pk"))
    away = clients.filter(~Exists(served)).annotate(last=Max("connections__opened_at"))
    oldest = list(away.order_by(F("last").asc(nulls_first=True), "pk").values_list("pk", flat=True)[:surplus])
    if len(oldest) < surplus:
        raise ConnectionLimit(limit=settings().max_clients, retry_after=ghost_time().total_seconds())
    # Locked first: a write of theirs that has begun leaves a receipt, which has to go as well.
    locked = list(clients.filter(pk__in=oldest).order_by("pk").select_for_update().values_list("pk", flat=True))
    clients.filter(pk__in=locked).delete()


def _check_connections(using: str, session: ClientSession, now: datetime) -> None:
    live, most = find_live(using, now), settings().max_connections_per_session
    retry_after = ghost_time().total_seconds()
    if live.filter(session=session.pk).count() >= most:
        raise ConnectionLimit("The session has as many connections as allowed.", limit=most, retry_after=retry_after)
    most = settings().max_connections_per_user
    if session.user_id is not None and live.filter(session__user=session.user_id).count() >= most:
        raise ConnectionLimit(limit=most, retry_after=retry_after)


def _open_connection(
    using: str, session: ClientSession, client: Client, server: str, transport: str, now: datetime
) -> int:
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

"""Take over clients and open their connections, many together: rows are locked and counted first, then each member is
accepted or refused, and only then rows are written.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from session_mgmt.actions.sessions.connections import (
    LOST,
    TAKEN_OVER,
    WEBSOCKET,
    find_renewed_time,
    ghost_time,
    polling_lease,
)
from session_mgmt.conf import settings
from session_mgmt.exceptions import ConnectionLimit, SessionMgmtError
from session_mgmt.models import Client, ClientSession
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import CLIENT, CONNECTION, SESSION

_NAME = {"session_id": "uuid", "client_id": "text"}
_CLIENT_COLUMNS = {
    "session_id": "uuid",
    "client_id": "text",
    "generation": "bigint",
    "last_seq": "bigint",
    "confirmed_seq": "bigint",
    "agent": "text",
    "created_at": "timestamptz",
}
_CONNECTION_COLUMNS = {
    "session_id": "uuid",
    "client_id": "bigint",
    "generation": "bigint",
    "transport": "text",
    "server": "text",
    "opened_at": "timestamptz",
    "lease_expires_at": "timestamptz",
    "closed_by": "text",
    "beats_sent": "integer",
    "beats_missed": "integer",
    "messages_in": "bigint",
    "messages_out": "bigint",
    "bytes_in": "bigint",
    "bytes_out": "bigint",
    "verdict": "text",
    "receipt": "text",
}
_NOTHING_YET = ("", 0, 0, 0, 0, 0, 0)

# Id of the session, and public id of the client.
Name = tuple[uuid.UUID, str]


@dataclass(slots=True)
class ClientRow:
    """Client of a group; ``id`` is ``None`` until a new client is stored."""

    session: uuid.UUID
    name: str
    agent: str
    id: int | None = None
    generation: int = 1
    last_seq: int = 0


class Opened(NamedTuple):
    """Connection to store, with the draft of its recovery's receipt if later calls will complete it."""

    client: ClientRow
    transport: str
    server: str
    verdict: str = ""
    receipt: str = ""


def lock_clients(
    statements: Statements, names: Collection[Name], *, wait: bool
) -> tuple[dict[Name, ClientRow], set[Name]]:
    """Lock the clients that exist, in the order of their ids; return them, and the names that others have locked."""
    stored = {(statements.uuid(session), name): (session, name) for session, name in names}
    # Lock before counting, so that nobody changes the counted rows until the commit.
    rows = statements.lock_pairs(
        "id, session_id, client_id, generation, last_seq", CLIENT, _NAME, stored.keys(), wait=wait
    )
    found: dict[Name, ClientRow] = {}
    for key, session, name, generation, last_seq in rows:
        session = statements.as_uuid(session)
        found[session, name] = ClientRow(session, name, "", key, generation, last_seq)
    # SQLite has no row locks that could be skipped, because the whole file has one writer.
    missing = [key for key, name in stored.items() if name not in found]
    if wait or not statements.postgres or not missing:
        return found, set()
    # A client that the lock has skipped and that still exists is locked by another transaction.
    held = statements.select_pairs("session_id, client_id", CLIENT, _NAME, missing)
    return found, {(statements.as_uuid(session), name) for session, name in held}


class Room:
    """Limits of a group of connects: connections of sessions and users, and clients of sessions."""

    def __init__(
        self, statements: Statements, sessions: Collection[uuid.UUID], users: Collection[Any], *, now: datetime
    ) -> None:
        self._sql, self._now = statements, now
        # Connections of a dead process do not count.
        self._renewed = [statements.moment(find_renewed_time(now)), statements.moment(now)]
        self._by_session: Counter[uuid.UUID] = Counter()
        self._by_client: Counter[int] = Counter()
        for session, client in self._load_live(sessions):
            self._by_session[statements.as_uuid(session)] += 1
            self._by_client[client] += 1
        self._by_user: Counter[Any] = Counter(self._count_of_users(users))
        self._clients: Counter[uuid.UUID] = Counter()
        self._away: dict[uuid.UUID, list[int]] = {}
        self._held: set[uuid.UUID] = set()
        self.surplus: list[int] = []

    def load_clients(self, fresh: Counter[uuid.UUID], returning: Collection[int], *, wait: bool) -> None:
        """Count the clients of the sessions in ``fresh``, which are the numbers of new ones, and lock those clients
        that may have to be deleted.
        """
        if not fresh:
            return
        self._clients = Counter(self._count_clients(fresh))
        short = {
            session: missing
            for session, count in fresh.items()
            if (missing := self._clients[session] + count - settings().max_clients) > 0
        }
        if short:
            self._lock_away(short, set(returning), wait=wait)

    def admit(self, session: uuid.UUID, user: Any, client: ClientRow, *, connects: bool) -> SessionMgmtError | None:
        """Count a member, in the order of the group; return the error if it exceeds a limit, else ``None``.

        A member that does not connect needs a place only among the clients.
        """
        if not connects:
            return self._make_room(session) if client.id is None else None
        # A page must be able to reload while its session is at the limit: it replaces its own connection.
        replaced = self._by_client[client.id] if client.id is not None else 0
        error = self._find_limit(session, user, replaced)
        # Only a new client needs a place among the clients.
        if error is None and client.id is None:
            error = self._make_room(session)
        if error is None:
            # Its older connection, if there is one, is closed by this one.
            self._by_session[session] += 1 - replaced
            if user is not None:
                self._by_user[user] += 1 - replaced
        return error

    def is_held(self, session: uuid.UUID) -> bool:
        """Return whether a client that would be deleted for a new one is locked by another transaction."""
        return session in self._held

    def _find_limit(self, session: uuid.UUID, user: Any, replaced: int) -> SessionMgmtError | None:
        retry_after = ghost_time().total_seconds()
        most = settings().max_connections_per_session
        if self._by_session[session] - replaced >= most:
            text = "The session has as many connections as allowed."
            return ConnectionLimit(text, limit=most, retry_after=retry_after)
        most = settings().max_connections_per_user
        if user is not None and self._by_user[user] - replaced >= most:
            return ConnectionLimit(limit=most, retry_after=retry_after)
        return None

    def _make_room(self, session: uuid.UUID) -> SessionMgmtError | None:
        """Let a new client replace the one that was away longest, if the session has as many as allowed."""
        if self._clients[session] < settings().max_clients:
            self._clients[session] += 1
            return None
        away = self._away.get(session)
        if not away:
            return ConnectionLimit(limit=settings().max_clients, retry_after=ghost_time().total_seconds())
        # The rows are ordered by how long their clients were away.
        self.surplus.append(away.pop(0))
        return None

    def _load_live(self, sessions: Collection[uuid.UUID]) -> list[tuple[Any, int]]:
        """Return the session and the client of each open connection whose process is alive."""
        if not sessions:
            return []
        among, params = self._sql.among("session_id", [self._sql.uuid(session) for session in sessions])
        return self._sql.fetch(
            f"SELECT session_id, client_id FROM {CONNECTION} WHERE {among} AND closed_at IS NULL AND {_is_live()}",
            [*params, *self._renewed],
        )

    def _count_of_users(self, users: Collection[Any]) -> dict[Any, int]:
        # The value in the column; the model's form of a key may differ from it.
        stored = {_stored_user(self._sql, user): user for user in users}
        if not stored:
            return {}
        among, params = self._sql.among("s.user_id", list(stored))
        rows = self._sql.fetch(
            f"SELECT s.user_id, COUNT(*) FROM {SESSION} s JOIN {CONNECTION} n ON n.session_id = s.id"
            f" WHERE {among} AND n.closed_at IS NULL AND {_is_live('n.')} GROUP BY s.user_id",
            [*params, *self._renewed],
        )
        return {stored[user]: count for user, count in rows}

    def _count_clients(self, sessions: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
        among, params = self._sql.among("session_id", [self._sql.uuid(session) for session in sessions])
        rows = self._sql.fetch(f"SELECT session_id, COUNT(*) FROM {CLIENT} WHERE {among} GROUP BY session_id", params)
        return {self._sql.as_uuid(session): count for session, count in rows}

    def _lock_away(self, short: dict[uuid.UUID, int], returning: set[int], *, wait: bool) -> None:
        """Lock for each session as many clients without a connection as exceed its limit: those that were away
        longest.
        """
        among, params = self._sql.among("c.session_id", [self._sql.uuid(session) for session in short])
        served = f"SUM(CASE WHEN n.closed_at IS NULL AND {_is_live('n.')} THEN 1 ELSE 0 END)"
        rows = self._sql.fetch(
            f"SELECT c.session_id, c.id, MAX(n.opened_at) IS NOT NULL AS connected, MAX(n.opened_at) AS last"
            f" FROM {CLIENT} c LEFT JOIN {CONNECTION} n ON n.client_id = c.id WHERE {among}"
            # Clients without any stored connection come first: they never connected, or were away longest.
            f" GROUP BY c.session_id, c.id HAVING {served} = 0 ORDER BY connected, last, c.id",
            [*params, *self._renewed],
        )
        chosen: dict[int, uuid.UUID] = {}
        left = Counter(short)
        for stored, client, *_ in rows:
            session = self._sql.as_uuid(stored)
            # A client that comes back in this group is not away, although the table does not show it yet.
            if left[session] > 0 and client not in returning:
                left[session] -= 1
                chosen[client] = session
        # Lock before the deletion: a write that has begun adds a receipt, which must be deleted too.
        locked = {row[0] for row in self._sql.select_locked("id", CLIENT, chosen, wait=wait)}
        for client, session in chosen.items():
            if client in locked:
                self._away.setdefault(session, []).append(client)
            elif not wait:
                self._held.add(session)


def _is_live(table: str = "") -> str:
    """Return the condition that a process holds this socket, or that the lease of this client over HTTP is valid."""
    renewed = f"CASE {table}transport WHEN '{WEBSOCKET}' THEN %s ELSE %s END"
    return f"{table}lease_expires_at > {renewed}"


def _stored_user(statements: Statements, user: Any) -> Any:
    field: Any = ClientSession._meta.get_field("user")
    return field.get_db_prep_value(user, statements.connection)


def delete_clients(using: str, clients: Collection[int]) -> None:
    """Delete clients that the caller has locked, with all rows that depend on them."""
    if clients:
        Client.objects.using(using).filter(pk__in=clients).delete()


def close_older(statements: Statements, clients: Collection[int], now: datetime) -> dict[int, str]:
    """Close the older connections of clients that have come back, and return the transports of these connections by
    client.

    These connections were lost without a report. The process of one may be dead; if it is alive, it writes the real
    reason.
    """
    if not clients:
        return {}
    among, params = statements.among("client_id", list(clients))
    ids = f"SELECT id FROM {CONNECTION} WHERE {among} AND closed_at IS NULL"
    if statements.postgres:
        # In the order in which the renewal of leases locks connections.
        ids += " ORDER BY id FOR NO KEY UPDATE"
    rows = statements.fetch(
        f"WITH older AS MATERIALIZED ({ids}) UPDATE {CONNECTION}"
        " SET closed_at = %s, close_code = %s, closed_by = %s"
        " WHERE id IN (SELECT id FROM older) AND closed_at IS NULL RETURNING client_id, transport",
        [*params, statements.moment(now), LOST, TAKEN_OVER],
    )
    return dict(rows)


def store_clients(statements: Statements, clients: Collection[ClientRow], now: datetime) -> None:
    """Store new clients, which get their ids, and the new generations of the others."""
    moment = statements.moment(now)
    fresh = {(client.session, client.name): client for client in clients if client.id is None}
    rows = statements.insert_returning(
        CLIENT,
        _CLIENT_COLUMNS,
        [(statements.uuid(c.session), c.name, c.generation, c.last_seq, 0, c.agent, moment) for c in fresh.values()],
        "session_id, client_id, id",
    )
    known = [(c.id, c.generation, c.last_seq) for c in clients if c.id is not None]
    statements.update(CLIENT, {"id": "bigint", "generation": "bigint", "last_seq": "bigint"}, known)
    for session, name, key in rows:
        # Match by name, because RETURNING guarantees no order.
        fresh[statements.as_uuid(session), name].id = key


def open_connections(statements: Statements, opened: Collection[Opened], now: datetime) -> dict[int, int]:
    """Store new connections, and return their ids by client."""
    moment = statements.moment(now)
    # Convert each value once, because there are many sockets and few kinds.
    socket, polling = (now + lease for lease in (settings().lease_duration, polling_lease()))
    leases = {one.transport: socket if one.transport == WEBSOCKET else polling for one in opened}
    stored = {transport: statements.moment(lease) for transport, lease in leases.items()}
    rows = statements.insert_returning(
        CONNECTION,
        _CONNECTION_COLUMNS,
        [
            (
                *(statements.uuid(one.client.session), one.client.id, one.client.generation, one.transport, one.server),
                *(moment, stored[one.transport], *_NOTHING_YET, one.verdict, one.receipt),
            )
            for one in opened
        ],
        "client_id, id",
    )
    return dict(rows)

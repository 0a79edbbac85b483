"""Clients that are there in topics no longer: their connections have ended longer ago than the grace of the topic.

Nothing is written when a connection ends or comes back, so a short drop costs nothing and tells nothing. A process that
dies closes no connections; its leases tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from session_mgmt.actions.sessions.connections import WEBSOCKET, find_renewed_time
from session_mgmt.actions.topics import telling
from session_mgmt.actions.topics.presence import LOCK_MILLISECONDS, mark_waiting
from session_mgmt.actions.topics.telling import MOST_MEMBERS, find_presence
from session_mgmt.conf import settings
from session_mgmt.models import clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ATTENDANCE, CLIENT, CONNECTION, MEMBER, STREAM
from session_mgmt.registry import registry


@dataclass(frozen=True, slots=True)
class Seen:
    """Client that is there by the rows. ``server`` is the process that holds its socket, if it is an open one; ``end``
    is when its newest connection has ended or will, ``None`` if there is none.
    """

    attendance: int
    member: int
    client: int
    session: Any
    topic: str
    server: str | None
    end: datetime | None

    def is_over(self, now: datetime) -> bool:
        """Return whether the end is longer ago than the grace of the topic."""
        return self.end is None or self.end < now - find_presence(self.topic).grace


def find_gone(*, now: datetime | None = None, clients: Sequence[int] | None = None) -> list[Seen]:
    """Find the clients that are gone, among these or all; nothing is locked.

    Of a dead process all connections are over as soon as the first one is, so that all who were there leave together.
    """
    statements = Statements(connections[settings().database])
    now = now or clock.read(settings().database)
    graces = [presence.grace for presence in registry.presences]
    over = statements.moment(now - min(graces, default=timedelta(0)))
    ended = "n.id IS NULL OR n.lease_expires_at < %s OR n.closed_at < %s"
    gone = [seen for seen in _load_seen(statements, ended, [over, over], clients) if seen.is_over(now)]
    servers = {seen.server for seen in gone if seen.server is not None}
    held = "n.server = %s AND n.closed_at IS NULL AND n.transport = %s"
    for server in sorted(servers):
        if _is_dead(statements, server, now):
            gone += _load_seen(statements, held, [server, WEBSOCKET], clients)
    by_key = {seen.attendance: seen for seen in gone if seen.end is not None or not _is_near(statements, seen, now)}
    return list(by_key.values())


def _load_seen(statements: Statements, condition: str, params: list[Any], clients: Sequence[int] | None) -> list[Seen]:
    among, keys = ("1 = 1", []) if clients is None else statements.among("c.id", clients)
    rows = statements.fetch(
        "SELECT a.id, a.member_id, c.id, c.session_id, s.topic,"
        " CASE WHEN n.closed_at IS NULL AND n.transport = %s THEN n.server END,"
        f" {statements.as_utc('n.closed_at')}, {statements.as_utc('n.lease_expires_at')}"
        f" FROM {ATTENDANCE} a JOIN {CLIENT} c ON c.id = a.client_id JOIN {STREAM} s ON s.id = a.stream_id"
        # The newest attachment alone: those before it were replaced.
        f" LEFT JOIN {CONNECTION} n ON n.client_id = c.id AND n.generation = c.generation"
        f" WHERE ({condition}) AND {among}",
        [WEBSOCKET, *params, *keys],
    )
    found = []
    for attendance, member, client, session, topic, server, *ends in rows:
        end = min((statements.as_moment(end) for end in ends if end is not None), default=None)
        found.append(Seen(attendance, member, client, session, topic, server, end))
    return found


def _is_dead(statements: Statements, server: str, now: datetime) -> bool:
    """Return whether no socket of a process was renewed for so long that the process must be dead."""
    renewed = "server = %s AND closed_at IS NULL AND transport = %s AND lease_expires_at > %s"
    params = [server, WEBSOCKET, statements.moment(find_renewed_time(now))]
    return not statements.fetch(f"SELECT 1 FROM {CONNECTION} WHERE {renewed} LIMIT 1", params)


def _is_near(statements: Statements, seen: Seen, now: datetime) -> bool:
    """Return whether a client without a connection, such as a tab that shares one, has one of its session."""
    live = "session_id = %s AND closed_at IS NULL AND lease_expires_at > %s"
    params = [seen.session, statements.moment(now)]
    return bool(statements.fetch(f"SELECT 1 FROM {CONNECTION} WHERE {live} LIMIT 1", params))


def find_unattended() -> list[int]:
    """Find the members of whom no client is left, and nothing is told yet: their sessions were deleted."""
    statements = Statements(connections[settings().database])
    rows = statements.fetch(
        f"SELECT m.id FROM {MEMBER} m LEFT JOIN {ATTENDANCE} a ON a.member_id = m.id"
        " WHERE a.id IS NULL AND NOT m.waiting LIMIT %s",
        [MOST_MEMBERS],
    )
    return [row[0] for row in rows]


def remove_gone(gone: Sequence[Seen], unattended: Sequence[int] = (), *, now: datetime | None = None) -> int:
    """Let the clients leave that were found gone, and are so still once their rows are locked; return their number.

    What their logs say of them and of ``unattended`` members is told afterwards.
    """
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        statements.limit_lock_wait(LOCK_MILLISECONDS)
        wanted = {seen.client for seen in gone[:MOST_MEMBERS]}
        # One that somebody else has locked may be coming back at this moment.
        clients = [row[0] for row in statements.select_locked("id", CLIENT, wanted, wait=False)]
        still = find_gone(now=now, clients=clients) if clients else []
        # Members before what hangs on them, in the order of those who enter.
        mark_waiting(statements, {*unattended, *(seen.member for seen in still)})
        if still:
            among, keys = statements.among("id", sorted(seen.attendance for seen in still))
            statements.run(f"DELETE FROM {ATTENDANCE} WHERE {among}", keys)
    return len(still)


def end_presence(*, now: datetime | None = None) -> int:
    """Let those leave who are gone, where no server does, and tell it; return the number of clients."""
    removed = remove_gone(find_gone(now=now), find_unattended(), now=now)
    telling.tell_changes(now=now)
    return removed

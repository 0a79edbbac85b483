"""Remove clients from topics when their connections ended longer ago than the grace period of the topic.

Nothing is written when a connection ends or comes back, so a short interruption costs nothing and is not shown. If a
process dies, it closes no connections, but their leases expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from session_mgmt.actions.sessions.connections import WEBSOCKET, find_renewed_time
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
    """Client with a row of attendance. ``server`` is the process that holds its open socket, if there is one; ``end``
    is when its newest connection ended or will end, ``None`` without a connection.
    """

    attendance: int
    member: int
    client: int
    session: Any
    topic: str
    server: str | None
    end: datetime | None

    def is_over(self, now: datetime) -> bool:
        """Return whether the end is longer ago than the grace period of the topic."""
        return self.end is None or self.end < now - find_presence(self.topic).grace


def find_gone(*, now: datetime | None = None, clients: Sequence[int] | None = None) -> list[Seen]:
    """Return the clients that are gone, among the given ones or all, without locks.

    All connections of a dead process count as ended as soon as the first one does, so that all its clients leave
    together.
    """
    statements = Statements(connections[settings().database])
    now = now or clock.read(settings().database)
    graces = [presence.grace for presence in registry.presences]
    over = statements.moment(now - min(graces, default=timedelta(0)))
    ended = "n.id IS NULL OR n.lease_expires_at < %s OR n.closed_at < %s"
    gone = [seen for seen in _load_seen(statements, ended, [over, over], clients) if seen.is_over(now)]
    dead = _find_dead(statements, sorted({seen.server for seen in gone if seen.server is not None}), now)
    if dead:
        among, params = statements.among("n.server", dead)
        held = f"{among} AND n.closed_at IS NULL AND n.transport = %s"
        gone += _load_seen(statements, held, [*params, WEBSOCKET], clients)
    near = _find_near(statements, {seen.session for seen in gone if seen.end is None}, now)
    by_key = {seen.attendance: seen for seen in gone if seen.end is not None or seen.session not in near}
    return list(by_key.values())


def _load_seen(statements: Statements, condition: str, params: list[Any], clients: Sequence[int] | None) -> list[Seen]:
    among, keys = ("1 = 1", []) if clients is None else statements.among("c.id", clients)
    rows = statements.fetch(
        "SELECT a.id, a.member_id, c.id, c.session_id, s.topic,"
        " CASE WHEN n.closed_at IS NULL AND n.transport = %s THEN n.server END,"
        f" {statements.as_utc('n.closed_at')}, {statements.as_utc('n.lease_expires_at')}"
        f" FROM {ATTENDANCE} a JOIN {CLIENT} c ON c.id = a.client_id JOIN {STREAM} s ON s.id = a.stream_id"
        # Only the newest attachment, because earlier ones were replaced.
        f" LEFT JOIN {CONNECTION} n ON n.client_id = c.id AND n.generation = c.generation"
        f" WHERE ({condition}) AND {among}",
        [WEBSOCKET, *params, *keys],
    )
    found = []
    for attendance, member, client, session, topic, server, *ends in rows:
        end = min((statements.as_moment(end) for end in ends if end is not None), default=None)
        found.append(Seen(attendance, member, client, session, topic, server, end))
    return found


def _find_dead(statements: Statements, servers: Sequence[str], now: datetime) -> list[str]:
    """Return the processes that have renewed no socket for so long that they must be dead."""
    renewed = (
        f"SELECT 1 FROM {CONNECTION} n WHERE n.server = wanted.server AND n.closed_at IS NULL AND n.transport = %s"
        " AND n.lease_expires_at > %s"
    )
    rows = statements.select_wanted(
        f"SELECT wanted.server FROM wanted WHERE wanted.server IS NOT NULL AND NOT EXISTS ({renewed})",
        {"server": "text"},
        [(server,) for server in servers],
        params=[WEBSOCKET, statements.moment(find_renewed_time(now))],
    )
    return [server for (server,) in rows]


def _find_near(statements: Statements, sessions: set[Any], now: datetime) -> set[Any]:
    """Return the sessions that have an open connection: their clients without one may be tabs that share it."""
    live = (
        f"SELECT 1 FROM {CONNECTION} n WHERE n.session_id = wanted.session AND n.closed_at IS NULL"
        " AND n.lease_expires_at > %s"
    )
    rows = statements.select_wanted(
        f"SELECT wanted.session FROM wanted WHERE EXISTS ({live})",
        {"session": "uuid"},
        [(session,) for session in sorted(sessions)],
        params=[statements.moment(now)],
    )
    return {session for (session,) in rows}


def find_unattended(limit: int = MOST_MEMBERS) -> list[int]:
    """Return up to ``limit`` members that no client attends and that are not marked as changed: their sessions were
    deleted.
    """
    statements = Statements(connections[settings().database])
    rows = statements.fetch(
        f"SELECT m.id FROM {MEMBER} m LEFT JOIN {ATTENDANCE} a ON a.member_id = m.id"
        " WHERE a.id IS NULL AND NOT m.waiting LIMIT %s",
        [limit],
    )
    return [row[0] for row in rows]


def remove_gone(gone: Sequence[Seen], unattended: Sequence[int] = (), *, now: datetime | None = None) -> int:
    """Remove the clients that were found gone and still are after their rows were locked; return their number.

    The changes of these and of ``unattended`` members are published later.
    """
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        statements.limit_lock_wait(LOCK_MILLISECONDS)
        wanted = {seen.client for seen in gone[:MOST_MEMBERS]}
        # A client whose row is locked may be coming back at this moment.
        clients = [row[0] for row in statements.select_locked("id", CLIENT, wanted, wait=False)]
        still = find_gone(now=now, clients=clients) if clients else []
        # Lock members before their attendances, in the order of clients that enter.
        mark_waiting(statements, {*unattended, *(seen.member for seen in still)})
        if still:
            among, keys = statements.among("id", sorted(seen.attendance for seen in still))
            statements.run(f"DELETE FROM {ATTENDANCE} WHERE {among}", keys)
    return len(still)

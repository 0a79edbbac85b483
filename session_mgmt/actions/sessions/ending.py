"""End sessions: close their rows, fence their clients and record the end in their logs, always with its reason.

Sessions are ended in groups, each with a fixed number of statements; a single one is a group of one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import F, QuerySet

from session_mgmt.actions import audit, notify
from session_mgmt.actions.timeline.ledger import make_record
from session_mgmt.actions.timeline.recording import record_entries
from session_mgmt.models import Client, ClientSession, Connection
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import ACTIVITY
from session_mgmt.protocol import events as names
from session_mgmt.protocol.codes import Close

State = ClientSession.State
# Most sessions of one group: an order to all processes names them, and a channel layer is made for small messages.
TOGETHER = 1000
_EVENTS = {State.EXPIRED: names.SESSION_EXPIRED, State.TERMINATED: names.SESSION_TERMINATED}
_CODES = {State.EXPIRED: Close.SESSION_EXPIRED, State.TERMINATED: Close.SESSION_TERMINATED}


def end_session(using: str, session: uuid.UUID, state: State, reason: str, now: datetime) -> bool:
    """End a session unless it has ended; return ``True`` only to the caller that has changed ``live``."""
    return bool(end_sessions(using, [session], state, reason, now))


def end_sessions(using: str, sessions: Iterable[uuid.UUID], state: State, reason: str, now: datetime) -> set[uuid.UUID]:
    """End those of the sessions that have not ended yet, in the caller's transaction, and return them."""
    ended: set[uuid.UUID] = set()
    for group in split_groups(sessions):
        claimed = _claim_live(using, group)
        if claimed:
            finish_sessions(using, claimed, state, reason, now)
        ended.update(claimed)
    return ended


def split_groups(sessions: Iterable[uuid.UUID]) -> Iterator[list[uuid.UUID]]:
    """Split sessions into groups by ascending key, which is the order of all locks."""
    ordered = sorted(set(sessions))
    for start in range(0, len(ordered), TOGETHER):
        yield ordered[start : start + TOGETHER]


def _claim_live(using: str, sessions: list[uuid.UUID]) -> list[uuid.UUID]:
    # One conditional UPDATE, so that only one of two callers ends a session and records it (promises L1 and L2).
    statements = Statements(connections[using])
    among, keys = statements.among("session_id", [statements.uuid(session) for session in sessions])
    # Lock in a separate part, because an UPDATE locks in any order; materialised, or it would run for each row.
    rows = statements.fetch(
        f"WITH held AS MATERIALIZED (SELECT session_id FROM {ACTIVITY} WHERE {among} AND live ORDER BY session_id"
        f"{statements.lock_clause(wait=True)}) UPDATE {ACTIVITY} SET live = false"
        " WHERE session_id IN (SELECT session_id FROM held) AND live RETURNING session_id",
        keys,
    )
    return sorted(statements.as_uuid(row[0]) for row in rows)


def lock_in_order(using: str, rows: QuerySet[Any]) -> None:
    """Lock rows by ascending key, as the lane and the flushes of leases do, because an UPDATE alone locks in
    any order.
    """
    if connections[using].features.has_select_for_update:
        list(rows.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))


def finish_sessions(using: str, sessions: list[uuid.UUID], state: State, reason: str, now: datetime) -> None:
    """Write the end of a group of sessions that the caller has claimed."""
    mine = ClientSession.objects.using(using).filter(pk__in=sessions)
    lock_in_order(using, mine)
    mine.update(state=state, ended_at=now, end_reason=reason[:60])
    detach_clients(using, sessions, _CODES[state], now)
    entries = [make_record(session, _EVENTS[state], {"reason": reason}) for session in sessions]
    record_entries(using, entries, at=now, orders=notify.order_close(sessions, _CODES[state], reason))
    for session in sessions:
        audit.log_committed(using, _EVENTS[state], session=session, reason=reason[:60])


def detach_clients(using: str, sessions: list[uuid.UUID], code: Close, now: datetime) -> None:
    """Fence the clients of sessions, and close the rows of their connections."""
    # Fence them first, so that writes that are on their way are refused by the raised generation.
    clients = Client.objects.using(using).filter(session__in=sessions)
    lock_in_order(using, clients)
    clients.update(generation=F("generation") + 1)
    # Close the rows here, because a process that died will never close them.
    left = Connection.objects.using(using).filter(session__in=sessions, closed_at__isnull=True)
    lock_in_order(using, left)
    left.update(closed_at=now, close_code=code, closed_by="server")

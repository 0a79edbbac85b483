"""Write the leases of open connections, many together, and find the connections that are alive; only the lease
decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Count, Q, QuerySet

from session_mgmt.conf import settings
from session_mgmt.models import Connection, changes, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import CLIENT, CONNECTION, RECEIPT
from session_mgmt.protocol.codes import Close

# `closed_by` of a connection that was still open in the database when its client came back on a new one.
TAKEN_OVER = "client"
# The close code of a connection whose end was not reported (RFC 6455).
LOST = 1006
WEBSOCKET = Connection.Transport.WEBSOCKET.value
_CLOSES = frozenset(int(code) for code in Close)
FIGURES = {
    "rtt_ms": "double precision",
    "rtt_average_ms": "double precision",
    "beats_sent": "integer",
    "beats_missed": "integer",
    "messages_in": "bigint",
    "messages_out": "bigint",
    "bytes_in": "bigint",
    "bytes_out": "bigint",
    "rtt_p95_ms": "double precision",
    "rtt_jitter_ms": "double precision",
}
_FLUSH_COLUMNS = {"id": "bigint", "lease_expires_at": "timestamptz", **FIGURES}
_OPEN = "closed_at IS NULL"


class Beat(NamedTuple):
    """Figures of one connection since the last flush, as its process knows them."""

    connection: int
    rtt_ms: float | None
    rtt_average_ms: float | None
    beats_sent: int
    beats_missed: int
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    rtt_p95_ms: float | None = None
    rtt_jitter_ms: float | None = None


def renew_leases(beats: Iterable[Beat], quiet: Iterable[int] = (), *, now: datetime | None = None) -> dict[int, Close]:
    """Renew leases and write figures, with one statement for all; return the connections that must be closed here, with
    the reason.

    These were closed in the database by somebody else: the session has ended, the client has connected elsewhere, or
    the cleanup believed that this process is dead. ``quiet`` are connections whose figures have not changed: one more
    statement renews all their leases, for half the cost.
    """
    using = settings().database
    figures = {beat.connection: beat for beat in beats}
    quiet = sorted({*quiet}.difference(figures))
    keys = [*figures, *quiet]
    if not keys:
        return {}
    statements = Statements(connections[using])
    with open_transaction(using):
        _lock_rows(statements, keys)
        now = now or clock.read(using)
        # With the database's clock, because leases are judged with it.
        lease = statements.moment(now + settings().lease_duration)
        # Only open ones, so that a connection that the cleanup has closed in the meantime is not opened again.
        told = [_as_row(beat, lease) for beat in figures.values()]
        renewed = statements.update_where(CONNECTION, _FLUSH_COLUMNS, told, _OPEN)
        renewed += statements.set_where(CONNECTION, "lease_expires_at", lease, quiet, _OPEN)
        if not statements.postgres:
            changes.leave_out_rows(statements.connection, renewed)
        if renewed == len(keys):
            return {}
        rows = statements.select_rows("id, closed_at, close_code, closed_by", CONNECTION, keys)
    # A missing row was deleted with its session.
    gone = dict.fromkeys(set(keys).difference(row[0] for row in rows), Close.SESSION_TERMINATED)
    return gone | {row[0]: explain_close(*row[2:]) for row in rows if row[1] is not None}


def _lock_rows(statements: Statements, keys: list[int]) -> None:
    """Lock connections in the order in which all code locks them; SQLite has locked everything at BEGIN."""
    if not statements.postgres:
        return
    locked = f"SELECT 1 FROM {CONNECTION} WHERE id = ANY(%s) ORDER BY id{statements.lock_clause(wait=True)}"
    # With the number of this transaction, which costs no statement of its own.
    ((_, number),) = statements.fetch(f"SELECT COUNT(*), txid_current() FROM ({locked}) locked", [keys])
    # A caller's transaction may write more than leases.
    if len(statements.connection.atomic_blocks) == 1:
        changes.leave_out_transaction(number)


def explain_close(code: int | None, closed_by: str) -> Close:
    """Return the close code for a connection whose row somebody else has closed, or has ordered to close."""
    if closed_by == TAKEN_OVER:
        return Close.REPLACED
    # An unknown code may come from a newer version of this app, during a deployment.
    return Close(code) if closed_by == "server" and code in _CLOSES else Close.INSUFFICIENT_STATE


def _as_row(beat: Beat, lease: Any) -> tuple[Any, ...]:
    return (
        beat.connection,
        lease,
        beat.rtt_ms,
        beat.rtt_average_ms,
        beat.beats_sent,
        beat.beats_missed,
        beat.messages_in,
        beat.messages_out,
        beat.bytes_in,
        beat.bytes_out,
        beat.rtt_p95_ms,
        beat.rtt_jitter_ms,
    )


def ghost_time() -> timedelta:
    """Return how long a connection may go without renewal before its process is considered dead: three flushes."""
    return timedelta(seconds=3 * settings().lease_flush_interval)


def find_live(using: str, now: datetime) -> QuerySet[Connection]:
    """Return the open connections whose process is alive, as far as their leases show.

    A lease lasts longer than ``ghost_time``, so that one slow flush closes nothing. A limit must notice a dead process
    sooner, or clients would be refused because of their own dead connections.
    """
    sockets = Q(transport=WEBSOCKET, lease_expires_at__gt=find_renewed_time(now))
    # Over HTTP only the lease counts, because no process holds the client.
    polling = ~Q(transport=WEBSOCKET) & Q(lease_expires_at__gt=now)
    return Connection.objects.using(using).filter(sockets | polling, closed_at__isnull=True)


def polling_lease() -> timedelta:
    """Return how long a client over HTTP counts as connected after its last call.

    Its calls are its only signs of life, and each is written with the next flush.
    """
    now = settings()
    return timedelta(seconds=now.heartbeat_interval * now.heartbeat_missed_limit + now.lease_flush_interval)


def find_renewed_time(now: datetime) -> datetime:
    """Return the earliest time at which the lease of a socket can expire if its process is alive now."""
    return now + max(settings().lease_duration - ghost_time(), timedelta(0))


class Confirmed(NamedTuple):
    """Number up to which a client has its receipts, as it reported on the connection of this generation."""

    generation: int
    seq: int


def forget_receipts(confirmed: Mapping[int, Confirmed]) -> None:
    """Delete the receipts up to each client's number, because their answers have arrived.

    The report of an older connection is ignored, because the newer one may still ask for those answers.
    """
    using = settings().database
    if not confirmed:
        return
    statements = Statements(connections[using])
    with open_transaction(using):
        # Lock in the same order as the lane: clients before the rows that depend on them.
        rows = statements.select_locked("id, confirmed_seq, generation", CLIENT, confirmed, wait=True)
        # Clients repeat only numbers that they have not confirmed, and the confirmed number never decreases.
        moved = [
            (client, confirmed[client].seq)
            for client, seq, generation in rows
            if confirmed[client].generation == generation and seq < confirmed[client].seq
        ]
        statements.delete_up_to(RECEIPT, {"client_id": "bigint", "seq": "bigint"}, moved)
        statements.update(CLIENT, {"id": "bigint", "confirmed_seq": "bigint"}, moved)


def find_raised_generations(known: Mapping[int, int]) -> dict[int, int]:
    """Return the current generations of the clients for which it is higher than known here: they have attached
    elsewhere.

    A doorbell reports this at once; without a channel layer no doorbell comes from other processes.
    """
    statements = Statements(connections[settings().database])
    return dict(statements.select_raised("id", "generation", CLIENT, list(known.items())))


def read_states(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> dict[uuid.UUID, str]:
    """Return for each session ``connected``, ``reconnecting`` (lost, but its lease would still be valid) or
    ``disconnected``, with one query.
    """
    using = settings().database
    wanted = set(sessions)
    if not wanted:
        return {}
    now = now or clock.read(using)
    rows = (
        Connection.objects.using(using)
        .filter(session__in=wanted, lease_expires_at__gt=now)
        .order_by()
        .values_list("session_id")
        .annotate(open=Count("pk", filter=Q(closed_at__isnull=True)), lost=Count("pk", filter=~Q(close_code=1000)))
    )
    found = {key: "connected" if open_ else "reconnecting" if lost else "disconnected" for key, open_, lost in rows}
    return {key: found.get(key, "disconnected") for key in wanted}

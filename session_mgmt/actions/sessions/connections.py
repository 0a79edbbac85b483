"""Write live transports on batched lease flushes, and tell which of them live; the lease is the truth."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Count, Q, QuerySet

from session_mgmt.conf import settings
from session_mgmt.models import Connection, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import CLIENT, CONNECTION, RECEIPT
from session_mgmt.protocol.codes import Close

# The client came back on a new connection while this one was open in the database.
TAKEN_OVER = "client"
# The close code of a connection of which no end was heard (RFC 6455).
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
_LEASE_COLUMNS = {"id": "bigint", "lease_expires_at": "timestamptz"}
_FLUSH_COLUMNS = {**_LEASE_COLUMNS, **FIGURES}


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
    """Renew leases and write figures, in one statement for all, and return why connections must be closed here.

    Those were closed in the database by somebody else: the session has ended, the client came back elsewhere, or a
    sweep thought this process dead. ``quiet`` are connections whose figures are stored already: one statement more
    renews all their leases, at half the price.
    """
    using = settings().database
    figures = {beat.connection: beat for beat in beats}
    # In the order in which everybody locks connections.
    keys = sorted({*figures, *quiet})
    if not keys:
        return {}
    statements = Statements(connections[using])
    with open_transaction(using):
        now = now or clock.read(using)
        # By the database's clock, as those who judge the lease do.
        lease = statements.moment(now + settings().lease_duration)
        # Locked before they are renewed: a connection that a sweep closes meanwhile must not be opened again.
        rows = statements.select_locked("id, closed_at, close_code, closed_by", CONNECTION, keys, wait=True)
        open_ = [row[0] for row in rows if row[1] is None]
        statements.update(CONNECTION, _FLUSH_COLUMNS, [_as_row(figures[key], lease) for key in open_ if key in figures])
        statements.update(CONNECTION, _LEASE_COLUMNS, [(key, lease) for key in open_ if key not in figures])
    # A row that is missing was deleted with its session.
    gone = dict.fromkeys(set(keys).difference(row[0] for row in rows), Close.SESSION_TERMINATED)
    return gone | {row[0]: explain_close(*row[2:]) for row in rows if row[1] is not None}


def explain_close(code: int | None, closed_by: str) -> Close:
    """Return the code for a connection whose row somebody else has closed, or has ordered to close."""
    if closed_by == TAKEN_OVER:
        return Close.REPLACED
    # An unknown code may come from a newer version beside this one, while a deploy lasts.
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
    """Return how long a connection may go unrenewed before it is taken for one of a dead process: three flushes."""
    return timedelta(seconds=3 * settings().lease_flush_interval)


def find_live(using: str, now: datetime) -> QuerySet[Connection]:
    """Return the open connections whose process is alive, as far as their leases tell.

    A lease lasts longer, so that nothing is closed because of one slow flush; a limit has to notice a dead process
    sooner, or its clients would be refused because of their own ghosts.
    """
    sockets = Q(transport=WEBSOCKET, lease_expires_at__gt=find_renewed_time(now))
    # Over HTTP only the lease tells: no process holds the client.
    polling = ~Q(transport=WEBSOCKET) & Q(lease_expires_at__gt=now)
    return Connection.objects.using(using).filter(sockets | polling, closed_at__isnull=True)


def polling_lease() -> timedelta:
    """Return how long a client that is connected over HTTP counts as connected after its last call.

    Its calls are its only signs of life, and each is told with the next flush.
    """
    now = settings()
    return timedelta(seconds=now.heartbeat_interval * now.heartbeat_missed_limit + now.lease_flush_interval)


def find_renewed_time(now: datetime) -> datetime:
    """Return the moment after which the lease of a socket ends whose process is alive."""
    return now + max(settings().lease_duration - ghost_time(), timedelta(0))


class Confirmed(NamedTuple):
    """Number up to which a client has its receipts, as it said on the connection of a generation."""

    generation: int
    seq: int


def forget_receipts(confirmed: Mapping[int, Confirmed]) -> None:
    """Forget receipts up to each client's number: their answers have arrived.

    What an older connection of a client says is not believed: the newer one may still ask for those answers.
    """
    using = settings().database
    if not confirmed:
        return
    statements = Statements(connections[using])
    with open_transaction(using):
        # Same order as the lane: client rows before the rows that depend on them.
        rows = statements.select_locked("id, confirmed_seq, generation", CLIENT, confirmed, wait=True)
        # A repetition comes at most for a number that the client has not confirmed. That number never goes back.
        moved = [
            (client, confirmed[client].seq)
            for client, seq, generation in rows
            if confirmed[client].generation == generation and seq < confirmed[client].seq
        ]
        statements.delete_up_to(RECEIPT, {"client_id": "bigint", "seq": "bigint"}, moved)
        statements.update(CLIENT, {"id": "bigint", "confirmed_seq": "bigint"}, moved)


def find_raised_generations(known: Mapping[int, int]) -> dict[int, int]:
    """Return the generations of the clients that have a higher one than is known here: another place has taken over.

    A doorbell says so at once; without a channel layer none comes from another process.
    """
    statements = Statements(connections[settings().database])
    return dict(statements.select_raised("id", "generation", CLIENT, list(known.items())))


def read_states(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> dict[uuid.UUID, str]:
    """Return ``connected``, ``reconnecting`` (lost, but its lease would still hold) or ``disconnected`` for each; one
    query.
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

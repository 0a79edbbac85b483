"""Live transports: written at open, on batched lease flushes, and at close. ``disconnect`` may never run; the lease
is the truth.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db import connections, transaction
from django.db.models import Count, Q

from session_mgmt.actions import notify
from session_mgmt.actions.timeline import events
from session_mgmt.actions.timeline.events import record
from session_mgmt.conf import settings
from session_mgmt.models import Client, Connection, SessionActivity, clock
from session_mgmt.models.sql import Statements, marks
from session_mgmt.protocol import events as names

_CONNECTION = "session_mgmt_connection"
_FLUSH_COLUMNS = {
    "id": "bigint",
    "lease_expires_at": "timestamptz",
    "rtt_ms": "double precision",
    "rtt_average_ms": "double precision",
    "beats_sent": "integer",
    "beats_missed": "integer",
    "messages_in": "bigint",
    "messages_out": "bigint",
    "bytes_in": "bigint",
    "bytes_out": "bigint",
}


@dataclass(frozen=True, slots=True)
class Beat:
    """What a process knows of one of its connections since the last flush."""

    connection: int
    rtt_ms: float | None
    rtt_average_ms: float | None
    beats_sent: int
    beats_missed: int
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int


def flush(beats: Iterable[Beat], *, now: datetime | None = None) -> set[int]:
    """Renew leases and write figures, in one statement for all; returns the connections that are still open in the
    database.

    One that is missing was closed by somebody else (a sweep that thought this process dead, an ended session) and
    must be closed here.
    """
    using = settings().database
    listed = sorted(beats, key=lambda beat: beat.connection)
    if not listed:
        return set()
    statements = Statements(connections[using])
    keys = [beat.connection for beat in listed]
    with transaction.atomic(using=using):
        now = now or clock.read(using)
        lease = statements.moment(now + settings().lease_duration)
        sql = f"SELECT id FROM {_CONNECTION} WHERE closed_at IS NULL AND id IN ({marks(len(keys))}) ORDER BY id"
        open_ = {row[0] for row in statements.fetch(sql + statements.lock_clause(wait=True), keys)}
        statements.update(
            _CONNECTION, _FLUSH_COLUMNS, [_row(beat, lease) for beat in listed if beat.connection in open_]
        )
    return open_


def _row(beat: Beat, lease: Any) -> tuple[Any, ...]:
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
    )


def close(connection: int, *, code: int, closed_by: str, now: datetime | None = None) -> bool:
    """Mark a connection closed; False if somebody had done so. A close that the client did not ask for is a
    ``connection_lost``.
    """
    using = settings().database
    with transaction.atomic(using=using):
        now = now or clock.read(using)
        row = Connection.objects.using(using).filter(pk=connection).values("session_id").first()
        _lock_sessions(using, [row["session_id"]] if row else [])
        open_ = Connection.objects.using(using).filter(pk=connection, closed_at__isnull=True)
        if row is None or not open_.update(closed_at=now, close_code=code, closed_by=closed_by):
            return False
        if code != 1000:
            _tell_lost(using, [(row["session_id"], code, closed_by)], now)
    return True


def sweep(*, limit: int, now: datetime | None = None) -> int:
    """Close connections whose lease has run out: their process died. Returns how many."""
    using = settings().database
    with transaction.atomic(using=using):
        now = now or clock.read(using)
        dead = list(
            Connection.objects.using(using)
            .filter(closed_at__isnull=True, lease_expires_at__lt=now)
            .order_by("pk")
            .values_list("pk", "session_id")[:limit]
        )
        _lock_sessions(using, {session for _, session in dead})
        lost = []
        for key, session in dead:
            still = Connection.objects.using(using).filter(pk=key, closed_at__isnull=True, lease_expires_at__lt=now)
            if still.update(closed_at=now, close_code=1006, closed_by="lease"):
                lost.append((session, 1006, "lease"))
        _tell_lost(using, lost, now)
    return len(lost)


def _lock_sessions(using: str, sessions: Iterable[uuid.UUID]) -> None:
    """Session before client and connection, as everywhere: a resume holds them in that order."""
    statements = Statements(connections[using])
    keys = {statements.uuid(session) for session in sessions}
    statements.select_locked("session_id", "session_mgmt_sessionactivity", keys, key="session_id", wait=True)


def _tell_lost(using: str, lost: list[tuple[uuid.UUID, int, str]], now: datetime) -> None:
    if not lost:
        return
    entries = [record(session, names.CONNECTION_LOST, {"code": code, "by": by}) for session, code, by in lost]
    ledger = events.append(Statements(connections[using]), entries, at=now)
    notify.after_commit(using, rings=ledger.heads(), facts=ledger.facts())


def stop(session: uuid.UUID, code: int) -> None:
    """Close a session's connections on whatever process holds them; told by doorbell, so at most once."""
    notify.detach([session], code)


def keep_receipt(connection: int, receipt: dict[str, Any]) -> None:
    """Store the receipt of a recovery beside its connection, for people to see."""
    Connection.objects.using(settings().database).filter(pk=connection).update(
        receipt=orjson.dumps(receipt).decode(), verdict=receipt["verdict"]
    )


def confirm(confirmed: dict[int, int]) -> None:
    """Forget receipts up to each client's number: their answers have arrived."""
    using = settings().database
    if not confirmed:
        return
    statements = Statements(connections[using])
    where = " OR ".join(["(client_id = %s AND seq <= %s)"] * len(confirmed))
    params = [value for pair in sorted(confirmed.items()) for value in pair]
    with transaction.atomic(using=using):
        # Same order as the lane: client rows before what hangs on them.
        statements.select_locked("id", "session_mgmt_client", confirmed, wait=True)
        statements.run(f"DELETE FROM session_mgmt_receipt WHERE {where}", params)
        for client, seq in sorted(confirmed.items()):
            Client.objects.using(using).filter(pk=client, confirmed_seq__lt=seq).update(confirmed_seq=seq)


def still_allowed(sessions: Iterable[uuid.UUID], *, now: datetime | None = None) -> set[uuid.UUID]:
    """The control query: those of the sessions that may go on, by state, deadline and their user's standing; one
    SELECT.
    """
    using = settings().database
    now = now or clock.read(using)
    allowed = SessionActivity.objects.using(using).filter(session__in=list(sessions), live=True)
    rows = allowed.values_list("session_id", "session__user_id", "session__user__is_active")
    return {session for session, user, active in rows if user is None or active}


def states(sessions: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """``connected``, ``reconnecting`` (lost, but its lease would still hold) or ``disconnected``, for lists and
    pages; one query.
    """
    using = settings().database
    wanted = set(sessions)
    if not wanted:
        return {}
    now = clock.read(using)
    rows = (
        Connection.objects.using(using)
        .filter(session__in=wanted, lease_expires_at__gt=now)
        .order_by()
        .values_list("session_id")
        .annotate(open=Count("pk", filter=Q(closed_at__isnull=True)), lost=Count("pk", filter=~Q(close_code=1000)))
    )
    found = {key: "connected" if open_ else "reconnecting" if lost else "disconnected" for key, open_, lost in rows}
    return {key: found.get(key, "disconnected") for key in wanted}

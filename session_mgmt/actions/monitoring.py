"""Read figures: of one session for its user and for staff, of all sessions for operators, with a fixed number of
queries.
"""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import connections
from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Max, Min, Q, Sum, Value
from django.db.models.functions import Coalesce, Least

from session_mgmt.backends.postgres_bell import try_bell
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionNotFound
from session_mgmt.models import (
    ClientSession,
    Connection,
    Outbox,
    SessionActivity,
    SessionEvent,
    StateDocument,
    WebhookDelivery,
    clock,
)
from session_mgmt.models.deadlines import filter_over
from session_mgmt.models.moments import MomentField
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import EVENT, HANDLER_RUN, WEBHOOK_CURSOR, WEBHOOK_DELIVERY, WEBHOOK_ENDPOINT
from session_mgmt.protocol import events as names

# Of the events that tell of errors, so many of the newest are counted by code.
_MOST_ERRORS = 1000
# How late each may be before health is no longer "ok".
OUTBOX_LATE = timedelta(seconds=60)
HANDLERS_LATE = timedelta(minutes=5)
# Connections of one list, the newest ones.
MOST_LISTED = 100
_LATENCY = ("rtt_ms", "rtt_p95_ms", "rtt_jitter_ms")
_TRAFFIC = ("beats_sent", "beats_missed", "messages_in", "messages_out", "bytes_in", "bytes_out")


def read_session_metrics(session: uuid.UUID, *, now: datetime | None = None) -> dict[str, Any]:
    """Return the figures of one session: times in seconds, latency in milliseconds. Raises ``SessionNotFound``."""
    using = settings().database
    now = now or clock.read(using)
    row = ClientSession.objects.using(using).filter(pk=session).values("state", "created_at", "ended_at").first()
    if row is None:
        raise SessionNotFound()
    errors = _count_errors(using, session)
    return {
        "session_id": str(session),
        "state": row["state"],
        "uptime": ((row["ended_at"] or now) - row["created_at"]).total_seconds(),
        **_sum_connections(using, session, now),
        "recoveries": _count_groups(
            Connection.objects.using(using).filter(session=session).exclude(verdict=""), "verdict"
        ),
        "closes": _count_groups(
            Connection.objects.using(using).filter(session=session, close_code__isnull=False), "close_code"
        ),
        "state_documents": _sum_documents(using, session),
        "events": _count_groups(SessionEvent.objects.using(using).filter(session=session), "type"),
        "errors": errors,
        "conflicts": errors.get("conflict", 0),
    }


def _sum_connections(using: str, session: uuid.UUID, now: datetime) -> dict[str, Any]:
    mine = Connection.objects.using(using).filter(session=session).order_by()
    # A process that died has left its connection open: it lived no longer than its lease.
    end = Coalesce("closed_at", Least("lease_expires_at", Value(now, output_field=MomentField())))
    lasted = ExpressionWrapper(end - F("opened_at"), output_field=DurationField())
    found = mine.aggregate(
        count=Count("pk"),
        open=Count("pk", filter=Q(closed_at__isnull=True, lease_expires_at__gt=now)),
        # The first attachment of a client has generation 1; every later one is a return.
        again=Count("pk", filter=Q(generation__gt=1)),
        lasted=Sum(lasted),
        average=Avg("rtt_average_ms"),
        **{name: Sum(name) for name in _TRAFFIC},
    )
    latency = mine.filter(rtt_ms__isnull=False).order_by("-opened_at").values_list(*_LATENCY).first()
    return {
        "connections": found["count"],
        "open_connections": found["open"],
        "reconnects": found["again"],
        "connected_time": found["lasted"].total_seconds() if found["lasted"] else 0.0,
        "latency": {
            "average_ms": found["average"],
            **dict(zip(("last_ms", "p95_ms", "jitter_ms"), latency or (None, None, None), strict=True)),
        },
        "beats": {"sent": found["beats_sent"] or 0, "missed": found["beats_missed"] or 0},
        "messages": {"in": found["messages_in"] or 0, "out": found["messages_out"] or 0},
        "bytes": {"in": found["bytes_in"] or 0, "out": found["bytes_out"] or 0},
    }


def list_connections(
    session: uuid.UUID, *, limit: int = MOST_LISTED, now: datetime | None = None
) -> list[dict[str, Any]]:
    """Return the newest connections of a session, each with its figures as of the last lease flush."""
    using = settings().database
    now = now or clock.read(using)
    rows = Connection.objects.using(using).filter(session=session).select_related("client")
    return [_describe_connection(row, now) for row in rows.order_by("-opened_at", "-pk")[:limit]]


def _describe_connection(row: Connection, now: datetime) -> dict[str, Any]:
    is_open = row.closed_at is None and row.lease_expires_at > now
    return {
        "client_id": row.client.client_id,
        "generation": row.generation,
        "transport": row.transport,
        "state": "open" if is_open else "lost" if row.closed_at is None else "closed",
        "opened_at": clock.as_text(row.opened_at),
        "closed_at": None if row.closed_at is None else clock.as_text(row.closed_at),
        "close_code": None if row.closed_at is None else row.close_code,
        "closed_by": "" if row.closed_at is None else row.closed_by,
        "latency": {
            "last_ms": row.rtt_ms,
            "average_ms": row.rtt_average_ms,
            "p95_ms": row.rtt_p95_ms,
            "jitter_ms": row.rtt_jitter_ms,
        },
        "beats": {"sent": row.beats_sent, "missed": row.beats_missed},
        "messages": {"in": row.messages_in, "out": row.messages_out},
        "bytes": {"in": row.bytes_in, "out": row.bytes_out},
        "recovery": row.verdict or None,
    }


def _sum_documents(using: str, session: uuid.UUID) -> dict[str, Any]:
    """Sum up documents: every version is one update, so the sum of versions is the number of updates."""
    mine = StateDocument.objects.using(using).filter(session=session)
    found = mine.aggregate(
        count=Count("pk"),
        size=Sum("size"),
        bounds=Count("pk", filter=~Q(snapshot_version=F("version"))),
        updates=Sum("version"),
        newest=Max("version"),
    )
    return {
        "count": found["count"],
        "size": found["size"] or 0,
        "exact": not found["bounds"],
        "updates": found["updates"] or 0,
        "version": found["newest"] or 0,
    }


def _count_groups(rows: Any, column: str) -> dict[str, int]:
    return {str(key): count for key, count in rows.order_by().values_list(column).annotate(Count("pk"))}


def _count_errors(using: str, session: uuid.UUID) -> dict[str, int]:
    """Count errors by name, of the newest events: their data is opaque to the database."""
    newest = SessionEvent.objects.using(using).filter(session=session, type=names.ERROR_OCCURRED).order_by("-seq")
    bodies = [orjson.loads(bytes(data)) for data in newest.values_list("data", flat=True)[:_MOST_ERRORS]]
    return dict(Counter(str(body.get("name", "error")) for body in bodies if isinstance(body, dict)))


def read_overview(*, now: datetime | None = None) -> dict[str, Any]:
    """Return the figures of the whole service; lags are seconds."""
    using = settings().database
    now = now or clock.read(using)
    live = SessionActivity.objects.using(using).filter(live=True)
    open_ = Connection.objects.using(using).filter(closed_at__isnull=True, lease_expires_at__gt=now)
    connected = open_.aggregate(connections=Count("pk"), sessions=Count("session", distinct=True))
    return {
        "sessions": {
            "active": live.count(),
            "connected": connected["sessions"],
            "ended": ClientSession.objects.using(using).filter(ended_at__isnull=False).count(),
        },
        "connections": connected["connections"],
        "connections_lost": Connection.objects.using(using)
        .filter(closed_at__isnull=True, lease_expires_at__lte=now)
        .count(),
        "cleanup": _measure_cleanup(live, now),
        "outbox": _measure_outbox(using, now),
        "handlers": _measure_handlers(using, now),
        "webhooks": _measure_webhooks(using, now),
        "server_time": clock.as_text(now),
    }


def _measure_cleanup(live: Any, now: datetime) -> dict[str, Any]:
    due = live.filter(filter_over(now), expires_at__lte=now).aggregate(count=Count("pk"), oldest=Min("expires_at"))
    return {"due": due["count"], "lateness": _measure_age(due["oldest"], now)}


def _measure_outbox(using: str, now: datetime) -> dict[str, Any]:
    rows = Outbox.objects.using(using)
    waiting = rows.filter(refused="").aggregate(count=Count("pk"), oldest=Min("created_at"))
    return {
        "waiting": waiting["count"],
        "lag": _measure_age(waiting["oldest"], now),
        "refused": rows.exclude(refused="").count(),
    }


def _measure_handlers(using: str, now: datetime) -> dict[str, Any]:
    statements = Statements(connections[using])
    ((waiting, failing, since),) = statements.fetch(
        f"SELECT COUNT(*), COALESCE(SUM(failed), 0), {statements.as_utc('MIN(w.at)')} FROM"
        f" (SELECT at, 0 AS failed FROM {EVENT} WHERE pending"
        f" UNION ALL SELECT at, CASE WHEN attempts > 0 THEN 1 ELSE 0 END FROM {HANDLER_RUN}) w"
    )
    lag = _measure_age(statements.as_moment(since) if since else None, now)
    return {"waiting": waiting, "lag": lag, "failing": failing}


def _measure_webhooks(using: str, now: datetime) -> dict[str, Any]:
    """Count deliveries by the cursors that have some, so that those which were sent are not read."""
    statements = Statements(connections[using])
    oldest = statements.as_utc("MIN(d.due_since)")
    ((waiting, since, stopped),) = statements.fetch(
        f"SELECT COUNT(*), {oldest}, (SELECT COUNT(*) FROM {WEBHOOK_ENDPOINT} WHERE stopped <> '')"
        f" FROM {WEBHOOK_CURSOR} c JOIN {WEBHOOK_DELIVERY} d ON d.session_id = c.session_id"
        f" AND d.endpoint_id = c.endpoint_id AND d.sequence > c.done JOIN {WEBHOOK_ENDPOINT} e ON e.id = c.endpoint_id"
        " WHERE c.done < c.head AND d.state = %s AND e.active",
        [WebhookDelivery.State.WAITING],
    )
    dead = WebhookDelivery.objects.using(using).filter(state=WebhookDelivery.State.DEAD).count()
    lag = _measure_age(statements.as_moment(since) if since else None, now)
    return {"waiting": waiting, "lag": lag, "dead": dead, "stopped": stopped}


def _measure_age(oldest: datetime | None, now: datetime) -> float:
    # An entry may be younger than the moment at which the figures were begun.
    return max((now - oldest).total_seconds(), 0.0) if oldest else 0.0


def hear_doorbell(alias: str) -> bool:
    """Ring once through PostgreSQL, and return whether the notification arrived. Raises the errors of connecting."""
    return try_bell(alias)


def read_health(*, now: datetime | None = None) -> dict[str, Any]:
    """Return ``read_overview`` with ``status`` and ``problems``.

    ``ok`` without problems, else ``degraded``: ``cleanup_late``, ``outbox_late``, ``handlers_late``.
    """
    found = read_overview(now=now)
    late = {
        # Two missed sweeps: one may be running, or its broker may have restarted.
        "cleanup_late": found["cleanup"]["lateness"] > 3 * settings().cleanup_interval.total_seconds(),
        "outbox_late": found["outbox"]["lag"] > OUTBOX_LATE.total_seconds(),
        "handlers_late": found["handlers"]["lag"] > HANDLERS_LATE.total_seconds(),
    }
    problems = [name for name, is_late in late.items() if is_late]
    return {"status": "degraded" if problems else "ok", "problems": problems, **found}

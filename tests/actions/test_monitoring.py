"""Figures are sums of what happened, and cost the same however much that was."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from session_mgmt.actions import monitoring
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import connections, lifecycle
from session_mgmt.models import Connection, Outbox, SessionActivity, SessionEvent, clock
from session_mgmt.protocol.frames import Connect
from session_mgmt.writes import verbs
from tests.attaching import attach_client
from tests.ends import close, keep_receipt

pytestmark = pytest.mark.django_db(transaction=True)


def later(**by: float) -> Any:
    return clock.read("default") + timedelta(**by)


def lived(session: Any, token: str) -> None:
    """Two connections of one client: a minute each, a minute apart; the second is still open."""
    start = session.created_at
    first = attach_client(Connect(token=token, client_id=None, acked=0, logs={}, agent="t"), server="s", now=start)
    beat = connections.Beat(first.connection, 20.0, 30.0, 10, 1, 100, 200, 1000, 2000)
    connections.renew_leases([beat], now=start)
    close(first, code=1006, closed_by="client", now=start + timedelta(minutes=1))
    again = Connect(token=token, client_id=first.client_id, acked=0, logs={}, agent="t")
    second = attach_client(again, server="s", now=start + timedelta(minutes=2))
    keep_receipt(second, {"verdict": "full"})
    beat = connections.Beat(second.connection, 40.0, 50.0, 5, 0, 1, 2, 3, 4, 60.0, 2.5)
    connections.renew_leases([beat], now=start + timedelta(minutes=2))


def test_metrics_add_up_connections_traffic_and_recoveries() -> None:
    created = lifecycle.create_session()
    lived(created.session, created.token.secret)
    told = monitoring.read_session_metrics(created.session.pk, now=created.session.created_at + timedelta(minutes=3))
    assert told["uptime"] == 180.0
    assert told["connected_time"] == 120.0
    assert (told["connections"], told["open_connections"], told["reconnects"]) == (2, 1, 1)
    assert told["latency"] == {"last_ms": 40.0, "average_ms": 40.0, "p95_ms": 60.0, "jitter_ms": 2.5}
    assert told["beats"] == {"sent": 15, "missed": 1}
    assert told["messages"] == {"in": 101, "out": 202}
    assert told["bytes"] == {"in": 1003, "out": 2004}
    assert told["recoveries"] == {"full": 1}
    assert told["closes"] == {"1006": 1}
    assert told["events"] == {
        "session_created": 1,
        "connection_established": 1,
        "connection_lost": 1,
        "connection_restored": 1,
    }


def test_a_dead_process_counts_until_its_lease_and_no_longer() -> None:
    created = lifecycle.create_session()
    lived(created.session, created.token.secret)
    Connection.objects.filter(closed_at__isnull=False).delete()
    told = monitoring.read_session_metrics(created.session.pk, now=created.session.created_at + timedelta(hours=5))
    assert told["connected_time"] == 90.0
    assert told["open_connections"] == 0


def test_metrics_of_documents_and_errors() -> None:
    session = lifecycle.create_session().session
    verbs.update(session.pk, "main", "data", {"a": 1})
    verbs.update(session.pk, "main", "merge", {"b": 2})
    verbs.update(session.pk, "other", "data", {})
    for number, name in enumerate(("conflict", "conflict", "too_deep"), start=2):
        body = orjson.dumps({"name": name})
        SessionEvent.objects.create(
            session=session, seq=number, tag="t", type="error_occurred", data=body, at=session.created_at
        )
    told = monitoring.read_session_metrics(session.pk)
    assert told["state_documents"] | {"count": 2, "updates": 3, "version": 2} == told["state_documents"]
    assert told["errors"] == {"conflict": 2, "too_deep": 1}
    assert told["conflicts"] == 2


def test_metrics_cost_the_same_for_a_long_life(django_assert_num_queries: Any) -> None:
    short, long = lifecycle.create_session(), lifecycle.create_session()
    for _ in range(3):
        lived(long.session, long.token.secret)
    now = later(hours=1)
    for created in (short, long):
        with django_assert_num_queries(8):
            monitoring.read_session_metrics(created.session.pk, now=now)


def test_an_ended_session_stops_ageing() -> None:
    session = lifecycle.create_session().session
    lifecycle.terminate_session(SERVER, session.pk, now=session.created_at + timedelta(seconds=30))
    assert monitoring.read_session_metrics(session.pk, now=later(days=1))["uptime"] == 30.0


def test_health_is_ok_until_something_is_late() -> None:
    session = lifecycle.create_session().session
    assert monitoring.read_health()["status"] == "ok"
    SessionActivity.objects.filter(pk=session.pk).update(expires_at=later(minutes=-20))
    Outbox.objects.create(kind="publish", target="x", payload=b"1", created_at=later(minutes=-2))
    SessionEvent.objects.filter(session=session).update(pending=True, at=later(minutes=-6))
    told = monitoring.read_health()
    assert (told["status"], told["problems"]) == ("degraded", ["cleanup_late", "outbox_late", "handlers_late"])
    assert told["cleanup"]["due"] == told["outbox"]["waiting"] == told["handlers"]["waiting"] == 1


def test_health_costs_the_same_whatever_there_is(django_assert_num_queries: Any) -> None:
    for _ in range(3):
        created = lifecycle.create_session()
        lived(created.session, created.token.secret)
    with django_assert_num_queries(11):
        monitoring.read_health()

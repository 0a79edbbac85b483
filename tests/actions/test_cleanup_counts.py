"""Steps of the cleanup: as many statements for twelve of what is due as for two."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions import cleanup, pacing
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.models import (
    Attendance,
    AuditEntry,
    Client,
    ClientSession,
    Connection,
    Login,
    Member,
    Outbox,
    Publication,
    Receipt,
    SessionActivity,
    SessionEvent,
    StateRevision,
    Stream,
    Token,
    WebhookDelivery,
    clock,
)
from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.registry import Presence, registry, topic
from session_mgmt.shortcuts import state

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(days=500)


def now() -> Any:
    return clock.read("default")


def make_sessions(number: int) -> list[ClientSession]:
    return [lifecycle.create_session().session for _ in range(number)]


def make_clients(number: int, *, server: str = "gone") -> list[Client]:
    """Make a session for each, and a connection whose lease is over."""
    clients = Client.objects.bulk_create(
        [Client(session=row, generation=1, created_at=row.created_at) for row in make_sessions(number)]
    )
    Connection.objects.bulk_create(
        Connection(
            session=client.session, client=client, generation=1, server=f"{server}-{each}",
            opened_at=now() - LONG_AGO, lease_expires_at=now() - timedelta(hours=1),
        )
        for each, client in enumerate(clients)
    )  # fmt: skip
    return clients


def expire(number: int) -> None:
    make_clients(number)
    Connection.objects.update(lease_expires_at=now() + timedelta(hours=1))
    SessionActivity.objects.update(expires_at=now() - timedelta(hours=1))


def leave(number: int, **closed: Any) -> None:
    """Let every other client have no connection of its own, as a tab that shares one."""
    clients = make_clients(number)
    Connection.objects.update(closed_at=now() - timedelta(minutes=30), **closed)
    Connection.objects.filter(client__in=clients[::2]).delete()
    for each, client in enumerate(clients):
        stream = Stream.objects.create(topic=f"{PRESENCE}room:{number}:{each}", created_at=now())
        member = Member.objects.create(stream=stream, member="ann", data=b"{}", since=now(), told=b"{}", waiting=False)
        Attendance.objects.create(client=client, stream=stream, member=member)


def leave_dead_servers(number: int) -> None:
    leave(number)
    Connection.objects.update(closed_at=None)


def make_tokens(number: int) -> None:
    make_sessions(number)
    Token.objects.update(expires_at=now() - LONG_AGO)


def make_logins(number: int) -> None:
    user = get_user_model().objects.create_user(f"user-{number}", password=None)
    for _ in range(number):
        digest = uuid.uuid4().bytes * 2
        Login.objects.create(digest=digest, user=user, cookie_digest=digest, created_at=now(), seen_at=now() - LONG_AGO)


def make_receipts(number: int) -> None:
    for client in make_clients(number):
        Receipt.objects.create(client=client, seq=1, digest=b"", outcome=b"{}", at=now() - LONG_AGO)
    Connection.objects.all().delete()


def close(number: int) -> None:
    make_clients(number)
    Connection.objects.update(closed_at=now() - LONG_AGO)


def refuse(number: int) -> None:
    for _ in range(number):
        Outbox.objects.create(kind="publish", target="x", payload=b"1", refused="x", created_at=now() - LONG_AGO)


def audit(number: int) -> None:
    AuditEntry.objects.bulk_create([AuditEntry(action="cleanup", at=now() - LONG_AGO)] * number)


def deliver(number: int) -> None:
    for session in make_sessions(number):
        WebhookDelivery.objects.create(
            session=session, endpoint_id=1, sequence=1, event="session_created", payload=b"{}", state="dead",
            recorded_at=now(), due_since=now(), settled_at=now() - LONG_AGO,
        )  # fmt: skip


def retire(number: int) -> None:
    for client in make_clients(number):
        state.update(client.session, {"n": 1})
    Connection.objects.all().delete()
    ClientSession.objects.update(state="terminated", ended_at=now() - LONG_AGO)
    SessionActivity.objects.update(live=False)


def publish(number: int) -> None:
    for each in range(number):
        stream = Stream.objects.create(topic=f"short:{number}:{each}", head=5, created_at=now())
        Publication.objects.bulk_create(
            Publication(stream=stream, offset=offset, tag="t" * 16, data=b"1", at=now()) for offset in range(1, 6)
        )


def abandon(number: int) -> None:
    for each in range(number):
        Stream.objects.create(topic=f"left:{number}:{each}", created_at=now() - LONG_AGO)


def record(number: int) -> None:
    for session in make_sessions(number):
        SessionEvent.objects.bulk_create(
            SessionEvent(session=session, seq=seq, tag="t" * 16, type="message", data=b"1", at=now())
            for seq in range(2, 10)
        )
    SessionActivity.objects.update(event_seq=9)


def write(number: int) -> None:
    for session in make_sessions(number):
        for value in range(10):
            state.update(session, {"n": value})


def write_long_ago(number: int) -> None:
    write(number)
    StateRevision.objects.filter(version__lte=6).update(at=now() - LONG_AGO)


def write_much(number: int) -> None:
    for session in make_sessions(number):
        for value in range(6):
            state.update(session, {"n": str(value) * 300})


STEPS: dict[str, tuple[str, Callable[[int], None], dict[str, Any]]] = {
    "expired": ("expired", expire, {}),
    "connections": ("connections", make_clients, {}),
    "members": ("members", leave, {}),
    "members of dead servers": ("members", leave_dead_servers, {}),
    "tokens": ("tokens", make_tokens, {}),
    "logins": ("logins", make_logins, {}),
    "receipts": ("receipts", make_receipts, {}),
    "closed": ("closed", close, {}),
    "outbox": ("outbox", refuse, {}),
    "audit": ("audit", audit, {}),
    "webhooks": ("webhooks", deliver, {}),
    "purged": ("purged", retire, {}),
    "publications": ("publications", publish, {}),
    "streams": ("streams", abandon, {}),
    "events": ("events", record, {"event_entries": 3}),
    "revisions by number": ("revisions", write, {"max_revisions": 4, "snapshot_every": 2}),
    "revisions by age": ("revisions", write_long_ago, {}),
    "revisions by bytes": ("revisions", write_much, {"max_log_bytes": 1000}),
}


@pytest.fixture(autouse=True)
def rooms() -> Iterator[None]:
    before = list(registry.topics)
    topic("short:{number}:{each}", entries=3)(lambda session, number, each: True)
    topic("room:{number}:{each}", presence=Presence())(lambda session, number, each: True)
    yield
    registry.topics[:] = before


@pytest.mark.parametrize("step", STEPS)
def test_twelve_cost_as_many_statements_as_two(step: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # All of them in one chunk.
    monkeypatch.setattr(pacing, "FIRST", 256)
    name, make, limits = STEPS[step]
    counts, rows = [], []
    for number in (2, 12):
        make(number)
        settings.SESSION_MGMT = limits
        with CaptureQueriesContext(connection) as captured:
            report = cleanup.run_cleanup()
        settings.SESSION_MGMT = {}
        assert not report.failed
        rows.append(report.as_dict()[name])
        counts.append(len(captured))
        cleanup.run_cleanup(now=now() + LONG_AGO)
    assert rows[1] == 6 * rows[0] > 0
    assert counts[0] == counts[1]

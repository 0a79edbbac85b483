"""Sessions that end together, and lease flushes and lanes that hold rows of theirs: all lock in one order."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from django.db import connection, transaction

from session_mgmt.actions.sessions import ending, lifecycle
from session_mgmt.models import Client, ClientSession, Connection, SessionActivity, clock
from session_mgmt.protocol.frames import Connect
from tests.attaching import attach_client

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def make_sessions() -> list[uuid.UUID]:
    """Make sessions whose ids descend while those of their clients and connections ascend."""
    made = []
    for number in range(8, 0, -1):
        created = lifecycle.create_session(session_id=uuid.UUID(int=number))
        attach_client(Connect(token=created.token.secret, client_id=None, acked=0, logs={}, agent="test"))
        made.append(created.session.pk)
    return made


def end(sessions: list[uuid.UUID]) -> None:
    try:
        with transaction.atomic():
            ending.finish_sessions("default", sessions, ClientSession.State.EXPIRED, "timeout", clock.read("default"))
    finally:
        connection.close()


# Of this database: those of other test processes are on the same server.
WAITS = """
    SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND datname = current_database())
"""


def wait_for_a_lock(seconds: float = 60.0) -> None:
    """Wait until some other session of the database waits for a lock, but not for ever: none may come."""
    end = monotonic() + seconds
    with connection.cursor() as cursor:
        while monotonic() < end:
            cursor.execute(WAITS)
            if cursor.fetchone()[0]:
                return
    raise AssertionError(f"Nobody waited for a lock within {seconds:g} s")


@pytest.mark.parametrize("model", [Client, Connection])
def test_whoever_holds_the_first_row_can_have_all_the_others(model: Any) -> None:
    sessions = make_sessions()
    rows = model.objects.order_by("pk").select_for_update(no_key=True, nowait=True)
    first, *others = model.objects.order_by("pk").values_list("pk", flat=True)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert rows.get(pk=first)
            ended = pool.submit(end, sessions)
            wait_for_a_lock()
            assert len(rows.filter(pk__in=others)) == 7
        ended.result(30)
    assert not Connection.objects.filter(closed_at__isnull=True).exists()
    assert SessionActivity.objects.count() == 8

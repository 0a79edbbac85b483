"""Sessions whose connections must close: found among many without making an object of each."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import connections, controls, fingerprints, lifecycle, users
from session_mgmt.actions.sessions.controls import Known
from session_mgmt.models import Client, ClientSession, SessionActivity, clock
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.frames import Connect
from tests.attaching import attach_client

pytestmark = pytest.mark.django_db(transaction=True)
LATER = timedelta(hours=1)


def know(sessions: Iterable[uuid.UUID]) -> dict[uuid.UUID, Known]:
    """Return what a process knows of sessions that it has just attached."""
    rows = {row.pk: row for row in ClientSession.objects.select_related("user").filter(pk__in=sessions)}
    return {key: Known(1, 1, _make_mark(rows.get(key))) for key in sessions}


def _make_mark(row: ClientSession | None) -> bytes:
    if row is None:
        return fingerprints.make_mark(None, None)
    return fingerprints.make_mark(row.auth_fingerprint, users.find_password(row.user))


@pytest.fixture(params=[True, False], ids=["active is a column", "active is computed"])
def has_column(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let a column tell who is active, or only the user's instance."""
    monkeypatch.setattr(users, "has_active_column", lambda: request.param)
    return bool(request.param)


def test_each_session_that_may_not_go_on_is_found_with_its_reason_and_no_other(has_column: bool) -> None:
    people = [get_user_model().objects.create_user(name) for name in ("alice", "bob")]
    alice, bob, nobody, over, idle, ended, expired, deleted = (
        lifecycle.create_session(user=user).session.pk for user in [*people, *[None] * 6]
    )
    get_user_model().objects.filter(pk=people[1].pk).update(is_active=False)
    now = clock.read("default")
    SessionActivity.objects.filter(pk=over).update(absolute_deadline=now)
    SessionActivity.objects.filter(pk=idle).update(expires_at=now - LATER)
    lifecycle.terminate_session(SERVER, ended)
    SessionActivity.objects.filter(pk=expired).update(live=False)
    ClientSession.objects.filter(pk=expired).update(state="expired", ended_at=now)
    ClientSession.objects.filter(pk=deleted).delete()
    unknown, raised = uuid.uuid4(), lifecycle.create_session().session.pk
    ClientSession.objects.filter(pk=raised).update(auth_version=2)
    everybody = [alice, bob, nobody, over, idle, ended, expired, deleted, unknown, raised]
    found = controls.find_controls(know(everybody), now=now)
    assert {session: control.judge_connection(1) for session, control in found.items()} == {
        raised: Close.LOGIN_CHECK,
        bob: Close.SESSION_TERMINATED,
        over: Close.SESSION_EXPIRED,
        idle: Close.SESSION_EXPIRED,
        ended: Close.SESSION_TERMINATED,
        expired: Close.SESSION_EXPIRED,
        deleted: Close.SESSION_TERMINATED,
        unknown: Close.SESSION_TERMINATED,
    }
    assert alice not in found


def test_many_that_may_go_on_cost_few_queries_and_no_instance(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = get_user_model().objects.create_user("alice")
    sessions = [lifecycle.create_session(user=user).session.pk for _ in range(30)]
    now, known = clock.read("default"), know(sessions)

    def refuse(*args: Any) -> Any:
        raise AssertionError("a session was made an object of")

    monkeypatch.setattr(SessionActivity, "from_db", refuse)
    with django_assert_num_queries(1):
        assert controls.find_controls(known, now=now) == {}
    with django_assert_num_queries(0):
        assert controls.find_controls({}, now=now) == {}


def test_only_a_generation_that_is_higher_than_known_is_told() -> None:
    created = lifecycle.create_session()
    made = [attach_client(Connect(created.token.secret, None, 0, {}, ""), server="here") for _ in range(3)]
    known = {one.client: one.generation for one in made}
    assert connections.find_raised_generations(known) == {}
    Client.objects.filter(pk=made[1].client).update(generation=7)
    # Lower ones come from a backup, and missing ones belong to a session that was deleted.
    Client.objects.filter(pk=made[0].client).update(generation=0)
    Client.objects.filter(pk=made[2].client).delete()
    assert connections.find_raised_generations(known) == {made[1].client: 7}
    assert connections.find_raised_generations({}) == {}

"""What lengthens a session's life over HTTP, and what does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.models import ClientSession, SessionActivity
from session_mgmt.shortcuts import create_session
from tests.api.calls import Caller, caller, refused

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"


def life(session: str) -> tuple[int, timedelta]:
    """The idle timeout and the absolute one."""
    found = SessionActivity.objects.select_related("session").get(pk=session)
    return found.idle_seconds, found.absolute_deadline - found.session.created_at


@pytest.fixture
def short(alice: Any) -> Caller:
    """A session that the server made short."""
    return caller(create_session(user=alice, idle_timeout=120, absolute_timeout=600))


@pytest.mark.parametrize(
    "config",
    [{}, {"theme": "dark"}, {"idle_timeout": None}, {"idle_timeout": 120}, {"absolute_timeout": 600}],
)
def test_a_config_without_timeouts_leaves_the_life_as_it_is(short: Caller, config: dict[str, Any]) -> None:
    assert short.patch("sessions/{id}/", {"config": config}).status_code == 200
    assert life(short.session) == (120, timedelta(seconds=600))


@pytest.mark.parametrize("config", [{"idle_timeout": 121}, {"absolute_timeout": 86_400}])
def test_a_client_cannot_lengthen_the_life_that_the_server_gave(short: Caller, config: dict[str, Any]) -> None:
    assert refused(short.patch("sessions/{id}/", {"config": config}), "invalid_field", 400)
    assert life(short.session) == (120, timedelta(seconds=600))


def test_a_client_may_shorten_its_life(short: Caller) -> None:
    assert short.patch("sessions/{id}/", {"config": {"idle_timeout": 60}}).status_code == 200
    assert life(short.session) == (60, timedelta(seconds=600))


def test_a_successor_lives_no_longer_than_its_predecessor(short: Caller) -> None:
    short.patch("sessions/{id}/", {"config": {"theme": "dark"}})
    SessionActivity.objects.update(expires_at=ClientSession.objects.get().created_at - timedelta(hours=1))
    told = short.post("sessions/{id}/recover/").json()
    successor, old = told["session"]["session_id"], SessionActivity.objects.get(pk=short.session)
    assert life(successor)[0] == 120
    assert SessionActivity.objects.get(pk=successor).absolute_deadline == old.absolute_deadline


def test_the_server_may_lengthen_a_life(short: Caller) -> None:
    session = ClientSession.objects.get()
    lifecycle.update_session(SERVER, session.pk, config={"idle_timeout": 3600})
    assert life(short.session) == (3600, timedelta(seconds=600))


@pytest.mark.parametrize(
    ("path", "body", "counts"),
    [
        (MAIN + "sync/", {"position": None}, False),
        (MAIN + "sync/", {"position": None, "pending": []}, False),
        (MAIN + "sync/", {"position": None, "pending": [{"merge": {"b": 1}, "key": "k"}]}, True),
        ("sessions/{id}/validate/", {}, False),
        (MAIN + "compress/", {}, False),
        (MAIN + "persist/", {}, True),
    ],
)
def test_only_a_write_counts_as_activity(mine: Caller, path: str, body: Any, counts: bool) -> None:
    mine.patch(MAIN, {"merge": {"a": 1}})
    before = SessionActivity.objects.get().last_active_at - timedelta(minutes=5)
    SessionActivity.objects.update(last_active_at=before)
    assert mine.post(path, body).status_code == 200
    assert (SessionActivity.objects.get().last_active_at > before) is counts

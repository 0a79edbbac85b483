"""Events that calls over HTTP cause; those of the verbs and of connections are tested there."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.models import AuditEntry, ClientSession, SessionEvent
from session_mgmt.signals import session_event
from tests.api.calls import Caller, refused

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"


@pytest.fixture
def told() -> Any:
    """Every event that the project's signal was given: type and session."""
    heard: list[tuple[str, Any]] = []

    def hear(**event: Any) -> None:
        heard.append((event["type"], event["session_id"]))

    session_event.connect(hear)
    yield heard
    session_event.disconnect(hear)


def types(mine: Caller) -> list[str]:
    return list(SessionEvent.objects.filter(session=mine.session).order_by("seq").values_list("type", flat=True))


def test_a_login_that_makes_a_session_is_an_auth_success(page: Caller, alice: Any) -> None:
    page.http.cookies["csrftoken"] = "a" * 32
    page.post("sessions/", X_CSRFToken="a" * 32)
    assert list(SessionEvent.objects.order_by("seq").values_list("type", flat=True)) == [
        "session_created",
        "auth_success",
    ]


def test_an_expired_token_is_an_auth_required_once_in_a_while(mine: Caller) -> None:
    session = ClientSession.objects.get(pk=mine.session)
    session.tokens.update(expires_at=session.created_at)
    for _ in range(3):
        assert refused(mine.get("sessions/{id}/"), "token_expired", 401)
    assert types(mine) == ["session_created", "auth_required"]


def test_a_revoked_token_is_an_auth_failed_of_its_session(mine: Caller) -> None:
    session = ClientSession.objects.get(pk=mine.session)
    session.tokens.update(revoked_at=session.created_at)
    mine.get("sessions/{id}/")
    assert types(mine) == ["session_created", "auth_failed"]


def test_a_token_of_nobody_is_audited_once_and_told_to_the_signal_each_time(mine: Caller, told: Any) -> None:
    stranger = Caller(mine.http, "sma_" + "A" * 43, mine.session)
    for _ in range(3):
        assert refused(stranger.get("sessions/{id}/"), "invalid_token", 401)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.session, entry.ip) == ("auth_failed", None, "127.0.0.1")
    assert "AAAA" not in str(entry.data)
    assert told.count(("auth_failed", None)) == 3
    assert types(mine) == ["session_created"]


def test_a_sync_that_moves_something_is_a_state_synchronized(mine: Caller) -> None:
    first = mine.post(MAIN + "sync/", {"position": None}).json()
    mine.post(MAIN + "sync/", {"position": first["position"]})
    assert types(mine) == ["session_created", "state_synchronized"]
    told = mine.get("sessions/{id}/events/?after=1").json()["results"][0][2]
    assert told["data"] == {"document": "main", "mode": "snapshot", "version": 0}


def test_a_fault_is_an_error_occurred_and_counted(
    mine: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(lifecycle, "list_active", broken)
    for _ in range(3):
        assert refused(mine.get("sessions/"), "internal_error", 500)
    assert types(mine) == ["session_created", "error_occurred"]
    assert mine.get("sessions/{id}/metrics/").json()["errors"] == {"internal_error": 1}
    caplog.clear()

"""Every event that touches somebody's access is written down: who, what, when, from where, and never a secret."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from session_mgmt.actions import audit, cleanup, limits
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle, logins
from session_mgmt.actions.sessions.lifecycle import Device
from session_mgmt.exceptions import InvalidToken
from session_mgmt.models import AuditEntry, ClientSession, Login, clock
from session_mgmt.security_log import Formatter, log_event
from tests.api.calls import caller
from tests.api.conftest import alice, bob
from tests.identity.browser import Browser
from tests.identity.conftest import later, make_pair, refresh, refresh_of
from tests.walks.conftest import peers

__all__ = ["alice", "bob", "peers"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Return what the security log has said, as its formatter writes it."""
    caplog.set_level(logging.INFO, "session_mgmt.security")

    def read() -> list[dict[str, Any]]:
        ours = [record for record in caplog.records if record.name == "session_mgmt.security"]
        return [json.loads(Formatter().format(record)) for record in ours]

    return read


def entries(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action))


@pytest.mark.requirement("ASVS 16.2.1")
def test_a_session_is_logged_when_it_is_made_and_when_it_ends(lines: Any, alice: Any) -> None:
    made = lifecycle.create_session(user=alice, device=Device(ip="192.0.2.7"))
    lifecycle.terminate_session(SERVER, made.session.pk, reason="asked")
    first, last = lines()
    assert (first["event"], first["user"], first["ip"]) == ("session_created", alice.pk, "192.0.2.7")
    assert (last["event"], last["session"], last["reason"]) == ("session_terminated", str(made.session.pk), "asked")
    assert first["at"].endswith("+00:00")


def test_what_was_undone_is_not_logged(lines: Any) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        lifecycle.create_session()
        raise ZeroDivisionError
    assert lines() == []


@pytest.mark.requirement("ASVS 7.1.2")
def test_an_eviction_is_in_the_trail(lines: Any, alice: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"max_sessions_per_user": 1}
    old = lifecycle.create_session(user=alice)
    lifecycle.create_session(user=alice)
    [entry] = entries(audit.SESSION_EVICTED)
    assert (entry.session, entry.data) == (old.session.pk, {"policy": "evict_idle", "user_id": str(alice.pk)})
    assert "session_evicted" in [line["event"] for line in lines()]


def test_a_refused_refresh_and_a_copied_one_are_in_the_trail(lines: Any) -> None:
    made = make_pair()
    with pytest.raises(InvalidToken):
        refresh("smr_" + "A" * 22 + "_" + "b" * 43)
    assert [entry.data["name"] for entry in entries(audit.REFRESH_REFUSED)] == ["invalid_token"]
    refresh(refresh_of(made))
    with pytest.raises(InvalidToken):
        refresh(refresh_of(made), minutes=2)
    assert [entry.session for entry in entries(audit.REFRESH_REUSED)] == [made.session.pk]
    warned = [line["event"] for line in lines() if line["level"] == "WARNING"]
    assert warned[:2] == ["refresh_refused", "refresh_reused"]


@pytest.mark.requirement("ASVS 16.2.1")
def test_a_missing_right_is_in_the_trail_once_in_a_while(alice: Any) -> None:
    made = lifecycle.create_session(user=alice)
    body = {"data": 1}
    for _ in range(3):
        assert caller(made).post("sessions/{id}/messages/", body).status_code == 403
    [entry] = entries(audit.PERMISSION_DENIED)
    assert (entry.session, entry.ip) == (made.session.pk, "127.0.0.1")
    assert entry.data == {"name": "permission_denied", "call": "POST SessionViewSet", "user_id": str(alice.pk)}


@pytest.mark.requirement("ASVS 16.2.1")
def test_a_copied_cookie_and_a_limit_of_sessions_are_in_the_trail(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_sessions_per_user": 1, "session_limit_policy": "reject"}
    browser = Browser()
    browser.log_in("ann")
    browser.enter()
    for _ in range(2):
        browser.kept = None
        assert browser.enter()["name"] == "session_limit"
    [entry] = entries(audit.LIMIT_REACHED)
    user_id = str(ClientSession.objects.get().user_id)
    assert entry.data == {"name": "session_limit", "call": "POST EnterView", "user_id": user_id}
    logins.end_login(bytes(Login.objects.get().digest), None, "ended")
    assert browser.enter()["name"] == "login_ended"
    [entry] = entries(audit.PERMISSION_DENIED)
    assert (entry.ip, entry.data) == (
        "127.0.0.1",
        {"name": "login_ended", "call": "POST EnterView", "user_id": user_id},
    )


@pytest.mark.requirement("OWASP sessions: anomalies")
def test_200_wrong_tokens_of_one_address_are_stopped_and_in_the_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    # All at one moment: a slow machine would give back what the calls cost as fast as they come.
    monkeypatch.setattr(limits, "monotonic", lambda: 1000.0)
    http, statuses = Client(), []
    for number in range(200):
        token = f"sma_{number:043d}"
        statuses.append(http.get("/api/sessions/", headers={"Authorization": f"Bearer {token}"}).status_code)
    assert statuses[0] == 401 and statuses[-1] == 429
    assert set(statuses) == {401, 429}
    [entry] = entries(audit.LIMIT_REACHED)
    assert entry.ip == "127.0.0.1"
    assert len(entries("auth_failed")) == 1
    answer = http.get("/api/sessions/", headers={"Authorization": "Bearer sma_" + "z" * 43})
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_caller_over_its_limit_is_news_once_in_a_while() -> None:
    told = [limits.is_news("192.0.2.1", "a", now=at) for at in (0.0, 1.0, 9.0, 11.0, 12.0)]
    assert told == [True, False, False, True, False]
    assert limits.is_news("192.0.2.2", "a", now=1.0)
    assert limits.is_news("192.0.2.1", "b", now=12.0)


def test_the_trail_is_purged_after_its_retention(settings: Any) -> None:
    settings.SESSION_MGMT = {"audit_retention": timedelta(days=30)}
    old, young = audit.add_entry("cleanup"), audit.add_entry("cleanup")
    AuditEntry.objects.filter(pk=old.pk).update(at=clock.read("default") - timedelta(days=31))
    assert cleanup.run_cleanup(dry_run=True).audit == 1
    assert cleanup.run_cleanup().audit == 1
    assert [entry.pk for entry in AuditEntry.objects.all()] == [young.pk]
    assert cleanup.run_cleanup(now=later(days=31)).audit == 1


@pytest.mark.parametrize("text", ["a\r\nsession_mgmt.security fake", "\x1b[31mred", "x" * 1_000_000, "\u202egnp.exe"])
@pytest.mark.requirement("ASVS 16.4.1")
def test_no_text_of_a_client_makes_a_second_line(text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "session_mgmt.security")
    log_event("auth_failed", agent=text, inside={text: [text]})
    [record] = caplog.records
    for line in (record.getMessage(), Formatter().format(record)):
        assert line.isprintable() and len(line) < 3000


def test_a_line_of_something_else_has_the_same_form() -> None:
    record = logging.LogRecord("session_mgmt.security", logging.INFO, "", 0, "hello %s", ("you",), None)
    assert json.loads(Formatter().format(record))["event"] == "hello you"

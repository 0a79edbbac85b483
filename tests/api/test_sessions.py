"""Sessions over HTTP: every call of PROTOCOL section 13 that is about them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import connections, lifecycle, stopping
from session_mgmt.models import ClientSession, Connection, SessionActivity, SessionEvent, StateDocument
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.frames import Connect
from tests.api.calls import Caller, caller, refused
from tests.attaching import attach_client

pytestmark = pytest.mark.django_db


@pytest.fixture
def anonymous(settings: Any) -> None:
    settings.SESSION_MGMT = {"anonymous_sessions": True}


def csrf(page: Caller) -> dict[str, str]:
    page.http.cookies["csrftoken"] = "a" * 32
    return {"X-CSRFToken": "a" * 32}


def test_a_logged_in_page_creates_a_session(page: Caller, alice: Any) -> None:
    answer = page.post("sessions/", {"metadata": {"a": 1}, "label": "Phone"}, **csrf(page))
    told = answer.json()
    assert answer.status_code == 201
    assert told["session"] | {"user_id": str(alice.pk), "state": "active", "metadata": {"a": 1}} == told["session"]
    assert told["endpoints"] == {
        "websocket": "/ws/session/",
        "session": f"/api/sessions/{told['session']['session_id']}/",
        "connections": "/api/connections/",
        "poll": "/api/connections/poll/",
        "frames": "/api/connections/frames/",
        "leave": "/api/connections/leave/",
    }
    assert told["positions"]["session"][1] == 1
    session = ClientSession.objects.get()
    assert (session.label, session.ip, session.user_id) == ("Phone", "127.0.0.1", alice.pk)


def test_the_token_of_the_answer_works_and_is_not_stored(page: Caller) -> None:
    told = page.post("sessions/", **csrf(page)).json()
    mine = Caller(Client(), told["token"], told["session"]["session_id"])
    assert mine.get("sessions/{id}/").json()["session_id"] == mine.session
    assert not ClientSession.objects.filter(tokens__digest__contains=told["token"].encode()).exists()


def test_a_page_without_the_csrf_token_creates_nothing(page: Caller) -> None:
    assert refused(page.post("sessions/"), "permission_denied", 403)
    assert not ClientSession.objects.exists()


@pytest.mark.requirement("ASVS 7.6.2")
def test_without_a_login_nothing_is_created(nobody: Caller) -> None:
    assert refused(nobody.post("sessions/"), "auth_required", 401)
    assert not ClientSession.objects.exists()


def test_anonymous_sessions_are_created_where_the_project_allows_them(nobody: Caller, anonymous: None) -> None:
    told = nobody.post("sessions/").json()
    assert told["session"]["user_id"] is None


def test_a_session_cannot_create_sessions(mine: Caller, anonymous: None) -> None:
    assert refused(mine.post("sessions/"), "permission_denied", 403)
    assert ClientSession.objects.count() == 1


@pytest.mark.requirement("OWASP sessions: strict")
def test_an_id_of_the_callers_choosing_is_refused(page: Caller) -> None:
    wanted = {"session_id": str(uuid.uuid4())}
    assert refused(page.post("sessions/", wanted, **csrf(page)), "invalid_field", 400)


def test_endpoints_respect_the_prefix_of_the_project(page: Caller) -> None:
    page.http.defaults["SCRIPT_NAME"] = "/shop"
    told = page.post("sessions/", **csrf(page)).json()
    assert told["endpoints"]["websocket"] == "/shop/ws/session/"
    assert told["endpoints"]["session"].startswith("/shop/api/sessions/")


def test_the_list_holds_the_callers_active_sessions_and_nobody_elses(mine: Caller, theirs: Caller, alice: Any) -> None:
    ended = lifecycle.create_session(user=alice)
    lifecycle.terminate_session(SERVER, ended.session.pk)
    listed = mine.get("sessions/").json()["results"]
    assert [session["session_id"] for session in listed] == [mine.session]


def test_update_replaces_metadata_and_tells_the_log(mine: Caller) -> None:
    assert mine.patch("sessions/{id}/", {"metadata": {"b": 2}}).json()["metadata"] == {"b": 2}
    assert SessionEvent.objects.filter(type="session_updated").count() == 1


def test_a_shorter_idle_timeout_brings_the_end_nearer(mine: Caller) -> None:
    before = mine.get("sessions/{id}/").json()["expires_at"]
    assert mine.patch("sessions/{id}/", {"config": {"idle_timeout": 60}}).json()["expires_at"] < before


@pytest.mark.requirement("ASVS 10.4.9")
def test_delete_ends_the_session_and_its_token(mine: Caller) -> None:
    assert mine.delete("sessions/{id}/").status_code == 204
    assert refused(mine.get("sessions/{id}/"), "session_terminated", 410)
    assert refused(mine.delete("sessions/{id}/"), "session_terminated", 410)


def test_validate_says_why_not(mine: Caller) -> None:
    assert mine.post("sessions/{id}/validate/").json() == {"valid": True, "reason": None}
    assert mine.post("sessions/{id}/validate/", {"permission": "auth.add_user"}).json() == {
        "valid": False,
        "reason": "permission_denied",
    }
    mine.delete("sessions/{id}/")
    assert mine.post("sessions/{id}/validate/").json() == {"valid": False, "reason": "session_terminated"}


def expire(session: str) -> None:
    past = ClientSession.objects.get(pk=session).created_at - timedelta(hours=1)
    SessionActivity.objects.filter(pk=session).update(expires_at=past)


def test_recover_makes_a_successor_with_its_documents(mine: Caller) -> None:
    mine.patch("sessions/{id}/state/main/", {"merge": {"cart": [1, 2]}})
    expire(mine.session)
    assert refused(mine.get("sessions/{id}/"), "session_expired", 410)
    told = mine.post("sessions/{id}/recover/").json()
    again = Caller(Client(), told["token"], told["session"]["session_id"])
    assert again.get("sessions/{id}/state/main/").json()["data"] == {"cart": [1, 2]}
    assert told["receipt"]["verdict"] == "state_only"
    # An answer that was lost: the same successor, the same receipt, a token of its own.
    second = mine.post("sessions/{id}/recover/").json()
    assert second["session"]["session_id"] == told["session"]["session_id"]
    assert second["receipt"] == told["receipt"] and second["token"] != told["token"]


def test_a_terminated_or_living_session_has_no_successor(mine: Caller) -> None:
    assert refused(mine.post("sessions/{id}/recover/"), "not_recoverable", 410)
    mine.delete("sessions/{id}/")
    assert refused(mine.post("sessions/{id}/recover/"), "not_recoverable", 410)


def test_recover_needs_the_sessions_own_token(mine: Caller, theirs: Caller, page: Caller) -> None:
    expire(mine.session)
    stranger = Caller(theirs.http, theirs.token, mine.session)
    assert refused(stranger.post("sessions/{id}/recover/"), "session_not_found", 404)
    assert refused(page.post(f"sessions/{mine.session}/recover/", **csrf(page)), "auth_required", 401)


def test_events_come_in_pages(mine: Caller) -> None:
    for number in range(3):
        mine.patch("sessions/{id}/", {"metadata": {"n": number}})
    first = mine.get("sessions/{id}/events/?limit=2").json()
    rest = mine.get(f"sessions/{{id}}/events/?after={first['next']}").json()
    assert [entry[0] for entry in first["results"] + rest["results"]] == [1, 2, 3, 4]
    assert first["results"][0][2]["type"] == "session_created"
    assert rest["next"] is None


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=501", "after=9007199254740992", "limit=%C2%B2"])
def test_a_page_that_cannot_be_is_refused(mine: Caller, query: str) -> None:
    assert refused(mine.get(f"sessions/{{id}}/events/?{query}"), "invalid_field", 400)


def test_metrics_count_what_happened(mine: Caller) -> None:
    mine.patch("sessions/{id}/state/main/", {"merge": {"a": 1}})
    told = mine.get("sessions/{id}/metrics/").json()
    assert told["events"] == {"session_created": 1}
    assert told["state_documents"] | {"count": 1, "updates": 1} == told["state_documents"]


@pytest.mark.parametrize("verb", ["disconnect", "reconnect"])
def test_a_sessions_own_token_sends_nobody_away(mine: Caller, verb: str) -> None:
    assert refused(mine.post(f"sessions/{{id}}/{verb}/"), "permission_denied", 403)


def test_connections_are_listed_newest_first_with_their_figures(mine: Caller) -> None:
    assert mine.get("sessions/{id}/connections/").json() == {"results": []}
    frame = Connect(token=mine.token or "", client_id=None, acked=0, logs={}, agent="")
    first, second = attach_client(frame), attach_client(frame)
    connections.renew_leases([connections.Beat(second.connection, 40.0, 50.0, 5, 1, 1, 2, 3, 4, 60.0, 2.5)])
    stopping.stop_session(ClientSession.objects.get().pk, Close.NORMAL)
    Connection.objects.filter(pk=first.connection).update(lease_expires_at="2020-01-01T00:00:00Z")
    newest, lost = mine.get("sessions/{id}/connections/").json()["results"]
    assert (newest["client_id"], newest["state"], newest["close_code"]) == (second.client_id, "open", None)
    assert newest["latency"] == {"last_ms": 40.0, "average_ms": 50.0, "p95_ms": 60.0, "jitter_ms": 2.5}
    assert (newest["beats"], newest["messages"]) == ({"sent": 5, "missed": 1}, {"in": 1, "out": 2})
    assert (lost["client_id"], lost["state"], lost["latency"]["last_ms"]) == (first.client_id, "lost", None)


def test_messages_are_for_callers_with_that_right(mine: Caller, bob: Any) -> None:
    assert refused(mine.post("sessions/{id}/messages/", {"data": 1}), "permission_denied", 403)
    bob.user_permissions.add(*Permission.objects.filter(codename__in=["message_clientsession", "view_clientsession"]))
    http = Client()
    http.force_login(bob)
    told = Caller(http, None, mine.session).post("sessions/{id}/messages/", {"data": {"hello": 1}, "key": "k"})
    assert told.status_code == 201
    assert [entry[2]["data"] for entry in mine.get("sessions/{id}/events/?after=1").json()["results"]] == [{"hello": 1}]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "validate/"),
        ("POST", "recover/"),
        ("GET", "metrics/"),
        ("GET", "events/"),
        ("POST", "messages/"),
        ("GET", "connections/"),
        ("POST", "disconnect/"),
        ("POST", "reconnect/"),
        ("GET", "state/"),
        ("GET", "state/main/"),
        ("PATCH", "state/main/"),
        ("PUT", "state/main/"),
        ("DELETE", "state/main/"),
        ("POST", "state/main/sync/"),
        ("GET", "state/main/size/"),
        ("POST", "state/main/compress/"),
    ],
)
@pytest.mark.requirement("ASVS 8.2.2")
def test_somebody_elses_session_looks_like_none(mine: Caller, theirs: Caller, method: str, path: str) -> None:
    theirs.patch("sessions/{id}/state/main/", {"merge": {"secret": 1}})
    answers = [
        Caller(mine.http, mine.token, key).call(method, f"sessions/{{id}}/{path}", {"merge": {"x": 1}})
        for key in (theirs.session, str(uuid.uuid4()), "not-a-uuid")
    ]
    assert all(refused(answer, "session_not_found", 404) for answer in answers)
    assert len({answer.content for answer in answers}) == 1
    assert theirs.get("sessions/{id}/state/main/").json()["data"] == {"secret": 1}
    assert StateDocument.objects.count() == 1


def test_a_user_without_rights_gains_none_by_the_projects_login(theirs: Caller, page: Caller) -> None:
    assert refused(page.get(f"sessions/{theirs.session}/"), "session_not_found", 404)


def test_an_inactive_users_token_is_refused(mine: Caller, alice: Any) -> None:
    type(alice).objects.filter(pk=alice.pk).update(is_active=False)
    assert refused(mine.get("sessions/{id}/"), "invalid_token", 401)


def test_a_write_counts_as_activity_but_not_every_write(mine: Caller) -> None:
    past = ClientSession.objects.get().created_at - timedelta(minutes=5)
    SessionActivity.objects.update(last_active_at=past)
    mine.patch("sessions/{id}/state/main/", {"merge": {"a": 1}})
    first = SessionActivity.objects.get().last_active_at
    mine.patch("sessions/{id}/state/main/", {"merge": {"a": 2}})
    assert past < first == SessionActivity.objects.get().last_active_at


def test_a_read_is_no_activity(mine: Caller) -> None:
    before = SessionActivity.objects.get().last_active_at - timedelta(minutes=5)
    SessionActivity.objects.update(last_active_at=before)
    mine.get("sessions/{id}/")
    assert SessionActivity.objects.get().last_active_at == before


def test_a_session_of_nobody_is_reached_by_its_token_alone(db: None) -> None:
    first, second = caller(lifecycle.create_session()), caller(lifecycle.create_session())
    assert first.get("sessions/{id}/").status_code == 200
    assert refused(Caller(first.http, first.token, second.session).get("sessions/{id}/"), "session_not_found", 404)
    assert len(first.get("sessions/").json()["results"]) == 1

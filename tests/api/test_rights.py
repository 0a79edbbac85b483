"""Callers who do not own a session: the same permission for each action as in the admin, and always an audit entry."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from session_mgmt.models import AuditEntry, ClientSession, SessionActivity
from session_mgmt.shortcuts import state
from tests.api.calls import Caller, make_conflict, refused

# Rights are asked of Django, and no database decides them.
pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]
MAIN = "sessions/{id}/state/main/"
SEE = ("view_clientsession",)
SEE_STATE = (*SEE, "view_statedocument")

# Method, path, body, the permissions it needs, and its audit entry.
CALLS: dict[str, tuple[str, str, Any, tuple[str, ...], str]] = {
    "read session": ("GET", "sessions/{id}/", None, SEE, "read_session"),
    "metrics": ("GET", "sessions/{id}/metrics/", None, SEE, "read_session"),
    "events": ("GET", "sessions/{id}/events/", None, SEE, "read_session"),
    "validate": ("POST", "sessions/{id}/validate/", {}, SEE, "read_session"),
    "update session": ("PATCH", "sessions/{id}/", {"label": "x"}, (*SEE, "change_clientsession"), "update_session"),
    "end session": ("DELETE", "sessions/{id}/", None, (*SEE, "terminate_clientsession"), "terminate"),
    "connections": ("GET", "sessions/{id}/connections/", None, SEE, "read_session"),
    "disconnect": ("POST", "sessions/{id}/disconnect/", {}, (*SEE, "disconnect_clientsession"), "disconnect"),
    "reconnect": ("POST", "sessions/{id}/reconnect/", {}, (*SEE, "disconnect_clientsession"), "reconnect"),
    "message": ("POST", "sessions/{id}/messages/", {"data": 1}, (*SEE, "message_clientsession"), "message"),
    "list documents": ("GET", "sessions/{id}/state/", None, SEE_STATE, "read_state"),
    "read document": ("GET", MAIN, None, SEE_STATE, "read_state"),
    "size": ("GET", MAIN + "size/", None, SEE_STATE, "read_state"),
    "sync": ("POST", MAIN + "sync/", {"position": None}, SEE_STATE, "read_state"),
    "change": ("PATCH", MAIN, {"merge": {"a": 2}}, (*SEE_STATE, "change_statedocument"), "write_state"),
    "replace": ("PUT", MAIN, {"a": 2}, (*SEE_STATE, "change_statedocument"), "write_state"),
    "clear": ("DELETE", MAIN, None, (*SEE_STATE, "change_statedocument"), "write_state"),
    "sync with changes": (
        "POST",
        MAIN + "sync/",
        {"position": None, "pending": [{"merge": {"a": 2}, "key": "k"}]},
        (*SEE_STATE, "change_statedocument"),
        "write_state",
    ),
    "history": ("GET", MAIN + "history/", None, SEE_STATE, "read_history"),
    "old version": ("GET", MAIN + "history/1/", None, SEE_STATE, "read_state"),
    "diff": ("GET", MAIN + "diff/?from=0", None, SEE_STATE, "compare_state"),
    "checkpoints": ("GET", MAIN + "persist/", None, SEE_STATE, "read_history"),
    "checkpoint": ("GET", MAIN + "persist/kept/", None, SEE_STATE, "read_state"),
    "persist": ("POST", MAIN + "persist/", {}, (*SEE_STATE, "maintain_statedocument"), "persist_state"),
    "forget": ("DELETE", MAIN + "persist/kept/", None, (*SEE_STATE, "maintain_statedocument"), "forget_state"),
    "compress": ("POST", MAIN + "compress/", {}, (*SEE_STATE, "maintain_statedocument"), "compact_state"),
    "restore": ("POST", MAIN + "restore/", {"version": 0}, (*SEE_STATE, "restore_statedocument"), "restore_state"),
    "conflicts": ("GET", MAIN + "conflicts/", None, (*SEE_STATE, "view_stateconflict"), "read_conflict"),
    "resolve": (
        "POST",
        MAIN + "conflicts/{conflict}/resolve/",
        {"keep": "client"},
        (*SEE_STATE, "view_stateconflict", "resolve_stateconflict"),
        "resolve_conflict",
    ),
}


@pytest.fixture
def session(mine: Caller) -> Caller:
    """Alice's session with a document, a checkpoint and an open conflict."""
    make_conflict(mine.session)
    return mine


def clerk(session: Caller, *codenames: str) -> Caller:
    """Somebody else with just these permissions."""
    user = get_user_model().objects.create_user("clerk")
    user.user_permissions.add(
        *Permission.objects.filter(codename__in=codenames, content_type__app_label="session_mgmt")
    )
    http = Client()
    http.force_login(user)
    return Caller(http, None, session.session)


def ask(caller: Caller, session: Caller, name: str) -> Any:
    method, path, body, _, _ = CALLS[name]
    if "{conflict}" in path:
        path = path.replace("{conflict}", state.conflicts(ClientSession.objects.get(pk=session.session))[0]["id"])
    return caller.call(method, path, body)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.requirement("ASVS 7.4.5")
def test_each_action_needs_its_permission_and_leaves_an_audit_entry(session: Caller, name: str) -> None:
    *_, needed, action = CALLS[name]
    answer = ask(clerk(session, *needed), session, name)
    assert answer.status_code < 300, answer.content
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor.get_username(), str(entry.session)) == (action, "clerk", session.session)
    assert (entry.ip, entry.data["via"]) == ("127.0.0.1", "rest")
    if "state/main/" in CALLS[name][1]:
        assert entry.data["document"] == "main"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.requirement("ASVS 7.4.5")
def test_no_action_goes_with_one_permission_less(session: Caller, name: str) -> None:
    needed = CALLS[name][3]
    for missing in needed:
        caller = clerk(session, *(one for one in needed if one != missing))
        answer = ask(caller, session, name)
        if missing == "view_clientsession":
            assert refused(answer, "session_not_found", 404), missing
        else:
            assert refused(answer, "permission_denied", 403), missing
        get_user_model().objects.filter(username="clerk").delete()
    # A refusal is written down as one, and nothing was done.
    assert set(AuditEntry.objects.values_list("action", flat=True)) <= {"permission_denied"}
    assert session.get(MAIN).json()["version"] == 2


@pytest.mark.parametrize("name", CALLS)
def test_an_owner_leaves_no_audit_entry(session: Caller, name: str) -> None:
    if name not in ("message", "disconnect", "reconnect"):
        assert ask(session, session, name).status_code < 300
    assert not AuditEntry.objects.exists()


def test_a_change_by_staff_names_its_version_and_shows_who_made_it(session: Caller) -> None:
    ask(clerk(session, *CALLS["change"][3]), session, "change")
    assert AuditEntry.objects.get().data["version"] == session.get(MAIN).json()["version"]


def test_work_of_others_is_no_activity_of_the_session(session: Caller) -> None:
    before = SessionActivity.objects.get().last_active_at.replace(year=2020)
    SessionActivity.objects.update(last_active_at=before)
    ask(clerk(session, *CALLS["change"][3]), session, "change")
    assert SessionActivity.objects.get().last_active_at == before

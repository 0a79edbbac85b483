"""Calls that were let in by a token which a claim or a login has voided before they are carried out.

The calls are those of the routes, so that a new one cannot be forgotten: it needs a row here.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from session_mgmt.actions.sessions import refreshing
from session_mgmt.api.views import ApiView
from session_mgmt.models import (
    ClientSession,
    Login,
    Publication,
    SessionActivity,
    SessionEvent,
    StateConflict,
    StateDocument,
    StateSnapshot,
    Token,
    clock,
)
from session_mgmt.shortcuts import state
from tests.api.calls import Caller
from tests.identity.conftest import make_pair
from tests.identity.test_claim_races import claim
from tests.identity.test_rights import BY_BODY, routes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread", "declared")]

MAIN = "sessions/{id}/state/main/"
ROWS = (ClientSession, Login, Publication, SessionEvent, StateConflict, StateDocument, StateSnapshot, Token)
PUBLISH = "topics/room:1/publications/"
NOTHING: Any = None
# Of each call that is not a GET: path and body, one or several.
CHANGES: dict[tuple[str, str], list[tuple[str, Any]]] = {
    ("session-detail", "PATCH"): [("sessions/{id}/", {"label": "x"}), ("sessions/{id}/", {"metadata": {"a": 1}})],
    ("session-detail", "DELETE"): [("sessions/{id}/", NOTHING), ("sessions/{sister}/", NOTHING)],
    ("device-list", "DELETE"): [("devices/", NOTHING)],
    ("device-detail", "DELETE"): [("devices/{sister}/", NOTHING)],
    ("session-recover", "POST"): [("sessions/{id}/recover/", {})],
    ("document-detail", "PATCH"): [
        (MAIN, {"merge": {"late": True}}),
        (MAIN, {"ops": [["set", "/late", True]], "key": "once"}),
        (MAIN, {"patch": [{"op": "add", "path": "/late", "value": True}]}),
    ],
    ("document-detail", "PUT"): [(MAIN, {"late": True})],
    ("document-detail", "DELETE"): [(MAIN, NOTHING)],
    ("document-sync", "POST"): [(MAIN + "sync/", {"pending": [{"merge": {"late": True}, "key": "once"}]})],
    ("document-compress", "POST"): [(MAIN + "compress/", {})],
    ("document-persist", "POST"): [(MAIN + "persist/", {"label": "late"})],
    ("document-checkpoint", "DELETE"): [(MAIN + "persist/kept/", NOTHING)],
    ("document-restore", "POST"): [(MAIN + "restore/", {"version": 1})],
    ("conflict-resolve", "POST"): [(MAIN + "conflicts/{conflict}/resolve/", {"keep": "client"})],
    ("topic-publications", "POST"): [
        (PUBLISH, {"data": 1}),
        (PUBLISH, {"data": 1, "key": "once"}),
        (PUBLISH, {"data": 1, "ephemeral": True}),
    ],
    ("token-narrow", "POST"): [("tokens/narrow/", {"scopes": ["state:read"]})],
}
# Calls that change nothing, or nothing by a session's token.
HARMLESS = {("session-validate", "POST"), ("session-list", "POST"), ("session-messages", "POST")}
HARMLESS |= {("session-disconnect", "POST"), ("session-reconnect", "POST")}
# They prove themselves where they are answered (tests/http_transports).
HARMLESS |= {(name, "POST") for name in ("connections", "connection-poll", "connection-frames", "connection-leave")}
ALL = [(method, *each) for (_, method), several in CHANGES.items() for each in several]
# Nobody's sessions have no others beside them.
OF_VISITORS = [each for each in ALL if "{sister}" not in each[1] and "devices" not in each[1]]


@pytest.fixture
def anonymous(settings: Any) -> None:
    settings.SESSION_MGMT = {"ANONYMOUS_SESSIONS": True}


def furnish(created: Any) -> Caller:
    """Give a session a document with a checkpoint and an open conflict."""
    one = Caller(Client(), created.token.secret, str(created.session.pk))
    for change, base in (([["set", "/a", 1]], 0), ([["set", "/a", 2]], 1), ([["set", "/a", 3]], 1)):
        assert one.patch(MAIN, {"ops": change, "base": base, "strategy": "manual"}).status_code == 200
    assert one.post(MAIN + "persist/", {"label": "kept"}).status_code == 200
    return one


def dump() -> dict[str, Any]:
    activities = list(SessionActivity.objects.order_by("pk").values("pk", "live", "expires_at", "event_seq"))
    return {"activity": activities, **{model.__name__: list(model.objects.order_by("pk").values()) for model in ROWS}}


def call_late(one: Caller, monkeypatch: pytest.MonkeyPatch, change: Any, method: str, path: str, body: Any) -> str:
    """Make a call and the change once it was let in; require that nothing but the change has happened."""
    begin, before = ApiView.begin, {}

    def begin_and_change(view: ApiView, declared: Any) -> None:
        begin(view, declared)
        monkeypatch.setattr(ApiView, "begin", begin)
        change()
        before.update(dump())

    monkeypatch.setattr(ApiView, "begin", begin_and_change)
    if "{conflict}" in path:
        path = path.replace("{conflict}", state.conflicts(ClientSession.objects.get(pk=one.session))[0]["id"])
    answer = one.call(method, path, body)
    assert before and dump() == before
    return str(answer.content.decode())


def test_every_call_that_changes_something_is_in_the_table() -> None:
    assert {call for call in routes() if call[1] != "GET"} - BY_BODY == CHANGES.keys() | HARMLESS


@pytest.mark.parametrize(("method", "path", "body"), ALL)
def test_no_call_that_was_let_in_by_a_token_is_carried_out_once_that_is_void(
    alice: Any, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    created, sister = make_pair(alice, auth_time=clock.read("default")), make_pair(alice)
    one, path = furnish(created), path.replace("{sister}", str(sister.session.pk))

    def void() -> None:
        refreshing.raise_auth_version(
            "default", ClientSession.objects.get(pk=created.session.pk), clock.read("default")
        )

    assert "invalid_token" in call_late(one, monkeypatch, void, method, path, body)


@pytest.mark.parametrize(("method", "path", "body"), OF_VISITORS)
def test_s05_no_call_that_was_let_in_before_a_claim_is_carried_out_after_it(
    anonymous: None, alice: Any, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    visitor, verdicts = make_pair(), []
    one = furnish(visitor)
    told = call_late(one, monkeypatch, lambda: verdicts.append(claim(visitor, alice).verdict), method, path, body)
    assert verdicts == ["claimed"]
    assert "invalid_token" in told

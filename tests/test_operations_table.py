"""Each operation of the table exists in Python, on the wire and in the SDK, or says why it does not."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from dataclasses import fields
from typing import Any

import pytest
from django.test import Client
from django.urls import resolve, reverse

from session_mgmt.actions.sessions import info, lifecycle
from session_mgmt.conf import Settings
from session_mgmt.protocol import frames
from session_mgmt.protocol.events import EVENT_TYPES
from session_mgmt.registry import registry, topic
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.docs.pages import ROOT
from tests.operations_table import (
    CLIENT_STATE,
    OPERATIONS,
    SESSION_CONFIG,
    SESSION_INFO,
    Operation,
)
from tests.test_vocabulary import list_javascript_names

TYPINGS = (ROOT / "session_mgmt/static/session_mgmt/session-client.d.ts").read_text(encoding="utf-8")
ID = "01937a52-7a39-7bd1-a71b-3c1f6e0ad9a1"
PARTS = {"pk": ID, "name": "main", "topic": "orders:42", "version": "1", "label": "kept", "conflict": ID}
NEEDS = {"session": ["pk"], "document": ["pk", "name"], "conflict": ["pk", "name"], "topic": ["topic"]}
LISTS: dict[str, list[str]] = {"session-list": [], "document-list": ["pk"]}
MORE = {"document-version": ["version"], "document-checkpoint": ["label"], "conflict-resolve": ["conflict"]}


def address(route: str, **parts: str) -> str:
    given = {**PARTS, **parts}
    named = LISTS[route] if route in LISTS else [*NEEDS.get(route.split("-")[0], []), *MORE.get(route, [])]
    return reverse(f"session_mgmt:{route}", kwargs={name: given[name] for name in named})


def having(field: str) -> list[Operation]:
    return [operation for operation in OPERATIONS if getattr(operation, field)]


def test_an_operation_that_lacks_a_home_says_why() -> None:
    homeless = [o.name for o in OPERATIONS if not (o.verb and (o.call or o.frame) and o.sdk) and not o.reason]
    assert homeless == []


@pytest.mark.parametrize("operation", having("verb"), ids=str)
def test_the_verb_exists(operation: Operation) -> None:
    module, name = operation.verb.split(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found) or hasattr(found, "connect")


@pytest.mark.parametrize("operation", having("call"), ids=str)
def test_the_rest_call_is_mounted(operation: Operation) -> None:
    method, route = operation.call.split()
    view = resolve(address(route)).func
    allowed = getattr(view, "actions", None) or view.view_class.http_method_names  # type: ignore[attr-defined]
    assert method.lower() in allowed


@pytest.mark.parametrize("operation", having("frame"), ids=str)
def test_the_frame_is_read_by_the_server(operation: Operation) -> None:
    assert operation.frame in frames.FRAME_TYPES


@pytest.mark.parametrize("operation", having("sdk"), ids=str)
def test_the_sdk_offers_the_method(operation: Operation) -> None:
    class_, method = operation.sdk.split(".")
    assert method in list_javascript_names(class_)


# -- the calls work ----------------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "PATCH session-detail": {"metadata": {"device": "phone"}},
    "PATCH document-detail": {"merge": {"a": 1}},
    "PUT document-detail": {"a": 1},
    "POST document-persist": {"label": "checkout"},
    "POST conflict-resolve": {"keep": "server"},
    "POST document-restore": {"version": 1},
    "POST session-messages": {"data": {"hello": 1}},
    "POST topic-publications": {"data": {"status": "paid"}},
}
# Without the right to it, and with nothing to recover: the honest answer is a refusal of its own.
REFUSED = {
    "POST session-list": "permission_denied",
    "POST session-messages": "permission_denied",
    "POST session-recover": "not_recoverable",
    "POST conflict-resolve": "not_found",
}
CALLS = sorted({operation.call for operation in having("call")})


@pytest.fixture
def orders() -> Any:
    before = registry.topics[:]

    @topic("orders:{pk}", publish=True, presence=True, snapshot=lambda session, pk: {"pk": pk})
    def everybody(session: Any, pk: str) -> bool:
        return True

    yield
    registry.topics[:] = before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("call", CALLS)
def test_the_rest_call_works(call: str, orders: None) -> None:
    created = lifecycle.create_session()
    verbs.update(created.session.pk, "main", "merge", {"cart": {}})
    state.persist(created.session, "kept")
    method, route = call.split()
    answer = Client().generic(
        method,
        address(route, pk=str(created.session.pk)),
        # The difference to the newest version begins somewhere.
        QUERY_STRING="from=1" if route == "document-diff" else "",
        data=json.dumps(BODIES.get(call, {})) if method != "GET" else "",
        content_type="application/json",
        headers={"Authorization": f"Bearer {created.token.secret}"},
    )
    if call in REFUSED:
        assert answer.json()["name"] == REFUSED[call]
    else:
        assert 200 <= answer.status_code < 300, answer.content


# -- events and values -------------------------------------------------------------------------------------------------


def recorded() -> set[str]:
    """The event types that some verb records."""
    verbs = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "session_mgmt/actions").rglob("*.py"))
    return {type_ for type_ in EVENT_TYPES if re.search(rf"\b{type_.upper()}\b", verbs)}


def test_there_are_twelve_events_and_the_sdk_knows_them() -> None:
    assert len(EVENT_TYPES) == 12
    block = re.search(r"EVENT_TYPES: readonly \[(.*?)\]", TYPINGS, re.DOTALL)
    assert block and re.findall(r'"(\w+)"', block[1]) == list(EVENT_TYPES)


def test_every_event_is_recorded_by_a_verb() -> None:
    assert recorded() == set(EVENT_TYPES)


@pytest.mark.django_db
def test_session_info_has_its_documented_fields_and_the_sdk_speaks_camel_case() -> None:
    assert list(info.describe_session(lifecycle.create_session().session, "connected")) == SESSION_INFO
    block = re.search(r"interface SessionInfo \{(.*?)\}", TYPINGS, re.DOTALL)
    camel = [re.sub(r"_(\w)", lambda match: match[1].upper(), name) for name in SESSION_INFO]
    assert block and [name for name in re.findall(r"(\w+)\??:", re.sub(r"/\*.*?\*/", "", block[1]))] == camel


@pytest.mark.django_db(transaction=True)
def test_client_state_has_its_documented_fields() -> None:
    created = lifecycle.create_session()
    verbs.update(created.session.pk, "main", "merge", {"a": 1})
    headers = {"Authorization": f"Bearer {created.token.secret}"}
    answer = Client().get(address("document-detail", pk=str(created.session.pk)), headers=headers)
    assert set(CLIENT_STATE) <= set(answer.json())


@pytest.mark.parametrize("field", SESSION_CONFIG)
def test_a_field_of_session_config_has_its_place(field: str) -> None:
    kind, _, where = SESSION_CONFIG[field].partition(" ")
    if kind == "setting":
        assert where in {field.name for field in fields(Settings)}
    elif kind == "config":
        assert where in inspect.getsource(lifecycle)
    elif kind == "create":
        assert where in inspect.signature(lifecycle.create_session).parameters
    elif kind == "update":
        assert where in frames.Update._fields
    elif kind == "start":
        options = TYPINGS.split("interface StartOptions", 1)[1].split("\n}", 1)[0]
        assert f"\t{where}?:" in options
    else:
        assert (kind, bool(where)) == ("none", True)

"""Conflicts over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from session_mgmt.actions.sessions import lifecycle
from tests.api.calls import Caller, caller, refused

MAIN = "sessions/{id}/state/main/"
CONFLICTS = MAIN + "conflicts/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def split() -> Caller:
    """A session whose document has one open conflict at /a: 1 before, 2 on the server, 3 lost."""
    found = caller(lifecycle.create_session())
    for change, base in (([["set", "/a", 1]], 0), ([["set", "/a", 2]], 1), ([["set", "/a", 3]], 1)):
        assert found.patch(MAIN, {"ops": change, "base": base, "strategy": "manual"}).status_code == 200
    return found


def only(split: Caller) -> dict[str, Any]:
    (found,) = split.get(CONFLICTS).json()["results"]
    return dict(found)


def test_an_open_conflict_tells_all_three_values(split: Caller) -> None:
    found = only(split)
    assert (found["path"], found["base"], found["server"], found["client"]) == ("/a", 1, 2, 3)
    assert (found["version"], found["resolution"], found["resolved_at"]) == (2, None, None)


@pytest.mark.parametrize(
    ("decision", "data", "version"),
    [
        ({"keep": "server"}, {"a": 2}, 2),
        ({"keep": "client"}, {"a": 3}, 3),
        ({"keep": "value", "value": [None]}, {"a": [None]}, 3),
        ({"keep": "value"}, {}, 3),
    ],
)
def test_a_decision_is_an_ordinary_new_version(
    split: Caller, decision: dict[str, Any], data: Any, version: int
) -> None:
    answer = split.post(CONFLICTS + only(split)["id"] + "/resolve/", decision)
    assert (answer.status_code, answer.json()["position"][1]) == (200, version)
    assert answer.json()["unchanged"] is (version == 2)
    assert split.get(MAIN).json()["data"] == data
    assert only(split)["resolution"] == decision["keep"]


def test_a_conflict_is_decided_once(split: Caller) -> None:
    place = CONFLICTS + only(split)["id"] + "/resolve/"
    split.post(place, {"keep": "client"})
    assert refused(split.post(place, {"keep": "server"}), "conflict", 409)
    assert split.get(MAIN).json()["data"] == {"a": 3}


@pytest.mark.parametrize("body", [{}, {"keep": "both"}, {"keep": "server", "value": 1}, {"keep": "client", "x": 1}])
def test_a_decision_with_wrong_fields_is_refused(split: Caller, body: dict[str, Any]) -> None:
    assert refused(split.post(CONFLICTS + only(split)["id"] + "/resolve/", body), "invalid_field", 400)
    assert only(split)["resolution"] is None


@pytest.mark.parametrize("name", ["none", str(uuid.UUID(int=1))])
def test_an_unknown_conflict_is_not_found(split: Caller, name: str) -> None:
    assert refused(split.post(f"{CONFLICTS}{name}/resolve/", {"keep": "server"}), "not_found", 404)


def test_a_decision_is_about_its_item_wherever_that_stands_now(settings: Any) -> None:
    settings.SESSION_MGMT = {"DOCUMENTS": {"main": {"arrays": {"/l": "keyed:id"}, "strategy": "manual"}}}
    found = caller(lifecycle.create_session())
    for base, x in ((0, 1), (1, 2), (1, 3)):
        assert found.patch(MAIN, {"merge": {"l": [{"id": 1, "x": x}]}, "base": base}).status_code == 200
    assert only(found)["path"] == "/l/0/x"
    found.patch(MAIN, {"ops": [["ins", "/l/0", {"id": 2, "x": 9}]]})
    place = CONFLICTS + only(found)["id"] + "/resolve/"
    assert only(found)["path"] == "/l/1/x"
    assert found.post(place, {"keep": "client"}).status_code == 200
    assert found.get(MAIN).json()["data"] == {"l": [{"id": 2, "x": 9}, {"id": 1, "x": 3}]}

"""Updates that change nothing make no version, and say so."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state.updates import Terms
from session_mgmt.documents import whole
from session_mgmt.documents.values import SAFE_INTEGER
from session_mgmt.exceptions import NumberOutOfRange, PatchFailed
from session_mgmt.models import StateRevision
from session_mgmt.shortcuts import drain, state
from session_mgmt.writes import verbs
from tests.actions.conftest import Desk

DOCUMENT = {"a": 1, "o": {"x": None}, "l": [1, 2], "t": "text"}
IDLE = [
    pytest.param("ops", [], id="no operations"),
    pytest.param("ops", [["del", "/b"]], id="del of nothing"),
    pytest.param("ops", [["del", "/o/x/y"], ["del", "/l/7"], ["del", "/a/b"]], id="del of nothing at several places"),
    pytest.param("ops", [["inc", "/a", 0]], id="inc 0"),
    pytest.param("ops", [["obj", "/o"]], id="obj of an object"),
    pytest.param("ops", [["set", "", DOCUMENT]], id="set of the same whole"),
    pytest.param("merge", {}, id="an empty merge"),
    pytest.param("merge", {"b": None, "o": {"z": None}}, id="a merge that removes nothing"),
    pytest.param("data", DOCUMENT, id="equal data"),
    pytest.param("data", {**DOCUMENT, "a": 1.0}, id="equal data in another spelling"),
    pytest.param("patch", [{"op": "replace", "path": "/a", "value": 1}], id="a patch with the same value"),
    pytest.param("patch", [{"op": "test", "path": "/a", "value": 1}], id="a patch that only tests"),
]
CHANGES = [
    pytest.param("ops", [["del", "/a"]], {"o": {"x": None}, "l": [1, 2], "t": "text"}, id="del"),
    pytest.param("ops", [["inc", "/t", 0]], {**DOCUMENT, "t": 0}, id="inc 0 of a text"),
    pytest.param("ops", [["inc", "/n", 0]], {**DOCUMENT, "n": 0}, id="inc 0 of nothing"),
    pytest.param("ops", [["obj", "/l"]], {**DOCUMENT, "l": {}}, id="obj of an array"),
    pytest.param("merge", {"a": None}, {"o": {"x": None}, "l": [1, 2], "t": "text"}, id="a merge that removes"),
    pytest.param("data", {**DOCUMENT, "a": True}, {**DOCUMENT, "a": True}, id="true is not 1"),
    pytest.param("patch", [{"op": "remove", "path": "/o/x"}], {**DOCUMENT, "o": {}}, id="a patch"),
]


def write(desk: Desk, kind: str, change: Any, terms: Terms = Terms()) -> Outcome:  # noqa: B008
    return verbs.update_now(desk.session.pk, "main", kind, change, terms)


@pytest.mark.parametrize(("kind", "change"), IDLE)
def test_no_version_is_made(desk: Desk, kind: str, change: Any) -> None:
    state.replace(desk.session, DOCUMENT)
    outcome = write(desk, kind, change)
    assert (outcome.unchanged, outcome.error) == (True, None)
    assert outcome.position is not None and outcome.position.offset == desk.row.version == 1


@pytest.mark.parametrize(("kind", "change", "result"), CHANGES)
def test_what_looks_like_it_and_changes_something_makes_one(desk: Desk, kind: str, change: Any, result: Any) -> None:
    state.replace(desk.session, DOCUMENT)
    outcome = write(desk, kind, change)
    assert not outcome.unchanged
    assert (state.get(desk.session), desk.row.version) == (result, 2)


@pytest.mark.parametrize(("kind", "change"), [("ops", [["del", "/a"]]), ("merge", {}), ("ops", [["obj", ""]])])
def test_a_document_that_was_never_written_stays_so(desk: Desk, kind: str, change: Any) -> None:
    outcome = write(desk, kind, change)
    assert (outcome.unchanged, desk.row.version) == (True, 0)
    assert state.create_if_absent(desk.session, {"first": 1}).offset == 1  # type: ignore[union-attr]


def test_the_first_value_may_be_empty(desk: Desk) -> None:
    assert not write(desk, "data", {}).unchanged
    assert desk.row.version == 1


def test_an_equal_document_by_put_makes_none(desk: Desk) -> None:
    state.replace(desk.session, DOCUMENT)
    outcome = verbs.replace_now(desk.session.pk, "main", whole.make_replacement(DOCUMENT))
    assert (outcome.unchanged, desk.row.version) == (True, 1)
    assert not verbs.replace_now(desk.session.pk, "main", whole.make_replacement({"b": 1})).unchanged


def test_a_merge_with_later_changes_that_leaves_nothing_makes_none(desk: Desk) -> None:
    state.replace(desk.session, DOCUMENT)
    desk.put(("set", "/a", 2))
    outcome = write(desk, "ops", [["set", "/a", 2]], Terms(base=1))
    assert (outcome.unchanged, desk.row.version) == (True, 2)


def test_a_sum_that_no_document_carries_makes_none_and_a_patch_can_refuse_it(desk: Desk) -> None:
    state.replace(desk.session, {"n": SAFE_INTEGER})
    assert write(desk, "ops", [["inc", "/n", 1]]).unchanged
    assert (state.get(desk.session), desk.row.version) == ({"n": SAFE_INTEGER}, 1)
    seen = {"op": "test", "path": "/n", "value": SAFE_INTEGER}
    outcome = write(desk, "patch", [seen, {"op": "replace", "path": "/n", "value": SAFE_INTEGER + 1}])
    assert isinstance(outcome.error, NumberOutOfRange)
    outcome = write(desk, "patch", [{**seen, "value": 1}, {"op": "replace", "path": "/n", "value": 2}])
    assert isinstance(outcome.error, PatchFailed)


def test_a_key_is_remembered_by_a_version(desk: Desk) -> None:
    state.replace(desk.session, DOCUMENT)
    first = write(desk, "ops", [["del", "/b"]], Terms(key="once"))
    desk.put(("set", "/b", 1))
    again = write(desk, "ops", [["del", "/b"]], Terms(key="once"))
    assert again.position == first.position
    assert state.get(desk.session)["b"] == 1


def test_a_damaged_document_is_still_replaced(desk: Desk) -> None:
    state.replace(desk.session, DOCUMENT)
    StateRevision.objects.update(ops=b"[[")
    assert not write(desk, "data", {"fresh": 1}).unchanged
    assert desk.row.version == 2


def test_inside_a_transaction_a_version_is_made(desk: Desk) -> None:
    state.replace(desk.session, DOCUMENT)
    with transaction.atomic():
        state.update(desk.session, ops=[["del", "/b"]])
    drain()
    assert desk.row.version == 2

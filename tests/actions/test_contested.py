"""Changes that commute or not, depending on the kind of value at their place: nobody's change goes silently."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state.updates import Terms
from session_mgmt.documents import touched
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.actions.conftest import OLD, Desk

Change = tuple[str, Any]
A, B = ("ops", [["ins", "/l/-", "a"]]), ("ops", [["ins", "/l/-", "b"]])
ITEM, MERGE = ("ops", [["set", "/l/0", 9]]), ("merge", {"l": {"a": 1}})
DEEP_ITEM = ("ops", [["set", "/l/0/x", 9]])
STRATEGIES = ("merge", "server_wins", "client_wins", "reject", "manual")
FEW = ("merge", "reject")

# The document, two changes made on it, and the place that only one of them may have.
CONTESTED = [
    pytest.param({"l": {}}, A, B, "/l/-", id="two appends to an object"),
    pytest.param({"l": [1, 2]}, ITEM, MERGE, "/l", id="an object merged over an array with an edited item"),
    pytest.param({"l": [1, 2]}, MERGE, ITEM, "/l", id="an item edited in an array that became an object"),
    pytest.param({"l": [{"x": 1}]}, DEEP_ITEM, MERGE, "/l", id="an object merged over a deeper edit"),
    pytest.param({"l": [{"x": 1}]}, MERGE, DEEP_ITEM, "/l", id="a deeper edit in an array that became an object"),
    pytest.param({"l": [1]}, ("ops", [["obj", "/l"], ["inc", "/l/n", 1]]), ITEM, "/l", id="an obj of one's own"),
]
COMMUTE = [
    pytest.param({}, A, B, {"l": ["a", "b"]}, id="two appends to nothing"),
    pytest.param({"l": "text"}, A, B, {"l": ["a", "b"]}, id="two appends to a scalar"),
    pytest.param({"l": ["x"]}, A, B, {"l": ["x", "a", "b"]}, id="two appends to an array"),
    pytest.param(
        {"l": [["x"]]}, ("ops", [["ins", "/l/0/-", 1]]), ("ops", [["ins", "/l/0/-", 2]]), {"l": [["x", 1, 2]]}
    ),
    pytest.param({"l": {"0": 1}}, ITEM, MERGE, {"l": {"0": 9, "a": 1}}, id="a key that looks like an index"),
    pytest.param({"l": {"0": 1}}, MERGE, ITEM, {"l": {"0": 9, "a": 1}}, id="a key that looks like an index, behind"),
    pytest.param({}, ("merge", {"l": {"7": 1}}), ("merge", {"l": {"8": 1}}), {"l": {"7": 1, "8": 1}}, id="two merges"),
]


@pytest.fixture(params=["plain", "encrypted"])
def either(request: pytest.FixtureRequest, settings: Any, desk: Desk) -> Desk:
    """A desk whose document is plain or encrypted."""
    if request.param == "encrypted":
        settings.SESSION_MGMT = {"STATE_KEYS": [OLD], "ENCRYPT_STATE": True}
    return desk


def write(desk: Desk, change: Change, base: int, strategy: str | None = None) -> Outcome:
    return verbs.update_now(desk.session.pk, "main", *change, Terms(base=base, strategy=strategy))


def meet(desk: Desk, document: Any, first: Change, second: Change, strategy: str | None) -> Outcome:
    state.replace(desk.session, document)
    assert write(desk, first, 1).error is None
    return write(desk, second, 1, strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("document", "first", "second", "place"), CONTESTED)
def test_a_change_that_does_not_commute_is_told(
    either: Desk, document: Any, first: Change, second: Change, place: str, strategy: str
) -> None:
    outcome = meet(either, document, first, second, strategy)
    if strategy == "reject":
        assert outcome.error is not None and outcome.error.name == "conflict"
    else:
        told = outcome.body.decode()
        assert outcome.error is None
        assert '"conflicts"' in told or '"dropped"' in told or '"overwrote"' in told, told
    if strategy != "client_wins":
        after_first = state.get(either.session, version=2)
        assert state.get(either.session) == after_first
        assert strategy in ("reject", "server_wins") or f'"path":"{place}' in outcome.body.decode()


@pytest.mark.parametrize("strategy", FEW)
@pytest.mark.parametrize(("document", "first", "second", "result"), COMMUTE)
def test_a_change_that_commutes_is_applied_without_a_word(
    either: Desk, document: Any, first: Change, second: Change, result: Any, strategy: str
) -> None:
    outcome = meet(either, document, first, second, strategy)
    assert outcome.error is None
    assert not {b"conflicts", b"dropped", b"overwrote"} & {word for word in outcome.body.split(b'"')}
    assert state.get(either.session) == result


def test_a_merge_of_very_many_objects_says_at_least_as_much() -> None:
    ops = [("obj", f"/{number}") for number in range(600)] + [("set", f"/{number}/a", 1) for number in range(600)]
    paths = touched.list_stored_paths(ops)
    assert len(paths) <= touched.MOST_PATHS
    assert all(not path.startswith(("{", "[")) for path in paths)

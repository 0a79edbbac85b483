"""Arrays whose items have keys: the same item is there once, and a conflict finds its item again."""

from __future__ import annotations

import uuid
from base64 import b64encode
from typing import Any

import orjson
import pytest

from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state.updates import Terms
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from session_mgmt.writes.conflicts import resolve
from tests.actions.conftest import Desk

ONE, TWO, THREE = ({"id": number, "qty": 1} for number in (1, 2, 3))
ITEMS = {"items": [ONE, TWO]}


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def keyed(desk: Desk, settings: Any, request: pytest.FixtureRequest) -> Desk:
    settings.SESSION_MGMT = {
        "DOCUMENTS": {"main": {"arrays": {"/items": "keyed:id", "/tags": "set"}}},
        "state_keys": (("k1", b64encode(bytes(32)).decode()),),
        "encrypt_state": request.param,
    }
    return desk


def write(desk: Desk, ops: list[Any], strategy: str | None = None) -> Outcome:
    return verbs.update_now(desk.session.pk, "main", "ops", ops, Terms(base=1, strategy=strategy))


def items(desk: Desk) -> Any:
    return state.get(desk.session, path="/items")


def test_an_item_that_two_insert_is_there_once(keyed: Desk) -> None:
    state.replace(keyed.session, ITEMS)
    for _ in range(2):
        assert write(keyed, [["ins", "/items/-", THREE]]).error is None
    assert items(keyed) == [ONE, TWO, THREE]


def test_a_value_of_a_set_that_two_append_is_there_once(keyed: Desk) -> None:
    state.replace(keyed.session, {"tags": ["x"]})
    for tags in (["y"], ["y", "z"]):
        write(keyed, [["ins", "/tags/-", tag] for tag in tags])
    assert state.get(keyed.session) == {"tags": ["x", "y", "z"]}


@pytest.mark.parametrize("to", ["/items/-", "/items/1"])
def test_an_item_that_two_move_is_there_once(keyed: Desk, to: str) -> None:
    state.replace(keyed.session, {"items": [ONE, TWO, THREE]})
    for place in ("/items/-", to):
        assert write(keyed, [["del", "/items/0"], ["ins", place, ONE]]).error is None
    assert sorted(item["id"] for item in items(keyed)) == [1, 2, 3]


def test_two_appends_under_reject_are_refused(keyed: Desk) -> None:
    state.replace(keyed.session, ITEMS)
    write(keyed, [["ins", "/items/-", THREE]])
    outcome = write(keyed, [["ins", "/items/-", THREE]], "reject")
    assert outcome.error is not None and outcome.error.name == "conflict"


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        (["set", "/items/0", {"id": 9, "qty": 1}], ["set", "/items/1", {"id": 9, "qty": 2}]),
        (["set", "/items/0/id", 9], ["set", "/items/1/id", 9]),
        (["ins", "/items/-", {"id": 9, "qty": 1}], ["set", "/items/1", {"id": 9, "qty": 2}]),
    ],
)
def test_two_items_that_become_one_are_there_once(keyed: Desk, theirs: Any, mine: Any) -> None:
    state.replace(keyed.session, ITEMS)
    assert write(keyed, [theirs]).error is None
    refused = write(keyed, [mine], "reject")
    assert refused.error is not None and refused.error.name == "conflict"
    assert write(keyed, [mine]).error is None
    assert [item["id"] for item in items(keyed)].count(9) == 1


@pytest.mark.parametrize("strategy", ["merge", "client_wins"])
def test_two_values_of_a_set_that_become_one_are_there_once(keyed: Desk, strategy: str) -> None:
    state.replace(keyed.session, {"tags": ["x", "y"]})
    write(keyed, [["set", "/tags/0", "z"]])
    assert write(keyed, [["set", "/tags/1", "z"]], strategy).error is None
    assert state.get(keyed.session, path="/tags").count("z") == 1


def test_edits_of_two_items_are_applied_without_a_look_at_the_document(keyed: Desk) -> None:
    state.replace(keyed.session, ITEMS)
    write(keyed, [["set", "/items/0/qty", 5]])
    told = write(keyed, [["set", "/items/1/qty", 6]])
    assert told.error is None and b"conflicts" not in told.body
    assert [item["qty"] for item in items(keyed)] == [5, 6]


@pytest.mark.parametrize("strategy", ["merge", "manual"])
def test_an_item_that_came_before_the_log_is_there_once(keyed: Desk, strategy: str) -> None:
    state.replace(keyed.session, {"items": [ONE, {"id": 3, "qty": 5}], "tags": ["x"]})
    ops = [["ins", "/items/-", THREE], ["ins", "/items/-", TWO], ["ins", "/tags/-", "x"], ["ins", "/tags/-", "y"]]
    outcome = verbs.update_now(keyed.session.pk, "main", "ops", ops, Terms(base=1, strategy=strategy, replaced={}))
    assert outcome.error is None
    assert state.get(keyed.session) == {"items": [ONE, {"id": 3, "qty": 5}, TWO], "tags": ["x", "y"]}
    (told,) = orjson.loads(outcome.body)["conflicts"]
    assert (told["path"], told["kept"], told["client"]) == ("/items/1", "server", THREE)


@pytest.fixture
def split(keyed: Desk) -> uuid.UUID:
    """A conflict over the quantity of item 2, which stands behind another one that has come in front."""
    state.replace(keyed.session, ITEMS)
    keyed.put(("set", "/items", [THREE, ONE, {"id": 2, "qty": 5}]))
    write(keyed, [["set", "/items/1/qty", 9]], "manual")
    (record,) = state.conflicts(keyed.session)
    assert (record["path"], record["server"], record["client"]) == ("/items/2/qty", 5, 9)
    return uuid.UUID(record["id"])


def test_the_receipt_names_the_place_in_the_merged_array(keyed: Desk) -> None:
    state.replace(keyed.session, ITEMS)
    keyed.put(("set", "/items", [THREE, ONE, {"id": 2, "qty": 5}]))
    outcome = write(keyed, [["set", "/items/1/qty", 9]])
    assert b'"path":"/items/2/qty"' in outcome.body


@pytest.mark.parametrize(("keep", "qty"), [("server", 5), ("client", 9), ("value", 7)])
def test_a_decision_finds_its_item_where_it_is_now(keyed: Desk, split: uuid.UUID, keep: str, qty: int) -> None:
    keyed.put(("del", "/items/0"))
    (record,) = state.conflicts(keyed.session)
    assert record["path"] == "/items/1/qty"
    assert resolve(keyed.session.pk, "main", split, keep, 7).error is None
    assert items(keyed) == [ONE, {"id": 2, "qty": qty}]
    assert state.conflicts(keyed.session) == []


@pytest.mark.parametrize("keep", ["server", "client", "value"])
def test_a_conflict_inside_an_item_that_is_gone_can_be_closed(keyed: Desk, split: uuid.UUID, keep: str) -> None:
    keyed.put(("del", "/items/2"))
    outcome = resolve(keyed.session.pk, "main", split, keep, 7)
    assert (outcome.error, outcome.unchanged) == (None, True)
    assert items(keyed) == [THREE, ONE]
    assert state.conflicts(keyed.session) == []


def test_an_item_that_one_removed_and_another_edited_comes_back_if_so_decided(keyed: Desk) -> None:
    state.replace(keyed.session, ITEMS)
    keyed.put(("del", "/items/1"))
    write(keyed, [["set", "/items/1/qty", 9]], "manual")
    (record,) = state.conflicts(keyed.session)
    assert items(keyed) == [ONE]
    assert resolve(keyed.session.pk, "main", uuid.UUID(record["id"]), "client").error is None
    assert items(keyed) == [ONE, {"id": 2, "qty": 9}]

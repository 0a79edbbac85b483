"""A client that holds no connection: one call carries out what it changed meanwhile and brings it up to date."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.models import StateRevision
from tests.api.calls import Caller, refused

pytestmark = pytest.mark.django_db
SYNC = "sessions/{id}/state/main/sync/"
MAIN = "sessions/{id}/state/main/"


@pytest.fixture
def cart(mine: Caller) -> Caller:
    """A client whose document is ``{"cart": {"n": 1}}`` at version 1."""
    assert mine.patch(MAIN, {"merge": {"cart": {"n": 1}}}).status_code == 200
    return mine


def change(key: str, *ops: Any, **terms: Any) -> dict[str, Any]:
    return {"ops": list(ops), "key": key, **terms}


def test_pending_changes_are_carried_out_in_order_and_come_back_as_entries(cart: Caller) -> None:
    position = cart.get(MAIN).json()["position"]
    cart.patch(MAIN, {"ops": [["set", "/other", 1]]})
    base = {"base": position[1], "epoch": position[0]}
    pending = [change("1", ["set", "/cart/n", 2], **base), change("2", ["inc", "/cart/n", 5], **base)]
    told = cart.post(SYNC, {"position": position, "pending": pending}).json()
    assert [result["ok"] for result in told["results"]] == [True, True]
    assert (told["mode"], [entry[0] for entry in told["entries"]]) == ("entries", [2, 3, 4])
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 7}, "other": 1}


@pytest.mark.parametrize("strategy", ["merge", "reject", "server_wins"])
def test_what_the_client_made_itself_is_no_conflict_with_what_it_made_next(cart: Caller, strategy: str) -> None:
    position = cart.get(MAIN).json()["position"]
    terms = {"base": position[1], "epoch": position[0], "strategy": strategy}
    pending = [change(str(n), ["set", "/cart/n", n], **terms) for n in range(3)]
    body = {"position": position, "pending": pending}
    for _ in range(2):
        results = cart.post(SYNC, body).json()["results"]
        assert [(result["ok"], result.get("conflicts"), result.get("dropped")) for result in results] == [
            (True, None, None)
        ] * 3
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 2}}
    assert StateRevision.objects.count() == 4


def test_a_merge_knows_which_versions_are_the_clients_own(cart: Caller) -> None:
    position = cart.get(MAIN).json()["position"]
    cart.patch(MAIN, {"ops": [["set", "/cart", {"theirs": 1}]]})
    terms = {"base": position[1], "epoch": position[0]}
    mine = [
        change("1", ["set", "/cart", {"n": 1, "x": 1}], **terms),
        change("2", ["set", "/cart", {"n": 1, "x": 2}], **terms),
    ]
    results = cart.post(SYNC, {"position": position, "pending": mine}).json()["results"]
    assert not any("/cart/x" in conflict["path"] for result in results for conflict in result.get("conflicts", []))
    assert cart.get(MAIN).json()["data"]["cart"] == {"theirs": 1, "x": 2}


def test_changes_of_others_are_a_conflict_as_ever(cart: Caller) -> None:
    position = cart.get(MAIN).json()["position"]
    cart.patch(MAIN, {"ops": [["set", "/cart/n", 9]]})
    terms = {"base": position[1], "epoch": position[0], "strategy": "reject"}
    pending = [change("1", ["set", "/cart/n", 2], **terms), change("2", ["set", "/b", 1], **terms)]
    told = cart.post(SYNC, {"position": position, "pending": pending}).json()
    assert [result["ok"] for result in told["results"]] == [False, True]
    assert told["results"][0]["error"]["name"] == "conflict"
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 9}, "b": 1}


def test_a_lost_answer_is_repeated_with_one_effect(cart: Caller) -> None:
    body = {"position": None, "pending": [change("1", ["inc", "/cart/n", 1]), change("2", ["inc", "/cart/n", 1])]}
    first, again = cart.post(SYNC, body).json(), cart.post(SYNC, body).json()
    assert first["results"] == again["results"]
    assert again["data"] == {"cart": {"n": 3}}
    other = {"pending": [change("1", ["inc", "/cart/n", 7])]}
    assert cart.post(SYNC, other).json()["results"][0]["error"]["name"] == "key_reused"


def test_what_follows_an_undecided_change_is_not_tried(cart: Caller) -> None:
    pending = [change("1", ["inc", "/cart/n", 1], base=99), change("2", ["inc", "/cart/n", 1])]
    results = cart.post(SYNC, {"pending": pending}).json()["results"]
    assert [result["error"]["name"] for result in results] == ["unknown_version"]
    assert cart.get(MAIN).json()["data"] == {"cart": {"n": 1}}


@pytest.mark.parametrize(
    "pending",
    [
        {},
        "x",
        [1],
        [{"ops": []}],
        [{"key": "1"}],
        [change("1", ["inc", "/n", 1]), {"ops": [["inc", "/n", 1]]}],
        [{**change("1"), "seq": 1}],
        [change(str(n)) for n in range(101)],
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_list_that_cannot_be_changes_nothing(cart: Caller, pending: Any) -> None:
    assert refused(cart.post(SYNC, {"pending": pending}), "invalid_field", 400)
    assert StateRevision.objects.count() == 1


def test_without_pending_there_are_no_results(cart: Caller) -> None:
    assert "results" not in cart.post(SYNC, {"position": None}).json()
    assert cart.post(SYNC, {"position": None, "pending": []}).json()["results"] == []

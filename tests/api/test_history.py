"""A document's past over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.calls import Caller, refused

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"


@pytest.fixture
def cart(mine: Caller) -> Caller:
    """Three versions: n is 1, 2, 3."""
    for n in (1, 2, 3):
        assert mine.patch(MAIN, {"merge": {"n": n}}).status_code == 200
    return mine


def test_versions_are_listed_and_read(cart: Caller) -> None:
    listed = cart.get(MAIN + "history/?limit=2").json()
    assert [row["version"] for row in listed["results"]] == [3, 2]
    assert [row["version"] for row in cart.get(f"{MAIN}history/?before={listed['next']}").json()["results"]] == [1]
    told = cart.get(MAIN + "history/2/").json()
    assert (told["version"], told["data"]) == (2, {"n": 2})


def test_the_difference_of_two_versions_is_a_json_patch(cart: Caller) -> None:
    told = cart.get(MAIN + "diff/?from=1").json()
    assert told == {"from": 1, "to": 3, "patch": [{"op": "replace", "path": "/n", "value": 3}]}


def test_a_checkpoint_is_kept_restored_and_given_up(cart: Caller) -> None:
    assert cart.post(MAIN + "persist/", {"label": "three"}).json() == {"label": "three", "version": 3}
    cart.patch(MAIN, {"merge": {"n": 4}})
    assert cart.post(MAIN + "restore/", {"label": "three"}).json()["position"][1] == 5
    assert cart.get(MAIN).json()["data"] == {"n": 3}
    assert [row["label"] for row in cart.get(MAIN + "persist/").json()["results"]] == ["three"]
    assert cart.delete(MAIN + "persist/three/").status_code == 204
    assert refused(cart.delete(MAIN + "persist/three/"), "not_found", 404)


def test_restoring_heeds_if_match(cart: Caller) -> None:
    etag = cart.get(MAIN)["ETag"]
    assert cart.post(MAIN + "restore/", {"version": 1}, If_Match=etag).status_code == 200
    assert refused(cart.post(MAIN + "restore/", {"version": 2}, If_Match=etag), "precondition_failed", 412)
    assert cart.get(MAIN).json()["data"] == {"n": 1}


@pytest.mark.parametrize("body", [{}, {"version": 1, "label": "a"}, {"version": "1"}, {"version": True}, {"label": 1}])
def test_a_restore_that_says_nothing_clear_is_refused(cart: Caller, body: dict[str, Any]) -> None:
    assert refused(cart.post(MAIN + "restore/", body), "invalid_field", 400)
    assert cart.get(MAIN).json()["version"] == 3


@pytest.mark.parametrize("path", ["history/9/", "history/x/", "history/-1/", "diff/?from=0&to=9"])
def test_what_never_was_is_not_found(cart: Caller, path: str) -> None:
    assert refused(cart.get(MAIN + path), "not_found", 404)


@pytest.mark.parametrize("path", ["history/?before=x", "history/?limit=-1", "diff/", "diff/?from=1&to=%00"])
def test_numbers_are_numbers(cart: Caller, path: str) -> None:
    assert refused(cart.get(MAIN + path), "invalid_field", 400)


def test_the_past_of_others_is_not_there(cart: Caller, theirs: Caller) -> None:
    path = MAIN.format(id=cart.session) + "history/"
    assert refused(theirs.get(path), "session_not_found", 404)


def test_a_checkpoint_is_read_under_its_label(mine: Caller) -> None:
    mine.put(MAIN, {"a": 1})
    mine.post(MAIN + "persist/", {"label": "before/the sale"})
    mine.put(MAIN, {"a": 2})
    told = mine.get(MAIN + "persist/before/the%20sale/").json()
    assert (told["label"], told["version"], told["data"]) == ("before/the sale", 1, {"a": 1})
    assert refused(mine.get(MAIN + "persist/nothing/"), "not_found", 404)

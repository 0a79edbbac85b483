"""A document's first value over HTTP: given once, by whoever comes first (RFC 9110 section 13.1.2)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from session_mgmt.models import ClientSession, StateRevision
from session_mgmt.shortcuts import create_session, drain, state
from tests.api.calls import Caller, refused
from tests.api.test_sessions import expire
from tests.bridge.threads import together

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"
ABSENT = {"If_None_Match": "*"}
CHANGES: dict[str, Any] = {
    "ops": {"ops": [["set", "/a", 1]]},
    "merge": {"merge": {"a": 1}},
    "data": {"data": {"a": 1}},
    "patch": {"patch": [{"op": "add", "path": "/a", "value": 1}]},
    "patch that fails": {"patch": [{"op": "remove", "path": "/gone"}]},
}


def test_put_gives_the_first_value_and_no_second_one(mine: Caller) -> None:
    assert mine.put(MAIN, {"a": 1}, **ABSENT).json()["position"][1] == 1
    answer = mine.put(MAIN, {"b": 2}, **ABSENT)
    assert refused(answer, "precondition_failed", 412)
    assert answer.json()["position"] == mine.get(MAIN).json()["position"]
    assert mine.get(MAIN).json()["data"] == {"a": 1}


@pytest.mark.parametrize("change", [change for change in CHANGES if "fails" not in change])
def test_patch_of_any_kind_makes_an_absent_document(mine: Caller, change: str) -> None:
    assert mine.patch(MAIN, CHANGES[change], **ABSENT).status_code == 200
    assert mine.get(MAIN).json()["data"] == {"a": 1}


@pytest.mark.parametrize("change", CHANGES)
def test_patch_of_any_kind_leaves_a_written_document_alone(mine: Caller, change: str) -> None:
    mine.put(MAIN, {"b": 2})
    assert refused(mine.patch(MAIN, CHANGES[change], **ABSENT), "precondition_failed", 412)
    assert mine.get(MAIN).json()["data"] == {"b": 2}


def test_a_change_of_nothing_is_no_reason_to_refuse_the_first_value(mine: Caller) -> None:
    assert mine.patch(MAIN, {"ops": []}, **ABSENT).json()["unchanged"] is True
    assert mine.put(MAIN, {"a": 1}, **ABSENT).status_code == 200


def test_to_read_or_follow_a_document_does_not_make_it(mine: Caller) -> None:
    assert mine.post(MAIN + "sync/", {"position": None}).json()["data"] == {}
    assert mine.put(MAIN, {"a": 1}, **ABSENT).status_code == 200


def test_a_cleared_document_is_not_absent(mine: Caller) -> None:
    mine.put(MAIN, {"a": 1})
    mine.delete(MAIN)
    assert refused(mine.put(MAIN, {"a": 1}, **ABSENT), "precondition_failed", 412)
    assert mine.get(MAIN).json()["data"] == {}


def test_an_empty_first_value_counts(mine: Caller) -> None:
    assert mine.put(MAIN, {}, **ABSENT).json()["position"][1] == 1
    assert refused(mine.put(MAIN, {"a": 1}, **ABSENT), "precondition_failed", 412)


@pytest.mark.parametrize("given", ['"a.1.b"', "", "*, *", 'W/"x"'])
def test_another_if_none_match_never_writes(mine: Caller, given: str) -> None:
    for call in (mine.put, mine.patch):
        assert refused(call(MAIN, {"data": 1}, If_None_Match=given), "precondition_failed", 412)
    assert not StateRevision.objects.exists()


def test_delete_takes_the_condition_at_its_word(mine: Caller) -> None:
    mine.put(MAIN, {"a": 1})
    assert refused(mine.delete(MAIN, **ABSENT), "precondition_failed", 412)
    assert mine.get(MAIN).json()["data"] == {"a": 1}


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_gives_the_first_value(mine: Caller) -> None:
    def attempt(number: int) -> int:
        return int(Caller(Client(), mine.token, mine.session).put(MAIN, {"by": number}, **ABSENT).status_code)

    codes = together(*[lambda n=n: attempt(n) for n in range(6)])
    assert sorted(codes) == [200, 412, 412, 412, 412, 412]
    assert mine.get(MAIN).json()["data"] == {"by": codes.index(200)}
    assert StateRevision.objects.count() == 1


def test_a_lost_answer_is_told_again_under_its_key(mine: Caller) -> None:
    first = mine.put(MAIN, {"a": 1}, Idempotency_Key="start", **ABSENT)
    mine.patch(MAIN, {"merge": {"b": 2}})
    again = mine.put(MAIN, {"a": 1}, Idempotency_Key="start", **ABSENT)
    assert (again.status_code, again.json()) == (200, first.json())
    assert mine.get(MAIN).json()["data"] == {"a": 1, "b": 2}


def test_a_successor_keeps_unwritten_documents_absent_and_written_ones_not(mine: Caller) -> None:
    mine.post(MAIN + "sync/", {"position": None})
    mine.put("sessions/{id}/state/cart/", {"n": 1})
    expire(mine.session)
    told = mine.post("sessions/{id}/recover/").json()
    assert told["receipt"]["documents"] == ["cart"]
    again = Caller(Client(), told["token"], told["session"]["session_id"])
    assert again.put(MAIN, {"a": 1}, **ABSENT).status_code == 200
    assert refused(again.put("sessions/{id}/state/cart/", {}, **ABSENT), "precondition_failed", 412)


# -- from Python ---------------------------------------------------------------------------------------------------


def session() -> ClientSession:
    return create_session().session


def test_create_gives_the_first_value_once() -> None:
    mine = session()
    first = state.create_if_absent(mine, {"theme": "light"}, name="prefs")
    assert first.offset == 1
    state.update(mine, {"theme": "dark"}, name="prefs")
    assert state.create_if_absent(mine, {"theme": "light"}, name="prefs").offset == 2
    assert state.get(mine, name="prefs") == {"theme": "dark"}


def test_create_inside_a_transaction_yields_to_what_was_written_before_it_commits() -> None:
    early, late = session(), session()
    with transaction.atomic():
        state.create_if_absent(early, {"by": "create"})
        state.create_if_absent(late, {"by": "create"})
        state.update(late, {"then": "merged"})
    drain()
    assert (state.get(early), state.get(late)) == ({"by": "create"}, {"by": "create", "then": "merged"})
    with transaction.atomic():
        state.create_if_absent(early, {"by": "a later create"})
    drain()
    assert state.get(early) == {"by": "create"}


def test_create_that_is_rolled_back_leaves_the_document_absent() -> None:
    mine = session()
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        state.create_if_absent(mine, {"a": 1})
        raise ValueError("no")
    drain()
    assert state.create_if_absent(mine, {"b": 2}).offset == 1
    assert state.get(mine) == {"b": 2}

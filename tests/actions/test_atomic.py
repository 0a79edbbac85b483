"""Updates that are all or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state.updates import Terms
from session_mgmt.models import StateConflict
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.actions.conftest import Desk

DOCUMENT = {"from": ["x", "y"], "to": [], "n": 1}
# A move: taken out here, put in there. Somebody else has changed the first of the two places.
MOVE = [["del", "/from/0"], ["ins", "/to/-", "x"]]


def move(desk: Desk, strategy: str | None, **terms: Any) -> Outcome:
    state.replace(desk.session, DOCUMENT)
    desk.put(("set", "/from", ["x", "other"]))
    return verbs.update_now(desk.session.pk, "main", "ops", MOVE, Terms(base=1, strategy=strategy, **terms))


@pytest.mark.parametrize("strategy", [None, "merge", "server_wins", "reject", "manual"])
def test_nothing_is_applied_where_a_part_cannot_be(desk: Desk, strategy: str | None) -> None:
    outcome = move(desk, strategy, atomic=True)
    assert outcome.error is not None and outcome.error.name == "conflict"
    assert b'"paths":["/from"' in outcome.body
    assert state.get(desk.session) == {**DOCUMENT, "from": ["x", "other"]}
    assert not StateConflict.objects.exists()


@pytest.mark.parametrize("strategy", ["merge", "server_wins", "manual"])
def test_without_it_the_rest_is_applied(desk: Desk, strategy: str) -> None:
    assert move(desk, strategy).error is None
    assert state.get(desk.session)["to"] == ["x"]


def test_who_overrules_others_has_it_all(desk: Desk) -> None:
    assert move(desk, "client_wins", atomic=True).error is None
    assert state.get(desk.session) == {"from": ["other"], "to": ["x"], "n": 1}


def test_what_merges_without_a_conflict_is_applied(desk: Desk) -> None:
    state.replace(desk.session, DOCUMENT)
    desk.put(("inc", "/n", 5))
    ops = [["inc", "/n", 1], ["set", "/to", ["z"]]]
    outcome = verbs.update_now(desk.session.pk, "main", "ops", ops, Terms(base=1, atomic=True))
    assert outcome.error is None
    assert state.get(desk.session) == {**DOCUMENT, "n": 7, "to": ["z"]}


def test_digests_of_replaced_values_are_judged_together(desk: Desk) -> None:
    outcome = move(desk, None, atomic=True, replaced={"/from": "0" * 16})
    assert outcome.error is not None and outcome.error.name == "conflict"
    assert state.get(desk.session)["to"] == []


def test_a_function_of_the_project_may_leave_it_to_the_client(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = {"DOCUMENTS": {"main": {"on_conflict": "client_wins"}}}
    assert move(desk, None, atomic=True).error is None
    assert state.get(desk.session)["to"] == ["x"]

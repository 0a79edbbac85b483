"""The limit of keys holds for a document however it grew."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.state import snapshots
from session_mgmt.exceptions import TooManyKeys
from session_mgmt.models import StateDocument, clock
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.actions.conftest import Desk

FULL = {"a": 1, "o": {"b": 2, "l": [{"c": 3}]}}


@pytest.fixture(autouse=True)
def five_keys(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_keys": 5}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ops", [["set", "/z", 1]]),
        ("ops", [["set", "/o/z", 1]]),
        ("ops", [["set", "/o/l/-", {"z": 1}]]),
        ("ops", [["ins", "/o/l/0", {"z": 1}]]),
        ("ops", [["inc", "/z", 1]]),
        ("ops", [["obj", "/z"]]),
        ("ops", [["set", "/a/z", 1]]),
        ("merge", {"z": 1}),
        ("patch", [{"op": "add", "path": "/z", "value": 1}]),
        ("patch", [{"op": "copy", "from": "/a", "path": "/z"}]),
    ],
)
def test_a_small_update_cannot_pass_it(desk: Desk, kind: str, change: Any) -> None:
    state.replace(desk.session, FULL)
    outcome = verbs.update_now(desk.session.pk, "main", kind, change)
    assert isinstance(outcome.error, TooManyKeys)
    assert (state.get(desk.session), desk.row.version) == (FULL, 1)


def test_many_small_updates_cannot_pass_it(desk: Desk) -> None:
    outcomes = [verbs.update_now(desk.session.pk, "main", "ops", [["set", f"/k{number}", 1]]) for number in range(8)]
    assert [outcome.error is None for outcome in outcomes] == [True] * 5 + [False] * 3
    assert len(state.get(desk.session)) == 5


def test_the_same_keys_again_stay_possible(desk: Desk) -> None:
    for number in range(12):
        desk.put(("set", "/o/k", {"x": number}))
    assert state.get(desk.session) == {"o": {"k": {"x": 11}}}


def test_what_is_taken_away_makes_room(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    desk.put(("del", "/o"), ("set", "/z", 1), ("set", "/y", 1))
    assert state.get(desk.session) == {"a": 1, "z": 1, "y": 1}


def test_a_snapshot_makes_the_number_exact(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    desk.put(("del", "/a"))
    assert desk.row.keys == 5
    snapshots.keep_snapshot("default", desk.row.pk, at=clock.read("default"))
    assert desk.row.keys == 4


def test_a_snapshot_that_a_write_overtook_leaves_the_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    state.replace(desk.session, {"a": 1})
    desk.put(("del", "/a"))

    def run(work: Any, *args: Any) -> Any:
        packed = work(*args)
        state.replace(desk.session, FULL)
        return packed

    monkeypatch.setattr("session_mgmt.actions.state.stored_rows.HEAVY_BYTES", 0)
    snapshots.keep_snapshot("default", desk.row.pk, at=clock.read("default"), run=run)
    assert desk.row.keys >= 5


def test_a_bound_from_the_size_alone_refuses_nothing(desk: Desk) -> None:
    state.replace(desk.session, {"a": 1})
    StateDocument.objects.update(keys=1000)
    desk.put(("set", "/b", 1))
    assert desk.row.keys == 2


def test_a_whole_document_beyond_it_is_refused(desk: Desk) -> None:
    with pytest.raises(TooManyKeys):
        state.replace(desk.session, {**FULL, "z": 1, "y": 1})

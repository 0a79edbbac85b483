"""An `inc` whose sum no document can carry does nothing, and the answer names its path: exactly then."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state import bodies, prepare, snapshots
from session_mgmt.actions.state.updates import Terms
from session_mgmt.documents import operations
from session_mgmt.documents.limits import round_number
from session_mgmt.documents.values import BEYOND, SAFE_INTEGER
from session_mgmt.exceptions import NumberOutOfRange
from session_mgmt.models import StateDocument, clock
from session_mgmt.protocol.position import Position
from session_mgmt.shortcuts import drain, state
from session_mgmt.writes import verbs
from tests.actions.conftest import Desk

FULL = {"n": SAFE_INTEGER, "low": -SAFE_INTEGER, "l": [1, {"n": SAFE_INTEGER}], "float": 1.5e308, "a": 1}
STRATEGIES = ["merge", "server_wins", "client_wins", "reject", "manual"]


def write(desk: Desk, *ops: Any, kind: str = "ops", **terms: Any) -> Outcome:
    return verbs.update_now(desk.session.pk, "main", kind, [list(op) for op in ops], Terms(**terms))


def told(outcome: Outcome) -> Any:
    return orjson.loads(outcome.body).get("dropped")


@pytest.mark.parametrize(
    ("ops", "dropped", "unchanged"),
    [
        pytest.param([("inc", "/n", 1)], ["/n"], True, id="beyond the greatest"),
        pytest.param([("inc", "/low", -1)], ["/low"], True, id="beyond the least"),
        pytest.param([("inc", "/n", 0.5)], ["/n"], True, id="a float that rounds beyond"),
        pytest.param([("inc", "/float", 1.5e308)], ["/float"], True, id="not finite"),
        pytest.param([("inc", "/l/1/n", 1)], ["/l/1/n"], True, id="inside an array"),
        pytest.param([("inc", "/n", 1), ("inc", "/n", 2)], ["/n"], True, id="two of one path"),
        pytest.param([("inc", "/n", -3), ("inc", "/n", 3)], None, False, id="back to the limit"),
        pytest.param([("inc", "/n", -3), ("inc", "/n", 4), ("inc", "/n", 1)], ["/n"], False, id="one of three"),
        pytest.param([("inc", "/n", 1), ("set", "/a", 2)], ["/n"], False, id="beside a change"),
        pytest.param([("inc", "/l/0", 1), ("inc", "/n", 1), ("inc", "/low", -1)], ["/low", "/n"], False, id="several"),
        pytest.param([("inc", "/a", SAFE_INTEGER - 1)], None, False, id="exactly to the limit"),
        pytest.param([("inc", "/a", SAFE_INTEGER)], ["/a"], True, id="one beyond the limit"),
        pytest.param([("inc", "/l/-", 1)], None, False, id="an append"),
        pytest.param([("inc", "/n", 1e300)], None, False, id="to a float that is carried"),
        pytest.param([("set", "/n", 1), ("inc", "/n", 1)], None, False, id="of a number that was set before"),
        pytest.param([("inc", "/l/9", SAFE_INTEGER)], None, True, id="outside of an array"),
        pytest.param([("inc", "/a", 1)], None, False, id="far from the limit"),
    ],
)
def test_the_path_is_named_exactly_where_the_sum_cannot_be_carried(
    desk: Desk, ops: Any, dropped: Any, unchanged: bool
) -> None:
    state.replace(desk.session, FULL)
    outcome = write(desk, *ops)
    assert (told(outcome), outcome.unchanged, outcome.error) == (dropped, unchanged, None)
    assert state.get(desk.session) == operations.apply_ops(FULL, ops)
    assert desk.row.version == (1 if unchanged else 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("overlaps", [False, True])
def test_every_strategy_tells(desk: Desk, strategy: str, overlaps: bool) -> None:
    state.replace(desk.session, FULL)
    desk.put(("set", "/a", 2) if overlaps and strategy != "reject" else ("set", "/other", 2))
    outcome = write(desk, ("inc", "/n", 1), ("set", "/a", 3), base=1, strategy=strategy)
    assert told(outcome) == (["/a", "/n"] if overlaps and strategy == "server_wins" else ["/n"])


def test_a_number_that_others_have_raised_meanwhile_is_told(desk: Desk) -> None:
    state.replace(desk.session, {"n": 1, "a": 1})
    desk.put(("inc", "/n", SAFE_INTEGER - 1), ("set", "/a", 2))
    outcome = write(desk, ("inc", "/n", 1), ("set", "/a", 3), base=1, strategy="client_wins")
    assert told(outcome) == ["/n"]


def test_digests_in_place_of_a_base_tell_too(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    assert told(write(desk, ("inc", "/n", 1), ("set", "/z", 1), replaced={"/z": None})) == ["/n"]


def test_all_or_nothing_is_nothing(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    outcome = write(desk, ("set", "/a", 2), ("inc", "/n", 1), atomic=True)
    assert isinstance(outcome.error, NumberOutOfRange)
    assert outcome.error.facts["paths"] == ["/n"]
    assert (state.get(desk.session), desk.row.version) == (FULL, 1)


def test_a_client_that_repeats_the_number_gets_the_same_answer(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    writer = desk.writer()
    first = writer.settle(("inc", "/n", 1), ("set", "/z", 1), base=1)
    assert told(first) == ["/n"]
    again = writer.write(("inc", "/n", 1), ("set", "/z", 1), seq=1, strategy="merge")
    assert (again.replayed, told(again)) == (True, ["/n"])


def test_a_key_is_remembered_though_nothing_changed(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    assert told(write(desk, ("inc", "/n", 1), key="once")) == ["/n"]
    desk.put(("inc", "/n", -5))
    write(desk, ("inc", "/n", 1), key="once")
    assert state.get(desk.session, path="/n") == SAFE_INTEGER - 5


def test_python_is_told_by_the_position(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    written = state.update(desk.session, ops=[["inc", "/n", 1], ["inc", "/a", 1]])
    assert written.dropped == ("/n",)  # type: ignore[union-attr]
    row = desk.row
    plain = Position(row.epoch, 2, written.tag)  # type: ignore[union-attr]
    assert written == plain and plain == written and hash(written) == hash(plain)
    assert state.update(desk.session, {"a": 5}).dropped == ()  # type: ignore[union-attr]


def test_inside_a_transaction_nobody_is_told_and_the_bound_holds_on(desk: Desk) -> None:
    state.replace(desk.session, {"n": 1})
    with transaction.atomic():
        state.update(desk.session, ops=[["inc", "/n", SAFE_INTEGER - 1]])
        state.update(desk.session, ops=[["inc", "/n", 1]])
    drain()
    assert (state.get(desk.session), desk.row.version) == ({"n": SAFE_INTEGER}, 3)
    assert told(write(desk, ("inc", "/n", 1))) == ["/n"]


def test_an_answer_is_of_the_version_at_which_it_was_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the lane somebody lowers the number."""
    state.replace(desk.session, FULL)
    look, calls = prepare.prepare_on_head, []

    def look_and_lose(*args: Any, **kwargs: Any) -> Any:
        update = look(*args, **kwargs)
        if not calls:
            calls.append(1)
            desk.put(("set", "/n", 1))
        return update

    monkeypatch.setattr(prepare, "prepare_on_head", look_and_lose)
    assert told(write(desk, ("inc", "/n", 1))) is None
    assert (state.get(desk.session, path="/n"), calls) == (2, [1])


def test_a_sum_that_fitted_at_the_look_is_judged_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    state.replace(desk.session, {"n": 1, "most": SAFE_INTEGER})
    look, calls = prepare.prepare_on_head, []

    def look_and_lose(*args: Any, **kwargs: Any) -> Any:
        update = look(*args, **kwargs)
        if not calls:
            calls.append(1)
            desk.put(("set", "/n", SAFE_INTEGER))
        return update

    monkeypatch.setattr(prepare, "prepare_on_head", look_and_lose)
    assert (told(write(desk, ("inc", "/n", 1))), calls) == (["/n"], [1])


def test_a_merge_that_moves_on_is_judged_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was merged at a version where the sum could be carried, and additions do not overlap."""
    state.replace(desk.session, {"n": 1, "a": 1})
    desk.put(("set", "/a", 2))
    prepare_update, calls = verbs.prepare_update, []

    def prepare_and_lose(*args: Any, **kwargs: Any) -> Any:
        update = prepare_update(*args, **kwargs)
        if update.merge is not None and not calls:
            calls.append(1)
            desk.put(("inc", "/n", SAFE_INTEGER - 1))
        return update

    monkeypatch.setattr(verbs, "prepare_update", prepare_and_lose)
    outcome = write(desk, ("inc", "/n", 1), ("set", "/a", 3), base=1)
    assert (told(outcome), calls) == (["/n"], [1])


# -- the bound -------------------------------------------------------------------------------------------------------


def test_no_document_is_loaded_far_from_the_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    state.replace(desk.session, {"n": 1, "at": 1.7e15})
    monkeypatch.setattr(bodies, "load_source", _never)
    monkeypatch.setattr(prepare, "prepare_on_head", _never)
    for _ in range(20):
        assert told(write(desk, ("inc", "/n", 10**6))) is None
        assert told(write(desk, ("set", "/at", 1.7e15))) is None


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("a document was loaded")


def test_a_snapshot_makes_the_bound_small_again(desk: Desk) -> None:
    state.replace(desk.session, FULL)
    desk.put(("set", "", {"n": 1.5}))
    assert desk.row.number_bound == BEYOND
    snapshots.keep_snapshot("default", desk.row.pk, at=clock.read("default"))
    assert desk.row.number_bound == round_number(2) == 2**40


def test_a_document_from_before_the_bound_is_looked_at(desk: Desk) -> None:
    state.replace(desk.session, {"n": SAFE_INTEGER})
    bound = StateDocument._meta.get_field("number_bound").db_default
    StateDocument.objects.update(number_bound=bound)
    assert told(write(desk, ("inc", "/n", 1))) == ["/n"]


def test_a_bound_tells_nothing_of_an_ordinary_number(desk: Desk) -> None:
    bounds = set()
    for salary in (0, 1, 5 * 10**4, 10**6, 999_999_999_999):
        state.replace(desk.session, {"salary": salary})
        snapshots.keep_snapshot("default", desk.row.pk, at=clock.read("default"))
        bounds.add(desk.row.number_bound)
    assert bounds == {0, 2**40}


AMOUNTS = st.sampled_from([1, -1, 0.5, SAFE_INTEGER, -SAFE_INTEGER, 2**52, -(2**52), 1e21, -1e21, 1e308, 7, 0])
PLACES = st.sampled_from(["/n", "/m", "/l/0", "/l/1/n", "/l/-", "", "/o/p/q"])
OPS = st.one_of(
    st.tuples(st.just("inc"), PLACES, AMOUNTS),
    st.tuples(st.just("inc"), PLACES, AMOUNTS),
    st.tuples(st.just("set"), PLACES, AMOUNTS),
    st.tuples(st.just("ins"), PLACES, AMOUNTS),
    st.tuples(st.just("del"), PLACES),
    st.tuples(st.just("set"), st.just(""), st.sampled_from([FULL, {"n": 1, "l": [1, {"n": 2}]}])),
)


@hypothesis(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(OPS, min_size=1, max_size=4), st.booleans()), max_size=8))
def test_the_answer_names_what_the_document_shows(transactional_db: None, updates: Any) -> None:
    # A fresh document: the bound of one that held great numbers spares no look.
    desk, start = Desk(), {"n": 1, "l": [1, {"n": 2}]}
    state.replace(desk.session, start)
    model: Any = start
    for ops, snapshot in updates:
        after, dropped = operations.apply_and_list_dropped(model, ops)
        outcome = write(desk, *ops)
        assert (told(outcome) or []) == sorted(set(dropped))
        model = after
        if snapshot:
            snapshots.keep_snapshot("default", desk.row.pk, at=clock.read("default"))
    assert state.get(desk.session) == model

"""Two documents beside each other: every difference with what was there before."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest
from hypothesis import given

from session_mgmt.documents import comparison, pointer
from session_mgmt.documents.comparison import SHOWN, Line, list_changes
from session_mgmt.documents.values import MISSING, are_equal
from tests.documents.values import DOCUMENTS


def lines(then: Any, now: Any) -> list[Line]:
    return list(comparison.compare_documents(then, now).lines)


@given(DOCUMENTS, DOCUMENTS)
def test_each_change_tells_what_stood_where_and_what_stands_there(then: Any, now: Any) -> None:
    for change in list_changes(then, now):
        if change.before is not MISSING:
            assert are_equal(pointer.find_value(then, change.was), change.before)
        if change.now is not MISSING:
            assert are_equal(pointer.find_value(now, change.path), change.now)


@given(DOCUMENTS, DOCUMENTS)
def test_there_is_no_change_if_and_only_if_they_are_equal(then: Any, now: Any) -> None:
    assert (comparison.compare_documents(then, now).total == 0) is are_equal(then, now)


def test_removed_items_are_told_by_the_places_that_they_had() -> None:
    found = lines({"l": [1, 2, 3, 4, 5]}, {"l": [1, 5]})
    assert [(line.op, line.was, line.then.changed if line.then else None) for line in found] == [
        ("remove", "/l/1", "2"),
        ("remove", "/l/2", "3"),
        ("remove", "/l/3", "4"),
    ]
    assert all(line.now is None for line in found)


def test_items_that_stayed_do_not_look_changed_when_one_is_taken_out() -> None:
    items: list[Any] = [{"sku": sku, "qty": 1} for sku in "ABCDE"]
    edited = [*items[1:3], {"sku": "D", "qty": 2}, items[4], {"sku": "F", "qty": 1}]
    found = [(line.op, line.was, line.path) for line in lines(items, edited)]
    assert found == [("remove", "/0", "/0"), ("replace", "/3/qty", "/2/qty"), ("add", "/4", "/4")]


def test_true_and_one_are_different_items() -> None:
    assert [line.op for line in lines([True, 0], [1, 0])] == ["replace"]


def test_a_long_array_is_compared_by_place() -> None:
    assert len(lines([1] * 3000, [1] * 1500 + [2] + [1] * 1499)) == 1


@pytest.mark.parametrize(
    ("then", "now"),
    [([0, 1] * 350, [0, 2] * 350), ([0, 1, 2] * 230, [2, 1, 0] * 230), ([0] * 700, [0] * 699 + [1])],
)
def test_arrays_of_few_values_are_aligned_in_the_time_of_one_table(then: Any, now: Any) -> None:
    started = process_time()
    changes = list(list_changes(then, now))
    # A search for the longest equal stretch, again and again, takes twenty times as long.
    assert process_time() - started < 1.0
    kept = len(then) - sum(change.op != "add" for change in changes)
    assert kept >= 230


def test_after_much_alignment_arrays_are_compared_by_place() -> None:
    then, now = [["a"] * 400 for _ in range(9)], [["b"] + ["a"] * 400 for _ in range(9)]
    found = [line.was for line in lines(then, now)]
    assert found[:2] == ["/0/0", "/1/0"] and "/8/400" in found


def test_many_changed_items_are_told_one_by_one() -> None:
    then = [{"n": number, "done": False} for number in range(30)]
    found = lines(then, [{**item, "done": True} for item in then])
    assert len(found) == 30 and found[29].path == "/29/done"


def test_of_an_edited_text_the_part_that_differs_is_marked() -> None:
    before, after = "x" * 500 + " at ten, " + "y" * 500, "x" * 500 + " at eleven, " + "y" * 500
    (line,) = lines({"t": before}, {"t": after})
    assert line.then is not None and line.now is not None
    assert (line.then.changed, line.now.changed) == ("t", "elev")
    assert line.then.before.startswith("…") and line.then.before.endswith(" at ")
    assert line.then.after.startswith("en, ") and line.then.after.endswith("…")


def test_a_text_that_grew_has_nothing_marked_before() -> None:
    (line,) = lines("aa", "aaa")
    assert line.then is not None and line.now is not None
    assert (line.then.changed, line.now.changed) == ("", "a")
    assert line.then.before + line.then.changed + line.then.after == '"aa"'


def test_a_large_value_is_cut_and_many_changes_are_counted() -> None:
    found = comparison.compare_documents({}, {f"k{number}": "x" * 5000 for number in range(1000)})
    assert (len(found.lines), found.total) == (SHOWN, 1000)
    side = found.lines[0].now
    assert side is not None and side.is_cut and len(side.changed) < 2100


def test_true_is_not_one_and_null_is_not_absent() -> None:
    found = lines({"a": True, "b": None, "c": None}, {"a": 1, "b": False})
    assert [(line.op, line.path) for line in found] == [("replace", "/a"), ("replace", "/b"), ("remove", "/c")]

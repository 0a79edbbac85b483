"""Total operations: the shared vectors, and the laws behind them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from session_mgmt.documents import errors, merge, operations, pointer, strict, touched
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.size import bound_growth, measure_extent
from session_mgmt.documents.values import are_equal
from tests.documents.values import DOCUMENTS, LISTS_OF_OPS, documents, operations_at

VECTORS = json.loads((Path(__file__).parent / "vectors" / "operations.json").read_text())
LIMITS = Limits()


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_the_shared_vectors_hold(case: dict[str, Any]) -> None:
    ops = operations.validate_ops(case["ops"], LIMITS)
    assert are_equal(operations.apply_ops(case["document"], ops), strict.check_value(case["result"], LIMITS))


def test_the_shared_vectors_have_different_names() -> None:
    assert len({case["name"] for case in VECTORS}) == len(VECTORS) >= 60


@given(LISTS_OF_OPS)
def test_operations_of_strict_json_are_stored_as_they_came(ops: Any) -> None:
    parsed = strict.parse_json(json.dumps(ops), LIMITS, 10**7)
    assert operations.encode_ops(operations.validate_ops(parsed, LIMITS)) == strict.dump_json(parsed)


@given(LISTS_OF_OPS)
def test_one_operation_alone_touches_and_adds_what_it_does_among_others(ops: Any) -> None:
    for op in operations.validate_ops(ops, LIMITS):
        assert touched.list_stored_paths((op,)) == touched.list_stored_paths((op, op))
        assert bound_growth((op,), operations.encode_ops((op,))) == bound_growth((op,))


@pytest.mark.parametrize("path", ["/a/0", "/0/a", "/a/-", "/-", "/a/0/b", "/a/12", "/a/b0", "/a-b/c", "/a/01", "/", ""])
@pytest.mark.parametrize("name", ["set", "inc"])
def test_a_path_with_an_index_is_seen_whatever_way_is_taken(name: str, path: str) -> None:
    op = (name, path, 1)
    assert touched.list_stored_paths((op,)) == touched.list_stored_paths((op, op))


@given(DOCUMENTS, LISTS_OF_OPS)
def test_operations_apply_to_any_document_and_leave_it_alone(document: Any, ops: Any) -> None:
    before, ops_before = copy.deepcopy(document), copy.deepcopy(ops)
    result = operations.apply_ops(document, ops)
    assert are_equal(document, before)
    assert ops == ops_before
    assert are_equal(strict.check_value(result, LIMITS), result)


@given(DOCUMENTS, LISTS_OF_OPS, LISTS_OF_OPS)
def test_a_list_applied_in_two_parts_gives_the_same(document: Any, first: Any, second: Any) -> None:
    in_parts = operations.apply_ops(operations.apply_ops(document, first), second)
    assert are_equal(operations.apply_ops(document, first + second), in_parts)


@given(DOCUMENTS, LISTS_OF_OPS)
def test_a_result_does_not_change_when_operations_follow(document: Any, ops: Any) -> None:
    result = operations.apply_ops(document, ops)
    before = copy.deepcopy(result)
    operations.apply_ops(result, [*ops, ("set", "/a/b", 1), ("ins", "/0", 1), ("del", "/1")])
    assert are_equal(result, before)


@given(DOCUMENTS, LISTS_OF_OPS)
def test_growth_is_an_upper_bound(document: Any, ops: Any) -> None:
    bound = measure_extent(document).grow_by(bound_growth(ops))
    assert measure_extent(operations.apply_ops(document, ops)).fits_into(bound)


@given(LISTS_OF_OPS)
def test_operations_survive_their_wire_form(ops: Any) -> None:
    assert operations.decode_ops(operations.encode_ops(ops)) == tuple(ops)
    assert operations.validate_ops(json.loads(operations.encode_ops(ops)), LIMITS) == tuple(ops)


def _marked(paths: tuple[str, ...]) -> bool:
    return any(path[:1] == ">" for path in paths)


# Neither list writes behind the end of an array: only an index that does nothing yet may depend on the other list.
FILLED = documents(shortest=1)
INSIDE = st.lists(
    operations_at(
        st.lists(st.sampled_from(["a", "b", "0", "-"]), max_size=3).map(pointer.format_pointer), FILLED
    ).filter(lambda op: op[0] != "obj"),
    max_size=4,
)


@given(FILLED, INSIDE, INSIDE)
def test_changes_whose_paths_do_not_overlap_may_come_in_either_order(document: Any, mine: Any, theirs: Any) -> None:
    ours, others = touched.list_paths(mine), touched.list_paths(theirs)
    assume(not merge.find_overlaps(ours, others))
    # Appends commute but for their order in the array.
    assume(not (_marked(ours) and _marked(others)))
    assert are_equal(operations.apply_ops(document, mine + theirs), operations.apply_ops(document, theirs + mine))


def test_what_did_not_change_is_shared() -> None:
    document = {"a": {"b": 1}, "c": {"d": [1]}}
    result = operations.apply_ops(document, [("set", "/a/b", 2)])
    assert result["c"] is document["c"]
    assert operations.apply_ops(document, [("del", "/x"), ("obj", "/a"), ("set", "/c/d/9", 1)]) is document


def test_many_operations_copy_a_wide_object_once() -> None:
    document = {str(at): at for at in range(1000)}
    result = operations.apply_ops(document, [("set", f"/{at}", -at) for at in range(500)])
    assert (document["499"], result["499"], result["500"]) == (499, -499, 500)


@pytest.mark.parametrize(
    ("ops", "error"),
    [
        ({}, errors.InvalidPatch),
        (["set"], errors.InvalidPatch),
        ([[]], errors.InvalidPatch),
        ([[1, "/a"]], errors.InvalidPatch),
        ([[["set"], "/a", 1]], errors.InvalidPatch),
        ([["set", "/a"]], errors.InvalidPatch),
        ([["set", "/a", 1, 2]], errors.InvalidPatch),
        ([["del", "/a", 1]], errors.InvalidPatch),
        ([["obj", "/a", {}]], errors.InvalidPatch),
        ([["move", "/a", "/b"]], errors.InvalidPatch),
        ([["set", 1, 1]], errors.InvalidPatch),
        ([["inc", "/a", "1"]], errors.InvalidPatch),
        ([["inc", "/a", True]], errors.InvalidPatch),
        ([["inc", "/a", None]], errors.InvalidPatch),
        ([["inc", "/a", 2**53]], errors.NumberOutOfRange),
        ([["inc", "/a", float("inf")]], errors.NumberOutOfRange),
        ([["set", "a", 1]], errors.InvalidPath),
        ([["set", "/a~", 1]], errors.InvalidPath),
        ([["set", "/a~2b", 1]], errors.InvalidPath),
        ([["set", "/__proto__/x", 1]], errors.ForbiddenKey),
        ([["set", "/a", {"__proto__": 1}]], errors.ForbiddenKey),
        ([["set", "/a", float("nan")]], errors.NumberOutOfRange),
        ([["set", "/a", 2**53]], errors.NumberOutOfRange),
        ([["set", "/a", (1,)]], errors.InvalidJSON),
        ([["set", "/a\x00", 1]], errors.InvalidJSON),
        ([["set", "/" + "k" * 1025, 1]], errors.KeyTooLong),
        ([["set", "/a", "x" * (2**20 + 1)]], errors.StringTooLong),
        ([["set", "/a" * 65, 1]], errors.TooDeep),
        ([["set", "/a" * 60, [[[[[1]]]]]]], errors.TooDeep),
        ([["del", "/a"]] * 501, errors.TooManyOps),
    ],
)
def test_malformed_operations_are_refused(ops: Any, error: type[errors.DocumentError]) -> None:
    with pytest.raises(error):
        operations.validate_ops(ops, LIMITS)


def test_operations_at_the_limits_are_accepted() -> None:
    operations.validate_ops([["set", "/a" * 60, [[[[1]]]]]] * 500, LIMITS)
    operations.validate_ops([["set", "/" + "é" * 512, 2**53 - 1], ["inc", "", -1.5], ["set", "", "x" * 2**20]], LIMITS)


def test_amounts_and_values_are_normalised() -> None:
    assert operations.encode_ops(operations.validate_ops([["inc", "/a", 1.0], ["set", "/b", [-0.0, 1e3]]], LIMITS)) == (
        b'[["inc","/a",1],["set","/b",[0,1000]]]'
    )


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"7"])
def test_damaged_operations_are_unreadable(data: bytes) -> None:
    with pytest.raises(errors.UnreadableBody):
        operations.decode_ops(data)


@pytest.mark.parametrize(
    ("ops", "paths"),
    [
        ([], ()),
        ([["set", "/b", 1], ["set", "/a", 1], ["set", "/b", 2]], ("/a", "/b")),
        ([["set", "/list/3", 1]], ("/list/3",)),
        ([["ins", "/list/3", 1]], ("/list",)),
        ([["del", "/list/3"]], ("/list",)),
        ([["del", "/map/x"]], ("/map/x",)),
        ([["set", "/list/-", 1]], ("/list",)),
        ([["ins", "/list/-", 1]], (">/list",)),
        ([["ins", "/list/x", 1]], ("/list/x",)),
        ([["inc", "/n", 1]], ("+/n",)),
        ([["inc", "/n", 1], ["set", "/n", 1]], ("+/n", "/n")),
        ([["del", "/3"]], ("",)),
        ([["del", ""]], ("",)),
        ([["obj", "/a"]], ("/a",)),
        ([["obj", ""], ["obj", "/a"], ["set", "/a/b", 1]], ("/a/b",)),
        ([["obj", ""], ["obj", "/a"], ["del", "/a/3"], ["set", "/a/-", 1]], ("/a/-", "/a/3")),
        ([["obj", ""], ["obj", "/a"]], ("/a",)),
    ],
)
def test_touched_paths_are_those_of_the_table(ops: Any, paths: tuple[str, ...]) -> None:
    assert touched.list_paths(ops) == paths


def test_too_many_touched_paths_give_way_to_their_ancestors() -> None:
    ops = [("set", f"/map/{at}/x", 1) for at in range(600)] + [("inc", "/n", 1)]
    assert touched.list_paths(ops) == ("+/n", "/map")
    assert touched.list_paths(ops, most=1000)[:2] == ("+/n", "/map/0/x")


@given(DOCUMENTS, st.integers(-5, 5), st.integers(-5, 5))
def test_incs_of_one_path_commute(document: Any, one: int, two: int) -> None:
    assume(not isinstance(document, dict) or "n" not in document)
    ops = [("inc", "/n", one), ("inc", "/n", two)]
    assert are_equal(operations.apply_ops(document, ops), operations.apply_ops(document, ops[::-1]))

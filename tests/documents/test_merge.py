"""Conflicts from paths, and three-way merging with its strategies and array policies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import operations, pointer, touched
from session_mgmt.documents.arrays import ArrayPolicies
from session_mgmt.documents.merge import CONFLICT, Conflict, drop_overlapping, find_overlaps, merge_values, rebase_ops
from session_mgmt.documents.pointer import find_value
from session_mgmt.documents.values import MISSING, are_equal
from tests.documents.values import DOCUMENTS, LISTS_OF_OPS

EDITS = st.lists(LISTS_OF_OPS, min_size=2, max_size=2)


@st.composite
def triples(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """A base and two versions of it, edited rather than unrelated."""
    base = draw(DOCUMENTS)
    server, client = (operations.apply_ops(base, ops) for ops in draw(EDITS))
    return base, server, client


@st.composite
def triples_of_arrays(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    item = st.integers(0, 5) | st.builds(
        lambda key, value: {"id": key, "v": value}, st.integers(0, 3), st.integers(0, 2)
    )
    base = draw(st.lists(item, max_size=4))
    return base, draw(st.lists(item, max_size=4)), draw(st.just(base) | st.lists(item, max_size=4))


POLICIES = [ArrayPolicies({"": policy}) for policy in ("atomic", "append", "set", "keyed:id")]


@given(triples())
def test_one_side_unchanged_gives_the_other(triple: tuple[Any, Any, Any]) -> None:
    base, server, client = triple
    assert merge_values(base, server, base).conflicts == merge_values(base, base, client).conflicts == ()
    assert are_equal(merge_values(base, server, base).document, server)
    assert are_equal(merge_values(base, base, client).document, client)
    assert are_equal(merge_values(base, client, client).document, client)


@given(triples())
def test_the_server_winning_is_the_client_winning_with_sides_swapped(triple: tuple[Any, Any, Any]) -> None:
    base, server, client = triple
    one = merge_values(base, server, client, on_conflict="server_wins")
    other = merge_values(base, client, server, on_conflict="client_wins")
    assert are_equal(one.document, other.document)
    assert {found.path for found in one.conflicts} == {found.path for found in other.conflicts}


@pytest.mark.parametrize("policies", POLICIES)
@given(triples_of_arrays() | triples())
def test_without_conflicts_it_does_not_matter_who_wins(policies: ArrayPolicies, triple: tuple[Any, Any, Any]) -> None:
    base, server, client = triple
    wins = merge_values(base, server, client, arrays=policies)
    loses = merge_values(base, server, client, arrays=policies, on_conflict="client_wins")
    assert len(wins.conflicts) == len(loses.conflicts)
    assert wins.conflicts or are_equal(wins.document, loses.document)


@pytest.mark.parametrize("policies", POLICIES)
@given(triples_of_arrays())
def test_arrays_with_one_side_unchanged_give_the_other(policies: ArrayPolicies, triple: tuple[Any, Any, Any]) -> None:
    base, server, client = triple
    assert are_equal(merge_values(base, server, base, arrays=policies).document, server)
    assert are_equal(merge_values(base, base, client, arrays=policies).document, client)


@pytest.mark.parametrize(
    ("base", "server", "client", "merged", "paths"),
    [
        ({"a": 1}, {"a": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 3}, []),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}, ["/a"]),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, []),
        ({"a": 1}, {}, {"a": 2}, {}, ["/a"]),
        ({"a": 1}, {"a": 2}, {}, {"a": 2}, ["/a"]),
        ({"a": 1}, {}, {}, {}, []),
        ({}, {"a": 1}, {"a": 2}, {"a": 1}, ["/a"]),
        ({}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, []),
        ({"a": 5}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, []),
        ({"a": {"x": 1}}, {"a": 5}, {"a": {"x": 2}}, {"a": 5}, ["/a"]),
        ({"a": None}, {"a": 1}, {}, {"a": 1}, ["/a"]),
        ({"a": 1}, {"a": None}, {"a": 1, "b": None}, {"a": None, "b": None}, []),
        ({"a": 1}, {"a": True}, {"a": 1.0}, {"a": True}, []),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 2]}, ["/a"]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, {"a/b": {"~": 3}}, {"a/b": {"~": 2}}, ["/a~1b/~0"]),
        ({"a": {"b": 1}}, {}, {"a": {"b": 1}, "c": 1}, {"c": 1}, []),
        ("x", "y", "z", "y", [""]),
        ({"l": [{"x": 1}]}, {"l": [{"x": 1, "y": 1}]}, {"l": [{"x": 2}]}, {"l": [{"x": 1, "y": 1}]}, ["/l"]),
    ],
)
def test_merges_are_those_of_the_table(base: Any, server: Any, client: Any, merged: Any, paths: list[str]) -> None:
    result = merge_values(base, server, client)
    assert are_equal(result.document, merged)
    assert [found.path for found in result.conflicts] == paths


def item(key: Any, **more: Any) -> dict[str, Any]:
    return {"id": key, **more}


def keys(items: list[dict[str, Any]]) -> list[Any]:
    return [value["id"] for value in items]


ARRAYS: list[tuple[str, Any, Any, Any, Any]] = [
    ("append", [1], [1, 2], [1, 3], [1, 2, 3]),
    ("append", MISSING, [1], [2], [1, 2]),
    ("append", [1], [2, 1], [1, 3], None),
    ("append", [1, 2], [1], [1, 2, 3], None),
    ("set", ["a", "b"], ["a", "b", "c"], ["b", "d"], ["b", "c", "d"]),
    ("set", [1, True], [1, True, "1"], [True, 1.5], [True, "1", 1.5]),
    ("set", MISSING, ["a", "b"], ["b", "c"], ["a", "b", "c"]),
    ("set", ["a"], ["a", "a"], ["a", "b"], ["a", "b"]),
    ("set", [1], [1, {}], [1, 2], None),
    ("keyed:id", [item(1, n=1, m=1)], [item(1, n=2, m=1)], [item(1, n=1, m=2)], [item(1, n=2, m=2)]),
    ("keyed:id", [item(1), item(2)], [item(2)], [item(1), item(2), item(3)], [item(2), item(3)]),
    ("keyed:id", MISSING, [item(1)], [item("1")], [item("1"), item(1)]),
    ("keyed:id", [item(1)], [item(1), item(1)], [item(1), item(2)], None),
    ("keyed:id", [item(1)], [item(1), {}], [item(1), item(2)], None),
    ("keyed:id", [item(1)], [item(1), item(True)], [item(1), item(2)], None),
    ("keyed:id", [item(1)], [item(1), 7], [item(1), item(2)], None),
]


@pytest.mark.parametrize(("policy", "base", "server", "client", "merged"), ARRAYS)
def test_array_policies_are_those_of_the_table(policy: str, base: Any, server: Any, client: Any, merged: Any) -> None:
    result = merge_values(base, server, client, arrays=ArrayPolicies({"": policy}))
    if merged is None:
        assert [found.path for found in result.conflicts] == [""]
    else:
        assert are_equal(result.document, merged)
        assert result.conflicts == ()


@pytest.mark.parametrize(
    ("base", "server", "client", "merged"),
    [
        ("abc", "abc", "cab", "cab"),
        ("abc", "bac", "abc", "bac"),
        ("abc", "bac", "cab", "bac"),
        ("abc", "axbc", "abyc", "axbyc"),
        ("abc", "abcx", "yabc", "yabcx"),
        ("abc", "axbc", "cba", "cbax"),
        ("abc", "ac", "abxc", "axc"),
        ("ab", "abx", "aby", "abyx"),
        ("", "xy", "zy", "zxy"),
    ],
)
def test_keyed_items_keep_an_order_that_both_sides_can_follow(base: str, server: str, client: str, merged: str) -> None:
    sides = ([item(key) for key in side] for side in (base, server, client))
    result = merge_values(*sides, arrays=ArrayPolicies({"": "keyed:id"}))
    assert "".join(keys(result.document)) == merged


def test_a_conflict_inside_a_keyed_item_names_its_place_on_the_server() -> None:
    base = {"items": [item(1, n=0), item(2, n=0)]}
    server = {"items": [item(3), item(1, n=1), item(2, n=0)]}
    client = {"items": [item(1, n=2)]}
    result = merge_values(base, server, client, arrays=ArrayPolicies({"/items": "keyed:id"}))
    assert result.document == {"items": [item(3), item(1, n=1)]}
    assert result.conflicts == (Conflict("/items/1/n", 0, 1, 2, "server", ((1, "id", 1),)),)


def test_policies_apply_where_their_pattern_fits() -> None:
    policies = ArrayPolicies({"/carts/*/tags": "set", "/log": "append"})
    assert [policies.find_policy(path) for path in ("/carts/7/tags", "/log", "/carts/tags", "/log/0", "")] == [
        "set",
        "append",
        "atomic",
        "atomic",
        "atomic",
    ]


@pytest.mark.parametrize("policy", ["", "keyed", "keyed:", "sets"])
def test_unknown_array_policies_are_refused(policy: str) -> None:
    with pytest.raises(ValueError):
        ArrayPolicies({"/a": policy})


def test_a_conflict_keeps_all_three_values_and_says_whose_stays() -> None:
    base, server, client = {"a": 1}, {}, {"a": 2}
    assert merge_values(base, server, client).conflicts == (Conflict("/a", 1, MISSING, 2, "server"),)
    assert merge_values(base, server, client, on_conflict="client_wins").conflicts[0].kept == "client"
    assert merge_values(base, server, client, on_conflict="client_wins").document == {"a": 2}


def test_reject_leaves_the_server_as_it_is() -> None:
    merged = merge_values({"a": 1}, {"a": 2}, {"a": 3, "b": 1}, on_conflict="reject")
    assert merged.document == {"a": 2}
    assert merged.conflicts
    assert merge_values({"a": 1}, {"a": 2}, {"a": 1, "b": 1}, on_conflict="reject").document == {"a": 2, "b": 1}


def test_a_resolver_decides_or_leaves_it_to_the_server() -> None:
    def resolver(path: str, base: Any, server: Any, client: Any) -> Any:
        return {"/a": server + client, "/b": CONFLICT, "/c": MISSING}[path]

    merged = merge_values(
        {"a": 0, "b": 0, "c": 0}, {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}, on_conflict=resolver
    )
    assert merged.document == {"a": 3, "b": 1}
    assert [(found.path, found.kept) for found in merged.conflicts] == [
        ("/a", "resolver"),
        ("/b", "server"),
        ("/c", "resolver"),
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "found"),
    [
        ([["inc", "/n", 1]], [["inc", "/n", 2]], []),
        ([["inc", "/n", 1]], [["set", "/n", 2]], ["/n"]),
        ([["ins", "/l/-", 1]], [["ins", "/l/-", 2]], []),
        ([["ins", "/l/-", 1]], [["ins", "/l/0", 2]], ["/l"]),
        ([["ins", "/l/-", 1]], [["set", "/l/2", 2]], ["/l"]),
        ([["set", "/l/2/x", 1]], [["del", "/l/0"]], ["/l/2/x"]),
        ([["set", "/a/b", 1], ["set", "/c", 1]], [["set", "/a", 1]], ["/a/b"]),
        ([["set", "/a/b", 1]], [["set", "/a/c", 1]], []),
        ([["obj", "/a"], ["set", "/a/b", 1]], [["obj", "/a"], ["del", "/a/c"]], []),
        ([["obj", "/a"], ["set", "/a/b", 1]], [["set", "/a", 5]], ["/a/b"]),
        ([["set", "", 1]], [["inc", "/n", 1]], [""]),
    ],
)
def test_conflicts_are_found_from_the_log_alone(mine: Any, theirs: Any, found: list[str]) -> None:
    assert find_overlaps(touched.list_paths(mine), touched.list_paths(theirs)) == found


@pytest.mark.parametrize(
    ("ops", "theirs", "dropped"),
    [
        ([["set", "/a", 1], ["set", "/b", 1]], ["/a"], [0]),
        ([["inc", "/n", 1]], ["+/n"], []),
        ([["set", "/a", {}], ["inc", "/a/n", 5], ["set", "/b", 1]], ["/a/x"], [0, 1]),
        ([["set", "/a/b", 1], ["set", "/a", {}]], ["/a/c"], [0, 1]),
        ([["del", "/l/0"], ["set", "/l/1", 1]], ["/l/1/x"], [0, 1]),
        ([["obj", ""], ["obj", "/cart"], ["set", "/cart/x", 1]], ["/cart/y"], []),
        ([["obj", ""], ["obj", "/cart"], ["set", "/cart/x", 1], ["set", "/b", 1]], ["/cart"], [1, 2]),
        ([["obj", ""], ["obj", "/cart"], ["set", "/cart/x", 1], ["set", "/cart/y", 1]], ["/cart/x"], [2]),
    ],
)
def test_what_is_dropped_when_the_server_wins(ops: Any, theirs: list[str], dropped: list[int]) -> None:
    kept, lost = drop_overlapping(ops, theirs)
    assert list(lost) == [ops[at] for at in dropped]
    assert list(kept) == [op for at, op in enumerate(ops) if at not in dropped]


@pytest.mark.parametrize(
    ("ops", "theirs", "left"),
    [
        ([["obj", ""], ["set", "/a", 1]], ["/a"], []),
        ([["obj", ""], ["obj", "/a"], ["set", "/a/x", 1], ["set", "/b", 1]], ["/a/x"], [["obj", ""], ["set", "/b", 1]]),
        ([["obj", ""], ["obj", "/a"]], ["/a/x"], [["obj", ""], ["obj", "/a"]]),
    ],
)
def test_an_object_that_was_there_for_what_is_dropped_goes_with_it(ops: Any, theirs: list[str], left: Any) -> None:
    """Alone it would touch the whole object, and be in the way of everybody who works inside it."""
    kept, _ = drop_overlapping(ops, theirs)
    assert list(kept) == left
    document = {"a": {"x": 5}, "b": 0}
    assert rebase_ops({"a": {"x": 0}, "b": 0}, document, ops, theirs).ops == kept


@given(LISTS_OF_OPS, LISTS_OF_OPS)
def test_what_is_kept_overlaps_nothing(mine: Any, theirs: Any) -> None:
    ops = [op for op in mine if op[0] != "obj"]
    their_paths = touched.list_paths(theirs)
    kept, dropped = drop_overlapping(ops, their_paths)
    assert sorted(map(repr, kept + dropped)) == sorted(map(repr, ops))
    assert not find_overlaps(touched.list_path_of_each(kept), [*their_paths, *touched.list_path_of_each(dropped)])


@given(DOCUMENTS, LISTS_OF_OPS)
def test_a_rebase_onto_the_base_is_an_application(base: Any, ops: Any) -> None:
    assert are_equal(rebase_ops(base, base, ops, ()).document, operations.apply_ops(base, ops))


@given(DOCUMENTS, LISTS_OF_OPS, LISTS_OF_OPS)
def test_a_rebase_where_the_server_wins_keeps_what_the_server_set(base: Any, mine: Any, theirs: Any) -> None:
    theirs = [*theirs, ("set", "/a/b", "theirs")]
    server = operations.apply_ops(base, theirs)
    paths = [pointer.strip_mark(path) for path in touched.list_paths(theirs)]
    merged = rebase_ops(base, server, [op for op in mine if op[0] != "obj"], paths)
    if find_value(server, "/a/b") == "theirs":
        assert find_value(merged.document, "/a/b") == "theirs"
    assert are_equal(operations.apply_ops(server, merged.ops), merged.document)


@pytest.mark.parametrize("theirs", [[("set", "/n", 10)], [("set", "/n", 5)], [("obj", ""), ("set", "/n", 9)]])
def test_an_addition_is_in_conflict_with_no_number(theirs: Any) -> None:
    base: Any = {"n": 4}
    server = operations.apply_ops(base, theirs)
    merged = rebase_ops(base, server, [("inc", "/n", 1)], touched.list_paths(theirs))
    assert merged.document == {"n": server["n"] + 1}
    assert merged.conflicts == ()


def test_an_addition_to_what_the_server_removed_is_a_conflict() -> None:
    merged = rebase_ops({"n": 4}, {}, [("inc", "/n", 1)], ["/n"])
    assert merged.document == {}
    assert [found.path for found in merged.conflicts] == ["/n"]


def test_counters_add_up_and_appends_line_up_beside_a_conflict() -> None:
    base = {"n": 1, "log": ["a"], "name": "x"}
    theirs = [("inc", "/n", 2), ("ins", "/log/-", "b"), ("set", "/name", "server")]
    mine = [("inc", "/n", 5), ("ins", "/log/-", "c"), ("set", "/name", "client"), ("set", "/new", 1)]
    merged = rebase_ops(base, operations.apply_ops(base, theirs), mine, touched.list_paths(theirs))
    assert merged.document == {"n": 8, "log": ["a", "b", "c"], "name": "server", "new": 1}
    assert merged.conflicts == (Conflict("/name", "x", "server", "client", "server"),)


def test_an_overlap_without_contradiction_is_no_conflict() -> None:
    base = {"cart": {"qty": 1}}
    theirs, mine = [("set", "/cart/qty", 2)], [("set", "/cart", {"qty": 1, "coupon": "WELCOME"})]
    merged = rebase_ops(base, operations.apply_ops(base, theirs), mine, touched.list_paths(theirs))
    assert merged.document == {"cart": {"qty": 2, "coupon": "WELCOME"}}
    assert merged.conflicts == ()


def test_a_merge_patch_onto_an_array_of_the_base_is_not_lost_on_the_way() -> None:
    mine = [("obj", ""), ("obj", "/a"), ("set", "/a/x", 1)]
    merged = rebase_ops({"a": [1]}, {"a": [1, 2]}, mine, [">/a"], on_conflict="client_wins")
    assert merged.document == {"a": {"x": 1}}


def test_a_rejected_rebase_applies_nothing() -> None:
    server = {"a": 2}
    merged = rebase_ops({"a": 1}, server, [("set", "/a", 3), ("set", "/b", 1)], ["/a"], on_conflict="reject")
    assert merged.document is server
    assert len(merged.conflicts) == 1

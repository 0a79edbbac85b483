"""Tests of the checker's own operations, from the table in PROTOCOL section 6."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.operations import replay, touch

CASES: list[tuple[Any, list[Any], Any]] = [
    ({}, ["set", "/a/b", 1], {"a": {"b": 1}}),
    ({"a": "text"}, ["set", "/a/b", 1], {"a": {"b": 1}}),
    ({"a": [1, 2]}, ["set", "/a/1", 9], {"a": [1, 9]}),
    ({"a": [1, 2]}, ["set", "/a/2", 9], {"a": [1, 2, 9]}),
    ({"a": [1, 2]}, ["set", "/a/-", 9], {"a": [1, 2, 9]}),
    ({"a": [1, 2]}, ["set", "/a/3", 9], {"a": [1, 2]}),
    ({"a": [1, 2]}, ["set", "/a/x", 9], {"a": [1, 2]}),
    ({"a": [{"b": 1}]}, ["set", "/a/0/b", 2], {"a": [{"b": 2}]}),
    ({"a": [1]}, ["set", "/a/5/b", 2], {"a": [1]}),
    ({"a": 1}, ["set", "", [1]], [1]),
    ({"a": 1, "b": 2}, ["del", "/a"], {"b": 2}),
    ({"a": 1}, ["del", "/x"], {"a": 1}),
    ({"a": 1}, ["del", ""], {}),
    ({"a": 1}, ["del", "/a/x"], {"a": 1}),
    ({}, ["del", "/a/x/y"], {}),
    ({"a": [1, 2]}, ["del", "/a/0"], {"a": [2]}),
    ({"a": [1, 2]}, ["ins", "/a/0", 0], {"a": [0, 1, 2]}),
    ({"a": [1, 2]}, ["ins", "/a/-", 3], {"a": [1, 2, 3]}),
    ({"a": [1, 2]}, ["ins", "/a/7", 3], {"a": [1, 2]}),
    ({}, ["ins", "/a", 3], {"a": 3}),
    ({"n": 1}, ["inc", "/n", 2], {"n": 3}),
    ({"n": "text"}, ["inc", "/n", 2], {"n": 2}),
    ({"n": True}, ["inc", "/n", 2], {"n": 2}),
    ({"n": 2**53 - 1}, ["inc", "/n", 1], {"n": 2**53 - 1}),
    ({"n": 1.5}, ["inc", "/n", 0.5], {"n": 2}),
    ({"a": 1}, ["obj", "/a"], {"a": {}}),
    ({"a": {"b": 1}}, ["obj", "/a"], {"a": {"b": 1}}),
    ({"a/b": {"c~d": 1}}, ["del", "/a~1b/c~0d"], {"a/b": {}}),
    ({}, ["set", "/a", 1.0], {"a": 1}),
]


@pytest.mark.parametrize(("document", "op", "result"), CASES)
def test_an_operation_has_the_effect_that_the_table_states(document: Any, op: list[Any], result: Any) -> None:
    assert replay(document, [op]) == result


def test_the_document_that_was_given_stays_as_it_was() -> None:
    document = {"a": [1]}
    replay(document, [["set", "/a/0", 2], ["del", "/a"]])
    assert document == {"a": [1]}


def test_paths_touch_when_one_is_at_or_above_the_other() -> None:
    assert touch(["set", "/a", 1], ["del", "/a/b"])
    assert touch(["set", "/a/b", 1], ["inc", "/a", 1])
    assert not touch(["set", "/a", 1], ["set", "/ab", 1])
    assert not touch(["inc", "/n", 1], ["inc", "/n", 2])
    assert touch(["inc", "/n", 1], ["set", "/n", 2])

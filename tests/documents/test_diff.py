"""Differences bring one document to the other, and stay small."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest
from hypothesis import given

from session_mgmt.documents import operations
from session_mgmt.documents.diff import diff_documents, make_json_patch
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.normalise import make_ops
from session_mgmt.documents.values import are_equal
from tests.documents.values import DOCUMENTS, LISTS_OF_OPS


@given(DOCUMENTS, DOCUMENTS)
def test_a_difference_leads_from_one_document_to_the_other(a: Any, b: Any) -> None:
    assert are_equal(operations.apply_ops(a, diff_documents(a, b)), b)


@given(DOCUMENTS, LISTS_OF_OPS)
def test_a_difference_leads_to_an_edited_document(document: Any, ops: Any) -> None:
    edited = operations.apply_ops(document, ops)
    assert are_equal(operations.apply_ops(document, diff_documents(document, edited)), edited)


@given(DOCUMENTS, DOCUMENTS)
def test_the_shown_patch_is_a_valid_json_patch_with_the_same_effect(a: Any, b: Any) -> None:
    patch = make_json_patch(a, b)
    assert are_equal(jsonpatch.apply_patch(a, patch), b)
    assert are_equal(operations.apply_ops(a, make_ops("patch", patch, a, Limits())), b)


@given(DOCUMENTS)
def test_a_document_does_not_differ_from_itself(document: Any) -> None:
    assert diff_documents(document, operations.apply_ops(document, [("set", "", document)])) == ()


@pytest.mark.parametrize(
    ("a", "b", "ops"),
    [
        ({"a": 1}, {"a": True}, [("set", "/a", True)]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": None}, {}, [("del", "/a")]),
        ({}, {"a/b": None}, [("set", "/a~1b", None)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("set", "/a/c", 3)]),
        ([1, 2, 3], [1, 3], [("del", "/1")]),
        ([1, 3], [1, 2, 3], [("ins", "/1", 2)]),
        ([], [1], [("ins", "/0", 1)]),
        ([{"x": 1}, {"y": 2}], [{"x": 1}, {"y": 3}], [("set", "/1/y", 3)]),
        ([1], {"0": 1}, [("set", "", {"0": 1})]),
        (list(range(20)), list(range(20, 40)), [("set", "", list(range(20, 40)))]),
    ],
)
def test_differences_are_those_of_the_table(a: Any, b: Any, ops: Any) -> None:
    assert list(diff_documents(a, b)) == ops


def test_removing_the_first_of_many_items_is_one_operation() -> None:
    items = [{"id": at, "name": f"item {at}"} for at in range(5000)]
    assert diff_documents({"items": items}, {"items": items[1:]}) == (("del", "/items/0"),)

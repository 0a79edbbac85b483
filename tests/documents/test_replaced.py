"""Changes from before the log: by digests of what they replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from session_mgmt.documents import operations, replaced
from session_mgmt.documents.arrays import ArrayPolicies
from session_mgmt.documents.merge import CONFLICT
from session_mgmt.documents.values import MISSING, are_equal
from tests.documents.values import DOCUMENTS, LISTS_OF_OPS


@given(DOCUMENTS, LISTS_OF_OPS)
def test_what_is_as_it_was_is_replaced_as_was_meant(document: Any, ops: Any) -> None:
    settled = replaced.rebase_by_digests(document, ops, replaced.digest_replaced(document, ops))
    assert are_equal(settled.document, operations.apply_ops(document, ops))
    assert settled.conflicts == ()


@given(DOCUMENTS, DOCUMENTS, LISTS_OF_OPS)
def test_its_operations_make_its_document(seen: Any, server: Any, ops: Any) -> None:
    for who in ("server_wins", "client_wins"):
        settled = replaced.rebase_by_digests(server, ops, replaced.digest_replaced(seen, ops), on_conflict=who)  # type: ignore[arg-type]
        assert are_equal(operations.apply_ops(server, settled.ops), settled.document)


@pytest.mark.parametrize(
    ("seen", "server", "ops", "document", "paths"),
    [
        ({"a": 1}, {"a": 2}, [("set", "/a", 3)], {"a": 2}, ["/a"]),
        ({"a": 1}, {"a": 3}, [("set", "/a", 3)], {"a": 3}, []),
        ({"a": 1}, {}, [("set", "/a", 3)], {}, ["/a"]),
        ({}, {"a": None}, [("set", "/a", 3)], {"a": None}, ["/a"]),
        ({}, {}, [("set", "/a", 3)], {"a": 3}, []),
        ({"n": 1}, {"n": 5}, [("inc", "/n", 1)], {"n": 6}, []),
        ({"l": [1]}, {"l": [2]}, [("ins", "/l/-", 3)], {"l": [2, 3]}, []),
        ({"l": [1]}, {"l": [2]}, [("ins", "/l/0", 3)], {"l": [2]}, ["/l"]),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, [("set", "/a", 3), ("set", "/b", 3)], {"a": 2, "b": 3}, ["/a"]),
        ({"a": True}, {"a": 1}, [("del", "/a")], {"a": 1}, ["/a"]),
        ({"l": {}}, {"l": [7]}, [("obj", "/l"), ("set", "/l/a", 1)], {"l": [7]}, ["/l"]),
        ({"l": [7]}, {"l": [7]}, [("obj", "/l"), ("set", "/l/a", 1)], {"l": {"a": 1}}, []),
        ({}, {"l": "text"}, [("ins", "/l/-", 1)], {"l": "text"}, ["/l"]),
        ({"a": {}}, {"a": 5}, [("set", "/a/b", 1)], {"a": 5}, ["/a"]),
        ({"a": {}}, {"a": 5}, [("inc", "/a/b/c", 1)], {"a": 5}, ["/a"]),
        ({"l": {}}, {"l": {"-": 1}}, [("ins", "/l/-", 2)], {"l": {"-": 1}}, ["/l"]),
        ({"l": []}, {"l": {"-": 1}}, [("ins", "/l/-", 2)], {"l": {"-": 1}}, ["/l"]),
    ],
)
def test_what_changed_is_a_conflict(seen: Any, server: Any, ops: Any, document: Any, paths: list[str]) -> None:
    settled = replaced.rebase_by_digests(server, ops, replaced.digest_replaced(seen, ops))
    assert settled.document == document
    assert [found.path for found in settled.conflicts] == paths


def test_a_path_without_a_digest_counts_as_changed() -> None:
    assert replaced.rebase_by_digests({"a": 1}, [("set", "/a", 2)], {}).document == {"a": 1}


def test_a_resolver_is_told_that_the_base_is_gone() -> None:
    asked: list[Any] = []

    def resolve(*given: Any) -> Any:
        asked.append(given)
        return CONFLICT if given[0] == "/b" else "both"

    settled = replaced.rebase_by_digests(
        {"a": 1, "b": 1}, [("set", "/a", 2), ("set", "/b", 2)], {"/a": "0" * 16}, on_conflict=resolve
    )
    assert asked == [("/a", MISSING, 1, 2), ("/b", MISSING, 1, 2)]
    assert settled.document == {"a": "both", "b": 1}


def test_rejected_changes_leave_the_server_as_it_is() -> None:
    server = {"a": 1}
    settled = replaced.rebase_by_digests(server, [("set", "/a", 2), ("set", "/b", 2)], {}, on_conflict="reject")
    assert settled.document is server
    assert settled.ops == ()


def test_digests_are_those_of_the_shared_table() -> None:
    table = json.loads((Path(__file__).parent / "vectors" / "replaced.json").read_text(encoding="utf-8"))
    for case in table:
        assert replaced.digest_replaced(case["seen"], case["ops"]) == case["replaced"]


@pytest.mark.parametrize(
    ("policy", "array", "item", "index"),
    [
        ("keyed:id", [{"id": 1}, {"id": 2, "v": "theirs"}], {"id": 2, "v": "mine"}, 1),
        ("keyed:id", [{"id": "a", "v": 1}], {"id": "a", "v": 2}, 0),
    ],
)
def test_an_item_that_is_there_by_now_is_not_there_twice(policy: str, array: Any, item: Any, index: int) -> None:
    server = {"l": array}
    ops = (("ins", "/l/-", item), ("set", "/x", 1))
    digests = replaced.digest_replaced({"l": []}, ops)
    policies = ArrayPolicies({"/l": policy})
    found = replaced.rebase_by_digests(server, ops, digests, arrays=policies)
    assert found.document == {**server, "x": 1}
    assert [(one.path, one.kept, one.client) for one in found.conflicts] == [(f"/l/{index}", "server", item)]
    mine = replaced.rebase_by_digests(server, ops, digests, arrays=policies, on_conflict="client_wins")
    assert mine.document["l"][index] == item
    assert operations.apply_ops(server, mine.ops) == mine.document
    refused = replaced.rebase_by_digests(server, ops, digests, arrays=policies, on_conflict="reject")
    assert refused.document == server


def test_an_equal_item_that_is_there_by_now_is_no_conflict() -> None:
    for policy, item in (("keyed:id", {"id": 1, "v": 2}), ("set", "x")):
        server = {"l": [item]}
        found = replaced.rebase_by_digests(server, (("ins", "/l/-", item),), {}, arrays=ArrayPolicies({"/l": policy}))
        assert (found.document, found.conflicts) == (server, ())
    plain = replaced.rebase_by_digests({"l": [1]}, (("ins", "/l/-", 1),), {})
    assert plain.document == {"l": [1, 1]}

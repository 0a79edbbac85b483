"""No value that somebody wrote is lost without a report, whatever two clients do to one place at once.

Each value is written once, so that it can be looked for in the result.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from session_mgmt.documents import contested, merge, normalise, operations, pointer, touched
from session_mgmt.documents.arrays import NO_POLICIES, ArrayPolicies
from session_mgmt.documents.values import are_equal

PLACES = (
    *("/a", "/l", "/o", "/o/a", "/o/l", "/a/b", "/l/0", "/l/1", "/l/2", "/l/-", "/o/l/-", "/o/l/0", "/l/0/v"),
    *("/l/0/a", "/l/a", "/a/-", "/a/0", "/l/-/a", "/o/-", "/l/0/l/0", "/l/0/l/-", "/l/1/v"),
)
NAMES = ("set", "set", "set", "del", "del", "ins", "ins", "obj")
STRATEGIES = ("merge", "merge", "reject", "server_wins", "client_wins")
EXAMPLES = 2500


def settle(base: Any, theirs: Any, mine: Any, strategy: str, policies: ArrayPolicies = NO_POLICIES) -> tuple[Any, Any]:
    """Return the document and the report, by the rules of the lane (``actions/state/ledger.py``)."""
    server = operations.apply_ops(base, theirs)
    paths = set(touched.list_stored_paths(theirs))
    paths |= contested.list_contested(touched.list_stored_paths(mine), paths, base, server, policies)
    overlaps = merge.find_overlaps(touched.list_stored_paths(mine), paths)
    if not overlaps:
        return operations.apply_ops(server, mine), None
    if strategy == "reject":
        return server, overlaps
    if strategy == "server_wins":
        kept, dropped = merge.drop_overlapping(mine, paths)
        return operations.apply_ops(server, kept), dropped
    if strategy == "client_wins":
        merged = merge.overwrite_ops(base, server, mine, paths, arrays=policies)
    else:
        merged = merge.rebase_ops(base, server, mine, paths, arrays=policies)
    assert are_equal(operations.apply_ops(server, merged.ops), merged.document)
    return merged.document, merged.conflicts


def list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from list_texts(item)


def find_losses(base: Any, theirs: Any, mine: Any, strategy: str, policies: ArrayPolicies = NO_POLICIES) -> set[str]:
    """Return the values that are gone, or have come back, although the report does not say so."""
    document, report = settle(base, theirs, mine, strategy, policies)
    server, client = operations.apply_ops(base, theirs), operations.apply_ops(base, mine)
    before, after = set(list_texts(base)), set(list_texts(document))
    of_server, of_client = set(list_texts(server)), set(list_texts(client))
    lost: set[str] = set()
    if not report or strategy == "server_wins":
        lost |= of_server - before - after
    if not report or strategy == "client_wins":
        lost |= of_client - before - after
    if not report:
        lost |= ((before - of_server) | (before - of_client)) & after
        lost |= (before & of_server & of_client) - after
    return lost


SERVER_AND_CLIENT = [
    # Base, and what each does to it.
    ({"l": ["b1"]}, [["ins", "/l/0/l/-", "s"]], [["obj", "/l"]]),
    ({"o": {"a": "b"}}, [["set", "/o/a", "s"]], [["obj", "/o/l/0"], ["set", "/o", "c"], ["obj", "/o"]]),
    ({"l": {}}, [["obj", ""], ["obj", "/l"], ["set", "/l/b", "s"]], [["obj", "/l"], ["del", "/l"]]),
    ({"l": ["b"]}, [["set", "/l/0/l/-", "s"]], [["set", "/l", []], ["obj", "/l/-"]]),
    ({}, [["obj", "/o/-"], ["obj", "/o/a"]], [["set", "/o/l", ["c"]]]),
    ({"a": ["b1", "b2"]}, [["set", "/a/0", "s"], ["del", "/a/b"]], [["obj", "/a"]]),
    ({}, [["ins", "/o/-", "s"]], [["set", "/o/l", "c"]]),
    ({}, [["ins", "/o/-", "s"]], [["set", "/o/l/-", "c"]]),
    ({"l": ["b1", "b2"]}, [["del", "/l/0"]], [["set", "/l/2", "c"]]),
    ({"l": ["b1", "b2"]}, [["set", "/l", []]], [["set", "/l/1/v", "c"]]),
    ({"l": "b"}, [["set", "/l/1", "s"]], [["set", "/l/-", "c"], ["set", "/l/-", "d"]]),
    ({"l": "b"}, [["set", "/l", "s"]], [["ins", "/l/-", "c"]]),
    ({"l": None}, [["set", "/l/-", "s"]], [["set", "/l/x", "c"]]),
    # Two operations of the client in an array that others have made, shortened or removed.
    ({}, [["set", "/l", ["s1", "s2"]]], [["set", "/l/1/v", ["c"]], ["obj", "/l"]]),
    ({"l": ["b1", "b2"]}, [["del", "/l/0"]], [["ins", "/l/-", "c"], ["set", "/l/1/v", {}]]),
    ({"o": {"l": ["b1", "b2"]}}, [["set", "/o", {"a": []}]], [["set", "/o/l/-", "c"], ["del", "/o/l/0"]]),
    ({"l": ["b1", "b2"]}, [["del", "/l"]], [["set", "/l/-", "c"], ["ins", "/l/0/l/-", "d"]]),
    ({"l": ["b1", "b2"]}, [["set", "/l/1", "s"]], [["set", "/l/2", "c"], ["set", "/l/1", "d"]]),
]


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES)))
@pytest.mark.parametrize(("base", "theirs", "mine"), SERVER_AND_CLIENT)
def test_two_changes_of_one_place_lose_nothing_in_silence(base: Any, theirs: Any, mine: Any, strategy: str) -> None:
    for policy in ("atomic", "append", "set"):
        policies = ArrayPolicies({"/l": policy, "/o/l": policy})
        assert find_losses(base, theirs, mine, strategy, policies) == set(), policy


@pytest.mark.parametrize("policy", ["atomic", "append", "set", "keyed:id"])
def test_no_two_changes_drawn_at_random_lose_anything_in_silence(policy: str) -> None:
    policies = ArrayPolicies({"/l": policy, "/o/l": policy, "/l/*/l": policy})
    for seed in range(EXAMPLES):
        drawing = Drawing(seed, policy)
        base = drawing.draw_document()
        theirs, mine = drawing.draw_ops("s", base), drawing.draw_ops("c", base)
        strategy = drawing.random.choice(STRATEGIES)
        assert find_losses(base, theirs, mine, strategy, policies) == set(), (base, theirs, mine, strategy)


def list_doubled(value: Any, policies: ArrayPolicies, path: str = "") -> Iterator[str]:
    """List the keyed arrays that hold a key twice."""
    if isinstance(value, list):
        keys = [item["id"] for item in value if isinstance(item, dict) and "id" in item]
        if policies.find_policy(path).startswith("keyed") and len(set(keys)) < len(keys):
            yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from list_doubled(item, policies, f"{path}/{key}")


def test_an_operation_that_did_nothing_doubles_no_key_after_others_have_moved_the_items() -> None:
    policies = ArrayPolicies({"/l": "keyed:id"})
    base = {"l": [{"id": 3, "v": "b"}]}
    mine = [["set", "/l/0", {"id": 1, "v": "c"}], ["set", "/l/2", {"id": 1, "v": "d"}]]
    document, _ = settle(base, [["ins", "/l/0/l/0", {"id": 1, "v": "s"}]], mine, "merge", policies)
    assert [item["id"] for item in document["l"]].count(1) == 1


def test_no_merge_doubles_a_key_that_neither_side_had_twice() -> None:
    policies = ArrayPolicies({"/l": "keyed:id", "/o/l": "keyed:id", "/l/*/l": "keyed:id"})
    for seed in range(2 * EXAMPLES):
        drawing = Drawing(seed, "keyed:id")
        base = drawing.draw_document()
        theirs, mine = drawing.draw_ops("s", base), drawing.draw_ops("c", base)
        sides = (base, operations.apply_ops(base, theirs), operations.apply_ops(base, mine))
        if any(list(list_doubled(side, policies)) for side in sides):
            continue
        for strategy in ("merge", "client_wins"):
            document, _ = settle(base, theirs, mine, strategy, policies)
            assert list(list_doubled(document, policies)) == [], (base, theirs, mine, strategy)


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        (["set", "/l/0", {"id": 9, "v": "s"}], ["set", "/l/1", {"id": 9, "v": "c"}]),
        (["set", "/l/0/id", 9], ["set", "/l/1/id", 9]),
        (["set", "/l/0/id", 9], ["set", "/l/1", {"id": 9, "v": "c"}]),
        (["ins", "/l/-", {"id": 9, "v": "s"}], ["set", "/l/1", {"id": 9, "v": "c"}]),
        (["ins", "/l/0", {"id": 9, "v": "s"}], ["ins", "/l/-", {"id": 9, "v": "c"}]),
        (["set", "/l/2", {"id": 9, "v": "s"}], ["set", "/l/0/id", 9]),
    ],
)
@pytest.mark.parametrize("strategy", ["merge", "client_wins"])
def test_two_items_that_become_one_are_merged_and_the_difference_is_told(theirs: Any, mine: Any, strategy: str) -> None:
    policies = ArrayPolicies({"/l": "keyed:id"})
    base = {"l": [{"id": 1, "v": "b1"}, {"id": 2, "v": "b2"}]}
    document, report = settle(base, [theirs], [mine], strategy, policies)
    assert [item["id"] for item in document["l"]].count(9) == 1
    assert report
    assert settle(base, [theirs], [mine], "reject", policies)[0] == operations.apply_ops(base, [theirs])


class Drawing:
    """Documents and operations with values that are written once."""

    def __init__(self, seed: int, policy: str) -> None:
        self.random, self._policy, self._count = random.Random(seed), policy, 0

    def draw_document(self) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for key in "alo":
            chance = self.random.random()
            if chance > 0.75:
                continue
            drawn[key] = self._draw_value("b")
            if key == "l" and chance < 0.6:
                drawn[key] = self._draw_array("b")
            elif key == "o" and chance < 0.6:
                drawn[key] = {"l": self._draw_array("b"), "a": self._name("b")}
        return drawn

    def draw_ops(self, who: str, document: Any) -> tuple[Any, ...]:
        if self.random.random() < 0.12:
            member = self.random.choice([None, self._draw_value(who), {"a": self._name(who)}])
            return normalise.make_merge_ops({self.random.choice("alo"): member})
        found: list[Any] = []
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            found.append(self._draw_op(who, document))
            document = operations.apply_ops(document, found[-1:])
        return tuple(found)

    def _draw_op(self, who: str, document: Any) -> tuple[Any, ...]:
        name, path = self.random.choice(NAMES), self.random.choice(PLACES)
        if name in ("del", "obj"):
            return name, path
        if self._policy.startswith("keyed"):
            if path.endswith("/l"):
                return name, path, self._draw_array(who)
            if pointer.parent_of(path).endswith("/l"):
                return name, path, self._draw_item(who, self.random.randint(1, 6))
        return name, path, self._draw_value(who)

    def _draw_value(self, who: str, depth: int = 0) -> Any:
        chance = self.random.random()
        if chance < 0.5 or depth > 1:
            return self._name(who)
        if chance < 0.7:
            return {
                self.random.choice("abl"): self._draw_value(who, depth + 1) for _ in range(self.random.randint(0, 2))
            }
        return self._draw_array(who, depth + 1)

    def _draw_array(self, who: str, depth: int = 1) -> list[Any]:
        if self._policy.startswith("keyed"):
            return [
                self._draw_item(who, key, depth) for key in self.random.sample(range(1, 5), self.random.randint(0, 3))
            ]
        return [
            self._draw_value(who, depth + 1) if self._policy == "atomic" else self._name(who)
            for _ in range(self.random.randint(0, 3))
        ]

    def _draw_item(self, who: str, key: int, depth: int = 3) -> dict[str, Any]:
        item: dict[str, Any] = {"id": key, "v": self._name(who)}
        if depth < 3 and self.random.random() < 0.2:
            item["l"] = self._draw_array(who, depth + 1)
        return item

    def _name(self, who: str) -> str:
        self._count += 1
        return f"{who}{self._count}"

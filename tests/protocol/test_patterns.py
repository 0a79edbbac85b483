"""Patterns of topics: what they match, and that one object has one topic."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from session_mgmt.protocol.patterns import compile_pattern

ID = "0198a0c2-7d55-7c11-8a8f-0d2f3f6a2b11"


@pytest.mark.parametrize(
    ("pattern", "topic", "parts"),
    [
        ("offers", "offers", {}),
        ("orders:{pk}", "orders:42", {"pk": "42"}),
        ("orders:{pk}", "orders:abc", {"pk": "abc"}),
        ("orders:{pk}", "orders:0", {"pk": "0"}),
        ("orders:{pk:int}", "orders:42", {"pk": 42}),
        ("shops:{shop:slug}:orders:{pk:int}", "shops:main-1:orders:7", {"shop": "main-1", "pk": 7}),
        ("carts:{id:uuid}", f"carts:{ID}", {"id": UUID(ID)}),
        ("codes:{code:str}", "codes:007", {"code": "007"}),
    ],
)
def test_a_topic_gives_its_parts(pattern: str, topic: str, parts: dict[str, Any]) -> None:
    assert compile_pattern(pattern).match_topic(topic) == parts


@pytest.mark.parametrize("pattern", ["orders:{pk}", "orders:{pk:int}"])
@pytest.mark.parametrize("spelling", ["01", "+1", "1_0", "\u0661", "\uff11", "-0", "00", "0_1"])
def test_one_order_is_one_topic_whatever_its_spelling(pattern: str, spelling: str) -> None:
    assert compile_pattern(pattern).match_topic(f"orders:{spelling}") is None


@pytest.mark.parametrize("spelling", [ID.upper(), ID.replace("-", ""), f"{{{ID}}}", ID[:-1]])
def test_one_uuid_is_one_topic_whatever_its_spelling(spelling: str) -> None:
    assert compile_pattern("carts:{id:uuid}").match_topic(f"carts:{spelling}") is None


@pytest.mark.parametrize(
    "pattern",
    [
        *("orders:<int:pk>", "orders:{pk", "orders:pk}", "orders:{}", "orders:{1}", "orders:{pk:number}"),
        *("orders:{int:pk}", "{a}:{a}", "", " orders", "orders:{{pk}}", "orders:{p k}"),
    ],
)
def test_a_pattern_that_can_match_nothing_meant_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="'"):
        compile_pattern(pattern)

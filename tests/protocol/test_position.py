"""Positions on the wire: read back as they were, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.protocol import position
from session_mgmt.protocol.position import MAX_OFFSET, Position

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=64), st.integers(0, MAX_OFFSET), st.text(max_size=64))
def test_a_position_comes_back_from_the_wire_as_it_was(epoch: str, offset: int, tag: str) -> None:
    sent = Position(epoch, offset, tag)
    assert position.parse(sent.as_json()) == sent


@given(ANYTHING)
def test_anything_else_is_none_and_never_an_error(value: Any) -> None:
    found = position.parse(value)
    assert found is None or found.as_json() == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "e",
        [],
        ["e", 1],
        ["e", 1, "t", 2],
        ["e", -1, "t"],
        ["e", MAX_OFFSET + 1, "t"],
        ["e", True, "t"],
        ["e", 1.0, "t"],
        ["e", "1", "t"],
        [None, 1, "t"],
        ["e", 1, None],
        ["e" * 65, 1, "t"],
        ["e", 1, "t" * 65],
        {"epoch": "e", "offset": 1, "tag": "t"},
    ],
)
def test_a_lying_position_is_unreadable(value: Any) -> None:
    assert position.parse(value) is None


def test_two_positions_are_equal_only_if_all_three_parts_are() -> None:
    here = Position("e", 1, "t")
    assert here == Position("e", 1, "t")
    assert len({here, Position("x", 1, "t"), Position("e", 2, "t"), Position("e", 1, "u")}) == 4

"""RFC 6901 pointers and overlap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import pointer
from session_mgmt.documents.errors import InvalidPath
from session_mgmt.documents.values import MISSING
from tests.documents.values import KEYS, TEXTS

TOKENS = st.lists(TEXTS | st.text("~/01", max_size=4), max_size=5)
TOUCHED = st.builds(
    lambda mark, tokens: mark + pointer.format_pointer(tokens),
    st.sampled_from(["", "", "+", ">"]),
    st.lists(st.sampled_from(["a", "b", "a/", "a0", "~", ""]), max_size=3),
)


@pytest.mark.parametrize(
    ("path", "tokens"),
    [
        ("", ()),
        ("/", ("",)),
        ("//", ("", "")),
        ("/foo/0", ("foo", "0")),
        ("/a~1b", ("a/b",)),
        ("/m~0n", ("m~n",)),
        ("/~01", ("~1",)),
        ("/~10", ("/0",)),
        ("/c%d", ("c%d",)),
        ("/ ", (" ",)),
        ('/k"l', ('k"l',)),
    ],
)
def test_the_examples_of_rfc_6901(path: str, tokens: tuple[str, ...]) -> None:
    assert pointer.parse_pointer(path) == tokens
    assert pointer.format_pointer(tokens) == path


@pytest.mark.parametrize("path", ["a", "a/b", "/~", "/~2", "/a~/b", "/a/~~0", "#/a", " /a"])
def test_malformed_pointers_are_refused(path: str) -> None:
    with pytest.raises(InvalidPath):
        pointer.parse_pointer(path)


@given(TOKENS)
def test_tokens_survive_formatting_and_parsing(tokens: list[str]) -> None:
    assert pointer.parse_pointer(pointer.format_pointer(tokens)) == tuple(tokens)


@given(TOKENS, KEYS)
def test_a_child_has_its_parent(tokens: list[str], token: str) -> None:
    path = pointer.format_pointer(tokens)
    assert pointer.join_token(path, token) == pointer.format_pointer([*tokens, token])
    assert pointer.parent_of(pointer.join_token(path, token)) == path


def test_ancestors_come_nearest_first() -> None:
    assert list(pointer.iter_ancestors("/a/b/c")) == ["/a/b", "/a", ""]
    assert list(pointer.iter_ancestors("")) == []


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ("", "", True),
        ("", "/a", True),
        ("/a", "/a", True),
        ("/a", "/a/b", True),
        ("/a", "/ab", False),
        ("/a", "/b", False),
        ("/a/b", "/a/c", False),
        ("/a", "/a~1b", False),
        ("+/n", "+/n", False),
        ("+/n", "/n", True),
        ("+/n", "+/n/m", True),
        ("+/n", "/n/m", True),
        ("+/n", "", True),
        (">/l", ">/l", False),
        (">/l", "/l/0", True),
        (">/l", "+/l", True),
        ("+", "+", False),
    ],
)
def test_overlap_is_that_of_the_table(a: str, b: str, overlap: bool) -> None:
    assert pointer.are_overlapping(a, b) is pointer.are_overlapping(b, a) is overlap


@given(st.lists(TOUCHED, max_size=8), st.lists(TOUCHED, max_size=8))
def test_touches_finds_every_overlapping_pair(mine: list[str], theirs: list[str]) -> None:
    pairs = {(a, b) for a in mine for b in theirs if pointer.are_overlapping(a, b)}
    assert pointer.find_overlapping_pairs(mine, theirs) == sorted(pairs)


@given(st.lists(TOUCHED, max_size=8), TOUCHED)
def test_at_or_above_looks_upwards_only(theirs: list[str], path: str) -> None:
    upwards = [pointer.strip_mark(path), *pointer.iter_ancestors(pointer.strip_mark(path))]
    assert pointer.Touched(theirs).has_at_or_above(path) is any(
        pointer.strip_mark(other) in upwards for other in theirs
    )


@pytest.mark.parametrize("token", ["", "-", "-1", "+1", "01", "00", "1.0", "1e0", " 1", "\u0661", "\u00b2", "9" * 11])
def test_what_is_no_array_index(token: str) -> None:
    assert pointer.parse_index(token) is None


def test_array_indexes() -> None:
    assert [pointer.parse_index(token) for token in ("0", "7", "10", "9999999999")] == [0, 7, 10, 9_999_999_999]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", {"a": [1, {"b~/": 2}]}),
        ("/a/0", 1),
        ("/a/1/b~0~1", 2),
        ("/a/2", MISSING),
        ("/a/x", MISSING),
        ("/b", MISSING),
    ],
)
def test_a_pointer_finds_its_value_or_nothing(path: str, value: object) -> None:
    assert pointer.find_value({"a": [1, {"b~/": 2}]}, path) == value

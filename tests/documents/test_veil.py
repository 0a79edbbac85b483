"""Hidden paths: they say nothing, and still say what overlaps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import merge, pointer, veil

KEY = b"k" * 32
PATHS = st.builds(
    lambda mark, tokens: mark + pointer.format_pointer(tokens),
    st.sampled_from(["", "", pointer.ADDED, pointer.APPENDED]),
    st.lists(st.sampled_from(["a", "b", "", "~/", "0", "é"]), max_size=4),
)


@given(mine=st.lists(PATHS, max_size=6), theirs=st.lists(PATHS, max_size=6))
def test_conflicts_are_the_same_as_with_plain_paths(mine: list[str], theirs: list[str]) -> None:
    shown = veil.reveal_paths(KEY, veil.hide_paths(KEY, theirs), mine)
    assert merge.find_overlaps(mine, shown) == merge.find_overlaps(mine, theirs)


@given(mine=st.lists(PATHS, max_size=6), theirs=st.lists(PATHS, max_size=6))
def test_stored_paths_can_be_compared_with_each_other(mine: list[str], theirs: list[str]) -> None:
    hidden = veil.hide_paths(KEY, mine), veil.hide_paths(KEY, theirs)
    assert bool(pointer.find_overlapping_pairs(*hidden)) == bool(pointer.find_overlapping_pairs(mine, theirs))


def test_one_name_in_two_places_looks_like_two_names() -> None:
    ((first, second), (third,)) = (veil.hide_paths(KEY, ["/a/a", "/b"]), veil.hide_paths(KEY, ["/a"]))
    tokens = {*first.split("/")[1:], *second.split("/")[1:]}
    assert len(tokens) == 3 and third.split("/")[1] in tokens


def test_another_key_gives_other_names() -> None:
    assert veil.hide_paths(KEY, ["/a"]) != veil.hide_paths(b"l" * 32, ["/a"])


def test_what_nobody_knows_stays_hidden() -> None:
    hidden = veil.hide_paths(KEY, ["/a/secret", ">/list"])
    assert sorted(path[0] for path in hidden) == ["/", ">"]
    told = veil.reveal_paths(KEY, hidden, ["/a"])
    assert any(path.startswith("/a/") and "secret" not in path for path in told)
    assert not any("list" in path for path in told)

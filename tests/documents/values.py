"""Hypothesis strategies of JSON documents and of operations on them, small on purpose so that paths meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from session_mgmt.documents import pointer

SAFE = 2**53 - 1

KEYS = st.sampled_from(["a", "b", "0", "1", "-", "01", "", "a/b", "m~n", "é", "\U0001f600", "\ufb33"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
INTEGERS = st.integers(-SAFE, SAFE)
FLOATS = st.floats(-1e6, 1e6).filter(lambda number: number != int(number))
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | INTEGERS | FLOATS | TEXTS


def documents(
    keys: st.SearchStrategy[str] = KEYS, scalars: st.SearchStrategy[Any] = SCALARS, shortest: int = 0
) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, min_size=shortest, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


def operations_at(paths: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.tuples(st.just("set"), paths, values),
        st.tuples(st.just("del"), paths),
        st.tuples(st.just("ins"), paths, values),
        st.tuples(st.just("inc"), paths, st.integers(-5, 5)),
        st.tuples(st.just("obj"), paths),
    )


DOCUMENTS = documents()
WIDE = documents(keys=TEXTS)
PATHS = st.lists(KEYS | st.sampled_from(["2", "3", "00", "-1"]), max_size=3).map(pointer.format_pointer)
OPS = operations_at(PATHS, DOCUMENTS)
LISTS_OF_OPS = st.lists(OPS, max_size=6)

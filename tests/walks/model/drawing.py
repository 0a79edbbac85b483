"""What the rules draw from: few places and few values, so that clients meet."""

from __future__ import annotations

import hypothesis.strategies as st

TABS = st.integers(0, 2)
DOCS = st.sampled_from(["main", "main", "side"])
STRATEGIES = st.sampled_from([None, None, "merge", "server_wins", "client_wins", "reject", "manual"])

SCALARS = st.sampled_from([0, 1, True, False, None, "", "text", 1.5])
VALUES = SCALARS | st.sampled_from([{}, {"x": 1}, {"x": True, "y": 2}, [], [1, 2]])
PLACES = st.sampled_from(["/a", "/b", "/a/x", "/a/y", "/b/x/y", "/list", "/list/0", "/list/1/x", "/list/-"])

# Each array has the policy of its name (`POLICIES` of the machine), and is mostly used as it wants to be.
_ITEMS = st.builds(lambda key, value: {"id": key, "v": value}, st.integers(0, 3), SCALARS)
EDITS = st.one_of(
    st.tuples(st.just("set"), PLACES, VALUES),
    st.tuples(st.just("set"), PLACES, VALUES),
    st.tuples(st.just("ins"), st.sampled_from(["/list/0", "/list/-", "/list/9", "/a/x"]), VALUES),
    st.tuples(st.sampled_from(["del", "obj"]), PLACES),
    st.tuples(st.just("inc"), st.sampled_from(["/a", "/a/x", "/sum"]), st.sampled_from([1, -2, 0.5])),
    st.tuples(st.just("grow"), st.just("/log"), SCALARS),
    st.tuples(st.just("grow"), st.just("/tags"), st.integers(0, 5)),
    st.tuples(st.just("grow"), st.just("/items"), _ITEMS),
    st.tuples(st.just("shrink"), st.sampled_from(["/log", "/tags", "/items"])),
    st.tuples(st.just("set"), st.just("/items/0/v"), SCALARS),
)
WRITES = st.lists(EDITS, max_size=3)

_MEMBERS = st.dictionaries(st.sampled_from(["a", "b", "list"]), VALUES, max_size=2)
# An empty merge touches the whole document, and so would drop even what is only counted.
MERGES = st.tuples(st.just("merge"), st.builds(lambda some, a: {**some, "a": a}, _MEMBERS, VALUES))
PATCHES = st.tuples(
    st.just("patch"),
    st.lists(
        st.one_of(
            st.builds(lambda path, value: {"op": "add", "path": path, "value": value}, PLACES, VALUES),
            st.builds(lambda path: {"op": "remove", "path": path}, PLACES),
            st.builds(lambda path, value: {"op": "replace", "path": path, "value": value}, PLACES, VALUES),
            st.builds(lambda path, value: {"op": "test", "path": path, "value": value}, PLACES, VALUES),
            st.builds(lambda one, two: {"op": "move", "from": one, "path": two}, PLACES, PLACES),
            st.builds(lambda one, two: {"op": "copy", "from": one, "path": two}, PLACES, PLACES),
        ),
        min_size=1,
        max_size=2,
    ),
)
OPS = st.tuples(st.just("ops"), st.lists(st.tuples(st.just("set"), PLACES, VALUES).map(list), max_size=2))
WHOLES = st.tuples(st.just("data"), _MEMBERS)
# Main is never replaced as a whole: its counters are what is counted in the end.
OTHER_CHANGES = st.tuples(st.just("main"), MERGES | PATCHES) | st.tuples(st.just("side"), MERGES | PATCHES | WHOLES)
SERVER_CHANGES = st.tuples(st.just("main"), MERGES | PATCHES | OPS) | st.tuples(
    st.just("side"), MERGES | PATCHES | OPS | WHOLES
)
BLIND_CHANGES = st.tuples(st.just("main"), MERGES | OPS) | st.tuples(st.just("side"), MERGES | OPS | WHOLES)

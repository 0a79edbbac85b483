"""Conflation of a range: what is left of it, and what its frame says."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from session_mgmt.consumers.conflating import Conflation
from session_mgmt.consumers.pages import Page
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position

# Among them keys that Python takes for equal, and bodies that have none.
KEYS = st.sampled_from([0, 1, False, True, 1.5, "1", "", None, {"a": 1, "b": 2}, [1]])
KEYED = st.builds(lambda key: {"k": key, "v": 0}, KEYS)
BODIES = st.one_of(KEYED, KEYED, KEYED, KEYS, st.builds(dict))
A, B = {"k": "a"}, {"k": "b"}


def build_pages(after: Position, bodies: list[Any], size: int) -> list[Page]:
    entries = [Entry(after.offset + at, f"{at:016x}", orjson.dumps(body)) for at, body in enumerate(bodies, start=1)]
    pages: list[Page] = []
    for start in range(0, len(entries), size):
        pages.append(Page("topic:a", after, entries[start : start + size]))
        after = pages[-1].last
    return pages


def leave_newest(after: int, bodies: list[Any]) -> list[list[Any]]:
    """Model: an entry stays unless a later one has the same text as its key."""

    def read_key(body: Any) -> str | None:
        return orjson.dumps(body["k"]).decode() if isinstance(body, dict) and "k" in body else None

    keys = [read_key(body) for body in bodies]
    kept = [at for at, key in enumerate(keys) if key is None or key not in keys[at + 1 :]]
    return [[after + at + 1, f"{at + 1:016x}", bodies[at]] for at in kept]


@given(after=st.integers(0, 9), bodies=st.lists(BODIES, min_size=1, max_size=30), size=st.integers(1, 5))
@example(after=0, bodies=[A, B, A, 1, B, B], size=2)
@example(after=3, bodies=[A, B, A, B], size=9)
def test_the_newest_of_each_key_are_left_in_their_order(after: int, bodies: list[Any], size: int) -> None:
    place = Position("e", after, "t")
    conflation = Conflation("topic:a", "k", place)
    assert conflation.is_empty
    for page in build_pages(place, bodies, size):
        conflation.add(page)
    frame = orjson.loads(conflation.build_frame().payloads[0])
    entries = leave_newest(after, bodies)
    # Also as texts: to Python, 1 and true are equal.
    assert orjson.dumps(frame["entries"]) == orjson.dumps(entries)
    assert conflation.size == sum(len(orjson.dumps(entry)) for entry in entries)
    if len(entries) == len(bodies):
        assert frame.keys() == {"type", "log", "epoch", "entries"}
    else:
        last = ["e", after + len(bodies), f"{len(bodies):016x}"]
        assert (frame["prev"], frame["position"], frame["conflated"]) == (after, last, True)


@given(bodies=st.lists(BODIES, min_size=2, max_size=8), data=st.data())
def test_whoever_stands_inside_a_page_is_given_what_comes_after(bodies: list[Any], data: st.DataObject) -> None:
    (page,) = build_pages(Position("e", 0, ""), bodies, len(bodies))
    at = data.draw(st.integers(1, len(bodies) - 1))
    conflation = Conflation("topic:a", "k", Position("e", at, f"{at:016x}"))
    conflation.add(page)
    offsets = [entry[0] for entry in orjson.loads(conflation.build_frame().payloads[0])["entries"]]
    assert offsets[-1] == len(bodies) and min(offsets) > at

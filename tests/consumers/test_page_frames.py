"""Frames of pages, and the memory that pages may take."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.consumers import pages
from session_mgmt.consumers.pages import KEEP_SECONDS, MOST_BYTES, MOST_OF_LOG, Page, Shelf
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position
from tests.clocks import Clock

TAGS = st.text("0123456789abcdef", min_size=4, max_size=4)
BODIES = st.recursive(st.none() | st.integers(0, 99) | st.text(max_size=8), st.lists, max_leaves=4)


def page_of(after: Position, values: list[tuple[str, Any]]) -> Page:
    entries = [
        Entry(after.offset + number, tag, orjson.dumps(body)) for number, (tag, body) in enumerate(values, start=1)
    ]
    return Page("topic:a", after, entries)


def sized(count: int, size: int, after: int = 0) -> Page:
    return page_of(Position("e", after, ""), [("t", "x" * size)] * count)


@given(after=st.integers(0, 50), values=st.lists(st.tuples(TAGS, BODIES), min_size=1, max_size=6), end=st.booleans())
def test_whoever_stands_in_a_page_is_given_exactly_the_rest(
    after: int, values: list[tuple[str, Any]], end: bool
) -> None:
    start = Position("e", after, "first")
    page = page_of(start, values)
    whole = [[after + number, tag, body] for number, (tag, body) in enumerate(values, start=1)]
    for at in range(len(values)):
        place = Position("e", after + at, values[at - 1][0] if at else "first")
        assert page.continues(place)
        frame = page.build_frame(place, recovered=end)
        expected = {"type": "entries", "log": "topic:a", "epoch": "e", "entries": whole[at:]}
        assert orjson.loads(frame.payloads[0]) == (expected | {"recovered": True} if end else expected)
        assert frame.wire.endswith(frame.payloads[0])
    assert page.last == Position("e", after + len(values), values[-1][0])
    assert not page.continues(page.last)


def test_a_place_that_its_tag_does_not_prove_is_not_in_the_page() -> None:
    page = page_of(Position("e", 3, "a"), [("b", 1), ("c", 2)])
    assert page.continues(Position("e", 3, "a")) and page.continues(Position("e", 4, "b"))
    for place in (("e", 3, "x"), ("e", 4, "a"), ("other", 4, "b"), ("e", 2, ""), ("e", 5, "c")):
        assert not page.continues(Position(*place))


def test_whoever_stands_before_a_page_is_given_one_frame_for_all() -> None:
    page = page_of(Position("e", 0, ""), [("b", 1)])
    frames = {id(page.build_frame(page.after, recovered=end)) for end in (True, False, True, False)}
    assert len(frames) == 2


def shelf(clock: Clock) -> Shelf:
    return Shelf(clock, clock.call_later)


def test_a_log_keeps_so_many_pages_and_the_oldest_go() -> None:
    kept: list[Page] = []
    on = shelf(Clock())
    made = [sized(1, 10, after=number) for number in range(MOST_OF_LOG + 3)]
    for page in made:
        on.keep(page, kept)
    assert kept == made[3:]
    assert on.bytes == sum(page.size for page in kept)


def test_all_logs_together_keep_so_many_bytes() -> None:
    on = shelf(Clock())
    logs: list[list[Page]] = [[] for _ in range(20)]
    for number in range(200):
        on.keep(sized(4, 50_000), logs[number % 20])
        assert on.bytes <= MOST_BYTES
    left = [page for kept in logs for page in kept]
    assert on.bytes == sum(page.size for page in left) > MOST_BYTES // 2


def test_a_page_that_is_larger_than_all_may_be_is_not_kept() -> None:
    kept: list[Page] = []
    on = shelf(Clock())
    on.keep(sized(1, MOST_BYTES), kept)
    assert (kept, on.bytes) == ([], 0)


def test_each_page_goes_after_its_own_time() -> None:
    clock, kept = Clock(), list[Page]()
    on = shelf(clock)
    on.keep(first := sized(1, 1), kept)
    clock.now = KEEP_SECONDS / 2
    on.keep(second := sized(1, 1), kept)
    assert [at for at, _ in clock.timers] == [KEEP_SECONDS], "one timer for all"
    clock.now = KEEP_SECONDS
    clock.timers.pop()[1]()
    assert kept == [second] and first not in kept
    assert [at for at, _ in clock.timers] == [KEEP_SECONDS * 1.5]
    clock.now = KEEP_SECONDS * 1.5
    clock.timers.pop()[1]()
    assert (kept, on.bytes, clock.timers) == ([], 0, [])


def test_a_page_counts_for_no_less_than_it_takes() -> None:
    page = sized(200, 1000)
    frames = [page.build_frame(page.after, recovered=end) for end in (True, False)]
    taken = sum(len(frame.wire) + frame.size for frame in frames) + 200 * 1000
    assert page.size >= taken
    assert pages.COPIES == 5

"""Laws of `recovery.decide`, for any log and any position that a client may name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.protocol.position import MAX_OFFSET, Position
from session_mgmt.protocol.recovery import Mode, Reason, Verdict, Window, decide, is_dense


@dataclass(frozen=True)
class Log:
    """Log in memory, as a server would hold it: entries from ``oldest`` on, and the tag before them."""

    epoch: str
    tags: tuple[str, ...]
    oldest: int

    def tag(self, offset: int) -> str | None:
        if offset == 0:
            return ""
        held = self.oldest - 1 <= offset <= len(self.tags)
        return self.tags[offset - 1] if held else None

    def window(self, asked: int) -> Window:
        head = len(self.tags)
        return Window(Position(self.epoch, head, self.tag(head) or ""), self.oldest, self.tag(asked))


TAGS = st.text("0123456789abcdef", min_size=16, max_size=16)
EPOCHS = st.sampled_from(["a", "b"])


@st.composite
def logs(draw: st.DrawFn) -> Log:
    tags = draw(st.lists(TAGS, max_size=30, unique=True))
    return Log(draw(EPOCHS), tuple(tags), draw(st.integers(1, len(tags) + 1)))


@st.composite
def asked_of(draw: st.DrawFn, log: Log) -> Position:
    """True places, near misses and lies."""
    offset = draw(st.one_of(st.integers(0, len(log.tags) + 3), st.sampled_from([MAX_OFFSET - 1, MAX_OFFSET])))
    true = log.tag(offset)
    tag = draw(st.one_of(st.just(true if true is not None else "?"), TAGS, st.just("")))
    return Position(draw(st.one_of(st.just(log.epoch), EPOCHS)), offset, tag)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Log, Position, int]:
    log = draw(logs())
    return log, draw(asked_of(log)), draw(st.integers(1, 40))


def proves_itself(log: Log, asked: Position) -> bool:
    return asked.epoch == log.epoch and asked.tag == log.tag(asked.offset)


@given(cases())
def test_a_position_that_does_not_prove_itself_is_never_served_entries(case: tuple[Log, Position, int]) -> None:
    log, asked, most = case
    verdict = decide(asked, log.window(asked.offset), most=most)
    if not proves_itself(log, asked):
        assert verdict.mode is Mode.LOST


@given(cases())
def test_t6_entries_are_the_whole_range_after_the_position_and_all_are_held(case: tuple[Log, Position, int]) -> None:
    log, asked, most = case
    verdict = decide(asked, log.window(asked.offset), most=most)
    if verdict.mode is Mode.ENTRIES:
        assert (verdict.first, verdict.last) == (asked.offset + 1, len(log.tags))
        assert log.oldest <= verdict.first <= verdict.last
        assert verdict.last - verdict.first < most


@given(cases())
def test_up_to_date_is_said_at_the_head_and_nowhere_else(case: tuple[Log, Position, int]) -> None:
    log, asked, most = case
    window = log.window(asked.offset)
    verdict = decide(asked, window, most=most)
    assert (verdict.mode is Mode.UP_TO_DATE) == (asked == window.head)


@given(cases())
def test_a_true_position_within_the_log_is_never_told_a_loss(case: tuple[Log, Position, int]) -> None:
    log, asked, _ = case
    if proves_itself(log, asked) and asked.offset + 1 >= log.oldest:
        assert decide(asked, log.window(asked.offset)).mode is not Mode.LOST


@given(cases())
def test_a_loss_names_a_range_that_ends_at_the_head_or_none(case: tuple[Log, Position, int]) -> None:
    log, asked, most = case
    verdict = decide(asked, log.window(asked.offset), most=most)
    if verdict.mode is Mode.LOST:
        assert verdict.last == len(log.tags)
        assert verdict.first in (0, asked.offset + 1)


@given(log=logs(), shorter=st.integers(0, 30), more=st.lists(TAGS, max_size=30), asked=st.integers(1, 30))
def test_a_restored_log_serves_no_place_of_the_life_that_was_lost(
    log: Log, shorter: int, more: list[str], asked: int
) -> None:
    """Compare the same epoch and offsets with other entries: only the tag tells them apart."""
    if not shorter < asked <= len(log.tags):
        return
    before = Position(log.epoch, asked, log.tags[asked - 1])
    fresh = tuple("~" + tag for tag in more)
    restored = Log(log.epoch, log.tags[:shorter] + fresh, 1)
    assert decide(before, restored.window(asked)).reason is Reason.HISTORY_LOST


HEAD = Position("e", 100, "f" * 16)


@pytest.mark.parametrize(
    ("asked", "window", "expected"),
    [
        (HEAD, Window(HEAD), Verdict(Mode.UP_TO_DATE, Reason.NOTHING_MISSED)),
        (Position("e", 90, "a"), Window(HEAD, 1, "a"), Verdict(Mode.ENTRIES, Reason.MISSED, 91, 100)),
        (Position("x", 90, "a"), Window(HEAD, 1, "a"), Verdict(Mode.LOST, Reason.EPOCH_CHANGED, 0, 100)),
        (Position("e", 101, "a"), Window(HEAD, 1, None), Verdict(Mode.LOST, Reason.HISTORY_LOST, 0, 100)),
        (Position("e", 90, "b"), Window(HEAD, 1, "a"), Verdict(Mode.LOST, Reason.HISTORY_LOST, 0, 100)),
        (Position("e", 10, "a"), Window(HEAD, 50, None), Verdict(Mode.LOST, Reason.TRIMMED, 11, 100)),
        (Position("e", 49, "a"), Window(HEAD, 50, "a"), Verdict(Mode.ENTRIES, Reason.MISSED, 50, 100)),
        (Position("e", 0, ""), Window(HEAD, 1, None), Verdict(Mode.ENTRIES, Reason.MISSED, 1, 100)),
        (Position("e", 0, "a"), Window(HEAD, 1, None), Verdict(Mode.LOST, Reason.HISTORY_LOST, 0, 100)),
        (Position("e", 0, ""), Window(Position("e", 0, "")), Verdict(Mode.UP_TO_DATE, Reason.NOTHING_MISSED)),
    ],
)
def test_cases_by_name(asked: Position, window: Window, expected: Verdict) -> None:
    assert decide(asked, window) == expected


def test_more_than_a_recovery_may_replay_is_said_to_be_too_much() -> None:
    assert decide(Position("e", 0, ""), Window(HEAD), most=99).reason is Reason.TOO_MANY
    assert decide(Position("e", 0, ""), Window(HEAD), most=100).mode is Mode.ENTRIES


@given(st.lists(st.integers(0, 20), max_size=10), st.integers(0, 20))
def test_only_a_page_without_hole_that_starts_right_after_is_dense(offsets: list[int], after: int) -> None:
    assert is_dense(offsets, after=after) == (offsets == list(range(after + 1, after + 1 + len(offsets))))

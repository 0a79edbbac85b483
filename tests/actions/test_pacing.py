"""Chunks of the cleanup take a few milliseconds each, and leave time for others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_mgmt.actions.pacing import FIRST, GOAL, LEAST, REST, SQLITE_GOAL, Pace


class Work:
    """Chunks that work so many seconds a row and wait for ``idle`` more; ``sizes`` are those asked for, ``rests`` the
    times between them.
    """

    def __init__(self, seconds: float, *, most: int = 1000, is_sqlite: bool = True) -> None:
        self.seconds, self.worked, self.now = seconds, 0.0, 0.0
        self.idle = self.writing_back = 0.0
        self.sizes: list[int] = []
        self.rests: list[float] = []
        self.written_back: list[float] = []
        self.pace = Pace(
            most,
            is_sqlite=is_sqlite,
            write_back=self.write_back,
            timer=lambda: self.worked,
            clock=lambda: self.now,
            sleep=self.rests.append,
        )

    def write_back(self) -> None:
        assert len(self.written_back) == len(self.rests)
        self.now += self.writing_back
        self.written_back.append(self.now)

    def chunk(self, size: int) -> int:
        self.sizes.append(size)
        self.worked += self.seconds * size
        self.now += self.seconds * size + self.idle
        return size

    def run(self, times: int, chunk: Callable[[int], int] | None = None) -> list[tuple[int, bool]]:
        return [self.pace.run(chunk or self.chunk) for _ in range(times)]


def test_chunks_grow_while_they_are_quick_and_stay_within_the_setting() -> None:
    work = Work(1e-6)
    work.run(6)
    assert work.sizes == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 1000, 1000]


@pytest.mark.parametrize(
    ("is_sqlite", "milliseconds", "goal"),
    [(True, 0.1, SQLITE_GOAL), (True, 0.5, SQLITE_GOAL), (True, 1.0, SQLITE_GOAL), (False, 0.1, GOAL)],
)
def test_chunks_take_the_time_they_may(is_sqlite: bool, milliseconds: float, goal: float) -> None:
    work = Work(milliseconds / 1000, is_sqlite=is_sqlite)
    work.run(10)
    assert work.sizes[-1] * work.seconds == pytest.approx(goal, rel=0.1)


def test_chunks_shrink_at_once_when_rows_become_slow_and_never_below_a_few() -> None:
    work = Work(1e-6)
    work.run(6)
    work.seconds = 1.0
    work.run(8)
    assert work.sizes[6:9] == [1000, 500, 250]
    assert work.sizes[-1] == LEAST


def test_a_setting_below_that_holds() -> None:
    work = Work(1.0, most=3)
    work.run(3)
    assert work.sizes == [3, 3, 3]


def test_on_sqlite_others_have_twice_the_time_of_each_chunk() -> None:
    work = Work(1e-4)
    work.run(3)
    assert work.rests == pytest.approx([REST * size * 1e-4 for size in work.sizes])


# How long SQLite pauses between two looks at a lock (sqliteDefaultBusyCallback of its main.c); the last one repeats.
BUSY_PAUSES = (0.001, 0.002, 0.005, 0.010, 0.015, 0.020, 0.025, 0.025, 0.025, 0.050, 0.050, 0.100)


def wait_for_lock(held: float, came: float) -> float:
    """Return when a writer that came in the middle of a chunk looks for the first time after it."""
    now, pauses = came, iter(BUSY_PAUSES)
    while now < held:
        now += next(pauses, BUSY_PAUSES[-1])
    return now


@pytest.mark.parametrize("idle", [0.0, 0.005, 0.03, 0.1, 0.4, 2.0])
def test_on_sqlite_a_writer_that_waits_is_let_in_after_the_chunk(idle: float) -> None:
    work = Work(SQLITE_GOAL / FIRST)
    work.idle = idle
    work.run(1)
    (rest,) = work.rests
    came = [work.now * part / 100 for part in range(100)]
    assert all(wait_for_lock(work.now, moment) <= work.now + rest for moment in came)


def test_on_postgres_slow_commits_make_no_smaller_chunks() -> None:
    work = Work(1.0, is_sqlite=False)
    work.run(3)
    assert work.sizes == [FIRST] * 3


def test_on_sqlite_pages_are_written_back_before_the_rest_which_is_as_long_as_both_took() -> None:
    work = Work(1e-5)
    work.writing_back = 0.5
    work.run(1)
    assert work.written_back == [work.now]
    assert work.rests == [work.now]
    assert work.pace.size == 2 * FIRST


def test_on_postgres_nobody_waits_for_a_rest() -> None:
    work = Work(1e-4, is_sqlite=False)
    work.run(2)
    assert work.rests == work.written_back == []


def test_only_a_full_chunk_means_that_there_may_be_more() -> None:
    work = Work(0.0)
    assert work.run(1) == [(FIRST, True)]
    assert work.run(1, lambda size: size - 1) == [(2 * FIRST - 1, False)]

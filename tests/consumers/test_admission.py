"""Who may wait to be connected: as many as the measured pace can serve in two seconds, and the others come again."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from session_mgmt.bridge import bridge
from session_mgmt.consumers import admission as admission_module
from session_mgmt.consumers.admission import (
    ALWAYS_ADMITTED,
    FIRST_PACE,
    HICCUP_SECONDS,
    HICCUPS,
    LONGEST_WAIT,
    MEASURED_GROUPS,
    MEASURED_SECONDS,
    Admission,
)
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import Busy
from tests.clocks import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(clock, spread=lambda: 0.5)


def run_group(admission: Admission, clock: Clock, members: int, seconds: float, *, load: bool = True) -> None:
    taken_at = clock.now
    clock.now += seconds
    admission.note_group(members, taken_at=taken_at, is_under_load=load)


def admit_all(admission: Admission, stack: ExitStack) -> Busy:
    """Admit until one is refused."""
    for _ in range(100_000):
        try:
            stack.enter_context(admission.admit())
        except Busy as refusal:
            return refusal
    raise AssertionError("everybody was admitted")


def test_as_many_may_wait_as_are_served_in_two_seconds(admission: Admission, clock: Clock) -> None:
    run_group(admission, clock, 100, 0.1)
    assert admission.pace == pytest.approx(1000)
    with ExitStack() as stack:
        refusal = admit_all(admission, stack)
        assert admission.waiting == 1999
        # As long as those before it need, and its turn.
        assert refusal.retry_after == pytest.approx(1.999 + 0.001, abs=0.0001)
    assert admission.waiting == 0


def refuse_all(admission: Admission, count: int) -> list[float]:
    """Refuse as many, and return after how many seconds each is to come again."""
    with ExitStack() as stack:
        refusals = [admit_all(admission, stack) for _ in range(count)]
    assert all(refusal.temporary for refusal in refusals)
    return [refusal.retry_after for refusal in refusals if refusal.retry_after is not None]


def test_the_refused_come_again_one_after_the_other_at_the_pace(admission: Admission, clock: Clock) -> None:
    waits = refuse_all(admission, 100)
    assert waits == pytest.approx([LONGEST_WAIT + turn / FIRST_PACE for turn in range(100)], abs=0.01)
    clock.now += 0.1
    # Those who were refused before keep their turns.
    assert refuse_all(admission, 1) == pytest.approx([LONGEST_WAIT + 100 / FIRST_PACE - 0.1], abs=0.01)
    clock.now += 1.0
    assert refuse_all(admission, 1) == pytest.approx([LONGEST_WAIT], abs=0.01)


def test_if_more_are_refused_than_fit_they_spread_over_as_long_again(clock: Clock) -> None:
    for chance, factor in ((0.0, 1.0), (0.999, 1.999)):
        admission = Admission(clock, spread=lambda chance=chance: chance)
        waits = refuse_all(admission, int(LONGEST_WAIT * FIRST_PACE) + 100)
        assert waits[-100:] == pytest.approx([LONGEST_WAIT * factor] * 100, rel=0.01)
        assert max(waits) <= 2 * LONGEST_WAIT


def test_the_pace_is_that_of_the_last_groups_under_load(admission: Admission, clock: Clock) -> None:
    assert admission.pace == FIRST_PACE
    run_group(admission, clock, 1, 0.5, load=False)
    assert admission.pace == FIRST_PACE, "a single connect says nothing about a storm"
    for _ in range(HICCUPS + 1):
        run_group(admission, clock, 10, 1.0)
    assert admission.pace == pytest.approx(10)
    for _ in range(MEASURED_GROUPS):
        run_group(admission, clock, 128, 0.1)
    assert admission.pace == pytest.approx(1280)


def test_single_connects_show_that_a_cold_start_is_over(admission: Admission, clock: Clock) -> None:
    run_group(admission, clock, 1, 1.0)
    for _ in range(MEASURED_GROUPS):
        run_group(admission, clock, 1, 0.002, load=False)
    assert admission.pace == pytest.approx(500)


def test_what_the_loop_does_between_two_groups_counts(admission: Admission, clock: Clock) -> None:
    run_group(admission, clock, 100, 0.1)
    for _ in range(HICCUPS + 1):
        # The lane took the next group at once; its answers waited for the loop.
        taken_at = clock.now - 0.05
        clock.now += 0.3
        admission.note_group(100, taken_at=taken_at, is_under_load=True)
    assert admission.pace == pytest.approx(400 / 1.0)


def test_idle_time_between_two_groups_does_not_count(admission: Admission, clock: Clock) -> None:
    run_group(admission, clock, 100, 0.1)
    clock.now += MEASURED_SECONDS / 2
    run_group(admission, clock, 100, 0.1)
    assert admission.pace == pytest.approx(1000)


def test_a_slower_machine_admits_fewer(admission: Admission, clock: Clock) -> None:
    for _ in range(HICCUPS + 1):
        run_group(admission, clock, 128, 1.0)
    with ExitStack() as stack:
        admit_all(admission, stack)
        assert admission.waiting == 255


@pytest.mark.parametrize("before", (0, MEASURED_GROUPS - 1))
def test_a_disk_that_stops_for_a_moment_sends_nobody_away(admission: Admission, clock: Clock, before: int) -> None:
    for _ in range(before):
        run_group(admission, clock, 32, 0.032)
    usual = admission.pace
    for _ in range(HICCUPS):
        run_group(admission, clock, 32, HICCUP_SECONDS / HICCUPS)
        # Counted in full, one of them would leave room for no more than the 128 who always fit.
        assert admission.pace > usual / 2
    with ExitStack() as stack:
        for _ in range(800):
            stack.enter_context(admission.admit())


def test_a_database_that_stays_slow_refuses_within_a_few_groups(admission: Admission, clock: Clock) -> None:
    for _ in range(MEASURED_GROUPS):
        run_group(admission, clock, 32, 0.032)
    for _ in range(HICCUPS + 1):
        run_group(admission, clock, 32, 1.0)
    with ExitStack() as stack:
        refusal = admit_all(admission, stack)
        # A tenth of those who may wait when it is quick.
        assert admission.waiting < 2 * ALWAYS_ADMITTED
        assert refusal.retry_after is not None and refusal.retry_after > LONGEST_WAIT / 2
    for _ in range(MEASURED_GROUPS - HICCUPS - 1):
        run_group(admission, clock, 32, 1.0)
    assert admission.pace == pytest.approx(32)


def test_a_stop_that_is_longer_than_a_hiccup_counts_at_once(admission: Admission, clock: Clock) -> None:
    run_group(admission, clock, 32, HICCUP_SECONDS + 3.0)
    assert admission.pace == pytest.approx(32 / 3.0)
    with ExitStack() as stack:
        admit_all(admission, stack)
        assert admission.waiting == ALWAYS_ADMITTED


def test_a_cold_start_refuses_nobody_who_fits_into_a_group_nor_sends_others_away_for_long(
    admission: Admission, clock: Clock
) -> None:
    run_group(admission, clock, 1, 60.0)
    with ExitStack() as stack:
        refusal = admit_all(admission, stack)
        assert admission.waiting == ALWAYS_ADMITTED
        # At this pace there is not one turn in that time.
        assert refusal.retry_after == pytest.approx(MEASURED_SECONDS * 1.5)


def test_a_database_that_was_away_for_a_moment_is_not_slow_for_ever(admission: Admission, clock: Clock) -> None:
    run_group(admission, clock, 1, 60.0)
    # Whoever is let in alone shows that it is faster now.
    run_group(admission, clock, 1, 0.01, load=False)
    assert 1 / 60 < admission.pace < 1
    clock.now += MEASURED_SECONDS
    assert admission.pace == FIRST_PACE


def test_whoever_fails_or_leaves_waits_no_longer(admission: Admission) -> None:
    with pytest.raises(LookupError), admission.admit():
        raise LookupError
    assert admission.waiting == 0


# -- through the consumer --------------------------------------------------------------------------------------------


async def test_a_connect_too_many_is_refused_before_any_work_and_told_when_to_come_again(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={"topic:room:1": None})
    monkeypatch.setattr(admission_module, "LONGEST_WAIT", 0.0)
    hub().arrivals.admission.waiting = ALWAYS_ADMITTED
    monkeypatch.setattr(hub().arrivals, "attach", lambda frame: pytest.fail("something was done for it"))
    refused = peers()
    # Not even read: this is no connect at all.
    await refused.handshake()
    await refused.say(type="nonsense")
    told = await refused.next()
    assert (told["type"], told["name"], told["temporary"]) == ("error", "busy", True)
    bye = await refused.until_type("bye")
    assert (bye["code"], bye["name"], bye["reconnect"]) == (4013, "unavailable", True)
    assert bye["retry_after"] == told["retry_after"] >= 0
    assert await refused.closed() == 4013
    # Whoever is connected is served on.
    await one.say(type="publish", seq=1, topic="room:1", data="still here")
    assert [entry[2] for entry in await one.entry("topic:room:1")] == ["still here"]
    assert connected["type"] == "connected"


async def test_connects_of_one_turn_go_together(peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = peers()
    await first.open(created.token.secret)
    sizes: list[int] = []
    connect = bridge().connect

    def count(asks: list[Any]) -> None:
        sizes.append(len(asks))
        connect(asks)

    monkeypatch.setattr(bridge(), "connect", count)
    group = [peers() for _ in range(8)]
    for peer in group:
        await peer.handshake()
    answers = await asyncio.gather(*(self_open(peer, created.token.secret) for peer in group))
    assert [answer["type"] for answer in answers] == ["connected"] * 8
    assert sum(sizes) == 8 and len(sizes) < 8


async def self_open(peer: Any, token: str) -> Any:
    await peer.say(type="connect", token=token, client_id=None, logs={}, acked=0)
    return await peer.next()

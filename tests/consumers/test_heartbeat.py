"""Signs of life with a clock of the test's own: when beats come, when they count as missed, and when a peer is lost."""

from __future__ import annotations

import pytest

from session_mgmt.consumers.heartbeat import FIRST_SPREAD, GRACE, SPREAD, Heartbeat

TICK = 0.5


class Peer:
    """Peer that answers each beat after ``rtt`` seconds until it is gone; the wheel comes as late as it ever does."""

    def __init__(self, interval: float, limit: int, *, rtt: float = 0.05, late: float = 0.6) -> None:
        self.now, self.rtt, self.late = 1000.0, rtt, late
        self.heart = Heartbeat(self.now, interval, limit, tick=TICK)
        self.answers: list[tuple[float, int]] = []
        self.beats: list[float] = []
        self.missed: list[int] = []
        self.lost_at: float | None = None
        self.is_gone = False

    def run_until(self, until: float) -> None:
        while self.lost_at is None and self.heart.due_at <= until:
            # On the wheel a slot begins up to a tick before what is due in it, and is turned up to ``late`` after that.
            turn_at = max(self.heart.due_at // TICK * TICK + self.late, self.now + 0.4)
            for at, ping in [answer for answer in self.answers if answer[0] <= turn_at]:
                self.answers.remove((at, ping))
                self.heart.heard_at = at
                self.heart.take_pong(ping, at)
            self._turn(turn_at)
        self.now = max(self.now, until)

    def _turn(self, now: float) -> None:
        self.now = now
        turn = self.heart.turn(now)
        if turn.missed:
            self.missed.append(turn.missed)
        if turn.is_lost:
            self.lost_at = now
        elif turn.is_due:
            self.beats.append(now)
            if not self.is_gone:
                self.answers.append((now + self.rtt, self.heart.beats))


@pytest.mark.parametrize("interval", [2.0, 5.0, 25.0])
@pytest.mark.parametrize("limit", [2, 3])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("late", [0.0, 0.6])
def test_a_peer_that_is_gone_is_found_within_interval_times_limit_and_a_second(
    interval: float, limit: int, phase: float, late: float
) -> None:
    peer = Peer(interval, limit, late=late)
    peer.run_until(1000 + 10 * interval + phase * interval)
    last = max([peer.heart.heard_at, *(at for at, _ in peer.answers)])
    peer.is_gone = True
    peer.run_until(peer.now + 10 * interval)
    assert peer.lost_at is not None
    assert interval * limit <= peer.lost_at - last <= interval * limit + 1
    assert peer.missed == list(range(1, limit + 1))


@pytest.mark.parametrize("late", [0.0, 0.6])
def test_a_peer_that_answers_misses_nothing_and_is_asked_once_in_each_interval(late: float) -> None:
    peer = Peer(25.0, 3, rtt=0.2, late=late)
    peer.run_until(1000 + 100 * 25)
    assert peer.missed == [] and peer.lost_at is None
    gaps = [after - before for before, after in zip(peer.beats, peer.beats[1:], strict=False)]
    assert max(gaps) <= 25.6 and min(gaps) >= 25 * (1 - SPREAD) - 3 * TICK


def test_those_who_come_together_are_not_asked_together() -> None:
    first = [Heartbeat(0.0, 25.0, 3, tick=TICK).due_at for _ in range(200)]
    assert 25 * (1 - FIRST_SPREAD) - TICK <= min(first) < 15 and 22 < max(first) <= 25 - TICK


def test_a_peer_that_answers_late_misses_one_and_is_kept() -> None:
    peer = Peer(4.0, 3, rtt=5.0)
    peer.run_until(1000 + 40)
    assert set(peer.missed) == {1} and peer.lost_at is None


def test_a_process_that_stood_still_counts_nothing_against_the_peer() -> None:
    peer = Peer(5.0, 2)
    peer.run_until(1100)
    stood_until = peer.now + 600
    assert peer.heart.turn(stood_until).missed == 0
    # It is asked now, and its answer may be on its way.
    again = peer.heart.turn(stood_until + GRACE / 2)
    assert not again.is_lost and peer.heart.missed_in_a_row == 0


def test_a_shorter_interval_counts_at_once() -> None:
    peer = Peer(60.0, 3)
    peer.run_until(1010)
    peer.is_gone = True
    peer.heart.configure(peer.now, 2.0, 2)
    assert peer.heart.due_at <= peer.now + 2.0
    configured = peer.now
    peer.run_until(1100)
    # It said something just before, or it could not have wished.
    assert peer.lost_at is not None and peer.lost_at - configured <= 2 * 2 + 1


def test_after_an_answer_the_next_turn_is_that_of_the_next_beat() -> None:
    heart = Heartbeat(0.0, 25.0, 3)
    while not heart.turn(now := heart.due_at).is_due:
        pass
    assert heart.due_at > now
    heart.heard_at = now + 0.02
    heart.take_pong(heart.beats, now + 0.02)
    assert heart.turn(heart.due_at).is_due


def test_round_trips_are_told_as_last_average_p95_and_jitter() -> None:
    heart = Heartbeat(0.0, 1.0, 3)
    assert (heart.rtt_ms, heart.rtt_average_ms, heart.rtt_p95_ms, heart.rtt_jitter_ms) == (None, None, None, None)
    for rtt in [0.02] * 30 + [0.5, 0.02]:
        while not heart.turn(now := heart.due_at).is_due:
            pass
        heart.heard_at = now + rtt
        heart.take_pong(heart.beats, now + rtt)
        heart.take_pong(heart.beats - 1, now + 9)
    assert heart.rtt_ms == 20.0
    assert heart.rtt_p95_ms == 20.0
    assert heart.rtt_jitter_ms == pytest.approx(2 * 480 / 31, abs=0.1)
    assert 20 < heart.rtt_average_ms < 100  # type: ignore[operator]

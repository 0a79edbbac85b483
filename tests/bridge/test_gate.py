"""Gate of SQLite's writer: the lane and the rare verbs pass it in turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

from session_mgmt.bridge.gate import Gate

PATIENCE = 60.0


class Order:
    """Threads that come to the gate one after the other while somebody holds it, and the order in which they pass."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self.passed = gate, list[str]()
        self._pool = ThreadPoolExecutor(16)
        self._futures: list[Future[None]] = []

    def come(self, name: str, enter: Callable[[], AbstractContextManager[object]]) -> None:
        """Let a thread come, and wait until it stands in its queue."""
        before = sum(self._gate.count_waiting())
        self._futures.append(self._pool.submit(self._pass, name, enter))
        ticks = threading.Event()
        while sum(self._gate.count_waiting()) == before:
            assert not self._futures[-1].done()
            ticks.wait(0.001)

    def _pass(self, name: str, enter: Callable[[], AbstractContextManager[object]]) -> None:
        with enter():
            self.passed.append(name)

    def finish(self) -> list[str]:
        for future in self._futures:
            future.result(PATIENCE)
        self._pool.shutdown()
        return self.passed


def test_the_lane_waits_for_one_rare_verb_however_many_wait() -> None:
    gate = Gate()
    order = Order(gate)
    with gate:
        for number in range(4):
            order.come(f"rare {number}", lambda: gate)
        order.come("lane", gate.enter_as_lane)
    assert order.finish() == ["lane", "rare 0", "rare 1", "rare 2", "rare 3"]


def test_between_two_groups_of_the_lane_goes_one_rare_verb() -> None:
    gate = Gate()
    order = Order(gate)
    with gate.enter_as_lane():
        for number in range(3):
            order.come(f"lane {number}", gate.enter_as_lane)
        for number in range(3):
            order.come(f"rare {number}", lambda: gate)
    assert order.finish() == ["rare 0", "lane 0", "rare 1", "lane 1", "rare 2", "lane 2"]


def test_a_write_waits_for_one_group_of_connects_or_one_rare_verb_and_those_take_turns() -> None:
    gate = Gate()
    order = Order(gate)
    with gate.enter_as_lane():
        for number in range(3):
            order.come(f"lane {number}", gate.enter_as_lane)
            order.come(f"rare {number}", lambda: gate)
            order.come(f"connects {number}", gate.enter_connecting)
    passed = order.finish()
    assert passed[0::2][:3] == ["connects 0", "rare 0", "connects 1"]
    assert passed[1::2][:3] == ["lane 0", "lane 1", "lane 2"]
    assert passed[6:] == ["rare 1", "connects 2", "rare 2"]


def test_connects_alone_have_every_turn() -> None:
    gate = Gate()
    order = Order(gate)
    with gate.enter_connecting():
        for number in range(3):
            order.come(f"connects {number}", gate.enter_connecting)
        order.come("rare", lambda: gate)
    assert order.finish() == ["rare", "connects 0", "connects 1", "connects 2"]


def test_who_holds_the_gate_may_enter_again_and_nobody_else_comes_in() -> None:
    gate = Gate()
    order = Order(gate)
    with gate:
        with gate, gate.enter_as_lane():
            order.come("other", lambda: gate)
        assert order.passed == []
    assert order.finish() == ["other"]


def test_a_failure_inside_opens_the_gate() -> None:
    gate = Gate()
    for enter in (lambda: gate, gate.enter_as_lane):
        try:
            with enter():
                raise LookupError
        except LookupError:
            pass
    order = Order(gate)
    with gate:
        order.come("next", gate.enter_as_lane)
    assert order.finish() == ["next"]

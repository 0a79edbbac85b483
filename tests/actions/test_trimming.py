"""Portions of many logs: none has too many rows, all that is due goes, and little is looked at in vain."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from session_mgmt.actions.trimming import Front, Queue


@dataclass
class Logs:
    """Logs with so many rows that are due, and what was taken of each."""

    due: dict[str, int]
    taken: list[dict[str, int]] = field(default_factory=list)
    looked_at: int = 0

    def trim(self, limit: int) -> None:
        queue = Queue.of(self.due)
        while queue.logs:
            most = queue.find_most(limit)
            found = {log: Front(1, min(self.due[log], most)) for log in queue.take(limit) if log in self.due}
            self.looked_at += sum(1 + front.rows for front in found.values())
            going = queue.settle(found, limit=limit)
            self.taken.append({log: front.rows for log, front in going.items()})
            for log, front in going.items():
                self.due[log] -= front.rows


@pytest.mark.parametrize("limit", [1, 7, 64, 1000])
@pytest.mark.parametrize(
    "sizes", [[0], [1] * 300, [100] * 9, [0, 5000, 3], [1] * 200 + [900] * 20, [900] * 5 + [2] * 90]
)
def test_all_that_is_due_goes_in_portions_of_the_limit(sizes: list[int], limit: int) -> None:
    logs = Logs({str(number): size for number, size in enumerate(sizes)})
    logs.trim(limit)
    assert set(logs.due.values()) == {0}
    assert all(sum(portion.values()) <= limit for portion in logs.taken)
    # A row may be looked at again by the portion that takes it, and so may what the portion has no room for.
    assert logs.looked_at <= 6 * (sum(sizes) + limit + len(sizes))
    # Few portions where there is much: a log that is not done stays in front.
    assert len(logs.taken) <= 2 * sum(sizes) / limit + 8 * len(sizes) / limit + 8


def test_logs_that_are_not_done_stay_in_front_in_their_order() -> None:
    queue = Queue.of("abc")
    assert queue.take(24) == ["a", "b", "c"] and queue.find_most(24) == 24
    going = queue.settle({"a": Front(5, 24), "b": Front(1, 3)}, limit=24)
    assert going == {"a": Front(5, 24)}
    assert list(queue.logs) == ["a", "b", "c"]


def test_a_log_that_is_gone_is_taken_off() -> None:
    queue = Queue.of("ab")
    assert queue.settle({"b": Front(1, 2)}, limit=16) == {"b": Front(1, 2)}
    assert not queue.logs


def test_of_two_long_logs_both_stay_in_their_order_while_there_is_room() -> None:
    queue = Queue.of("abcdefgh")
    going = queue.settle({"a": Front(1, 24), "c": Front(1, 32), "d": Front(1, 32)}, limit=64)
    assert going == {"a": Front(1, 24), "c": Front(1, 32), "d": Front(1, 8)}
    assert list(queue.logs) == ["c", "d", "e", "f", "g", "h"]

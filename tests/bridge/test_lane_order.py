"""The two lanes keep each client's order, whatever is locked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from session_mgmt.actions import group_commit
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.group_commit import LOCKED, Group, Write
from session_mgmt.actions.outcome import refuse_write
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.bridge.lane import Lane, QueuedWrite
from session_mgmt.conf import settings
from session_mgmt.exceptions import Busy

WAIT = 60.0


def number(client: int, seq: int) -> Write:
    return Write(Publication("t", b"1"), Fence(client, f"c_{client}", 1, seq, b""))


class Transactions:
    """Stands in for the database: the first write of client 1 finds its row locked, and more comes meanwhile."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.carried_out: list[tuple[bool, int, int]] = []
        self.done = threading.Event()
        self._met = False

    def __call__(self, using: str, writes: Any, group: Group, *, wait: bool = False, **looks: Any) -> None:
        for one in writes:
            group.decisions.append(self._decide(one.fence, wait))
        if len(self.carried_out) == 4:
            self.done.set()

    def _decide(self, fence: Fence, wait: bool) -> Any:
        if not self._met:
            self._met = True
            for one in (number(1, 2), number(2, 1), number(1, 3)):
                self.submit(one)
            return LOCKED
        self.carried_out.append((wait, fence.client, fence.seq))
        return refuse_write(Busy())

    def submit(self, one: Write) -> None:
        assert self.lane.submit(QueuedWrite(one, None, lambda group, results: None))


def test_what_a_client_sent_after_a_locked_write_waits_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane("default", nullcontext)
    transactions = Transactions(lane)
    monkeypatch.setattr(group_commit, "write_group", transactions)
    transactions.submit(number(1, 1))
    assert transactions.done.wait(WAIT)
    lane.stop()
    slow = [(client, seq) for wait, client, seq in transactions.carried_out if wait]
    fast = [(client, seq) for wait, client, seq in transactions.carried_out if not wait]
    assert slow == [(1, 1), (1, 2), (1, 3)]
    assert fast == [(2, 1)]


def test_what_comes_while_a_group_waits_for_the_gate_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    stands, opens, done = threading.Event(), threading.Event(), threading.Event()
    groups: list[list[int]] = []

    @contextmanager
    def gate() -> Iterator[None]:
        stands.set()
        assert opens.wait(WAIT)
        yield

    def write(using: str, writes: Any, group: Group, **_: Any) -> None:
        groups.append([one.fence.seq for one in writes])
        group.decisions += [refuse_write(Busy())] * len(writes)

    answered: list[int] = []

    def answer(group: Group, results: list[tuple[Any, Any]]) -> None:
        answered.extend(token for token, _ in results)
        if len(answered) >= settings().lane_batch:
            done.set()

    lane = Lane("default", gate)
    monkeypatch.setattr(group_commit, "write_group", write)
    lane.submit(QueuedWrite(number(1, 1), 1, answer))
    assert stands.wait(WAIT)
    # Somebody else's group is being written; as many writes come as fill this one, and one more.
    for seq in range(2, settings().lane_batch + 2):
        lane.submit(QueuedWrite(number(1, seq), seq, answer))
    opens.set()
    assert done.wait(WAIT)
    lane.stop()
    assert [len(group) for group in groups] == [settings().lane_batch, 1]
    assert answered == [seq for group in groups for seq in group] == list(range(1, settings().lane_batch + 2))

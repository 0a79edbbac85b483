"""The two lanes keep each client's order, whatever is locked."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pytest

from session_mgmt.actions import group_commit
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.group_commit import LOCKED, Group, Write
from session_mgmt.actions.outcome import refuse_write
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.bridge.lane import Lane, QueuedWrite
from session_mgmt.exceptions import Busy

WAIT = 30.0


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

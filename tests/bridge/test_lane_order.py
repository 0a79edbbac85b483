"""The two lanes keep each client's order, whatever is locked."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pytest

from session_mgmt.actions import group_commit
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.group_commit import HELD, Group, Member
from session_mgmt.actions.outcome import refused
from session_mgmt.actions.topics.streams import Publication
from session_mgmt.bridge.lane import Lane, Waiting
from session_mgmt.exceptions import Busy

WAIT = 10.0


def write(client: int, seq: int) -> Member:
    return Member(Publication("t", b"1"), Fence(client, f"c_{client}", 1, seq, b""))


class Transactions:
    """Stands in for the database: the first write of client 1 finds its row locked, and more comes meanwhile."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.carried_out: list[tuple[bool, int, int]] = []
        self.done = threading.Event()
        self._met = False

    def __call__(self, using: str, members: Any, group: Group, *, wait: bool = False) -> None:
        for member in members:
            group.decisions.append(self._decide(member.fence, wait))
        if len(self.carried_out) == 4:
            self.done.set()

    def _decide(self, fence: Fence, wait: bool) -> Any:
        if not self._met:
            self._met = True
            for member in (write(1, 2), write(2, 1), write(1, 3)):
                self.submit(member)
            return HELD
        self.carried_out.append((wait, fence.client, fence.seq))
        return refused(Busy())

    def submit(self, member: Member) -> None:
        assert self.lane.submit(Waiting(member, None, lambda group, results: None))


def test_what_a_client_sent_after_a_held_write_waits_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane("default", nullcontext())
    transactions = Transactions(lane)
    monkeypatch.setattr(group_commit, "execute", transactions)
    transactions.submit(write(1, 1))
    assert transactions.done.wait(WAIT)
    lane.stop()
    slow = [(client, seq) for wait, client, seq in transactions.carried_out if wait]
    fast = [(client, seq) for wait, client, seq in transactions.carried_out if not wait]
    assert slow == [(1, 1), (1, 2), (1, 3)]
    assert fast == [(2, 1)]

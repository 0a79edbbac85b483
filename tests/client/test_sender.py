"""Frames on their way over HTTP, which a server leaves out of its answers."""

from __future__ import annotations

import asyncio

import pytest

from session_mgmt.client.clock import Clock
from session_mgmt.client.transports.calls import Answer, CallFailure
from session_mgmt.client.transports.sender import Sender

pytestmark = pytest.mark.sqlite


class NotedClock(Clock):
    """Clock whose waits are over at once."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


class Peer:
    """Server that answers so many frames of each call, and all of them afterwards."""

    def __init__(self, counts: list[int]) -> None:
        self._counts = counts

    async def send_frames(self, texts: list[str], documents: list[str]) -> Answer:
        count = self._counts.pop(0) if self._counts else len(texts)
        first = 4 - len(texts)
        return Answer([{"type": "receipt", "seq": first + n} for n in range(count)])

    async def take_sent(self, answer: Answer) -> None:
        pass

    def fail(self, failure: CallFailure) -> None:
        raise failure


async def send_all(counts: list[int]) -> list[float]:
    """Return the waits of a sender until this peer has answered three frames."""
    clock = NotedClock()
    sender = Sender(clock, Peer(counts))
    for seq in (1, 2, 3):
        sender.add({"type": "update", "doc": "main", "seq": seq})
    await sender.finish()
    return clock.waits


def test_frames_that_a_server_leaves_out_are_sent_again_after_pauses_that_grow() -> None:
    assert asyncio.run(send_all([0] * 7)) == [1, 2, 4, 8, 16, 16, 16]


def test_an_answer_to_a_part_of_them_begins_the_pauses_anew() -> None:
    assert asyncio.run(send_all([0, 0, 0, 1, 0])) == [1, 2, 4, 1, 2]

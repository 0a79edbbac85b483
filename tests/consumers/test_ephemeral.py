"""Ephemeral messages: those of one moment go out in one write, in their order, and pile up for nobody."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.consumers.outlet import BACKLOG
from tests.consumers.crowd import KB, Room, Tab
from tests.turns import pass_turn

pytestmark = pytest.mark.django_db(transaction=True)


def direct(tab: Tab) -> list[bytes]:
    """Let a tab be written to directly, as by a known server; give its writes."""
    writes: list[bytes] = []

    def write(wire: bytes) -> bool:
        writes.append(wire)
        return True

    tab.outlet._write = write
    return writes


async def follow(room: Room, count: int) -> list[Tab]:
    await room.fill(1)
    return await room.arrive([1], count=count)


async def test_the_messages_of_one_turn_are_one_write_for_each_reader(room: Room) -> None:
    tabs = await follow(room, 3)
    writes = [direct(tab) for tab in tabs]
    for number in range(3):
        room.feed.hand_on_ephemeral({"data": number})
    assert writes == [[], [], []]
    await pass_turn()
    assert [len(mine) for mine in writes] == [1, 1, 1]
    assert writes[0][0] is writes[1][0] is writes[2][0]
    frames = [b'{"type":"ephemeral","topic":"room:1","data":%d}' % number for number in range(3)]
    assert writes[0][0] == b"".join(bytes((0x81, len(frame))) + frame for frame in frames)
    assert tabs[0].outlet.messages == 3
    room.feed.hand_on_ephemeral({"data": 3})
    await pass_turn()
    assert [len(mine) for mine in writes] == [2, 2, 2]


async def test_they_are_single_messages_where_the_server_is_another_one(room: Room) -> None:
    (tab,) = await follow(room, 1)
    for number in range(3):
        room.feed.hand_on_ephemeral({"data": number})
    await pass_turn()
    assert [frame["data"] for frame in tab.frames] == [0, 1, 2]


async def test_large_ones_are_several_writes_and_a_reader_that_is_full_gets_no_more(room: Room) -> None:
    fast, slow = await follow(room, 2)
    writes, resume = direct(fast), slow.stop_reading()
    for _ in range(60):
        room.feed.hand_on_ephemeral({"data": "x" * 30 * KB})
    await pass_turn()
    assert len(writes) == 30
    assert max(map(len, writes)) <= BACKLOG + 100
    assert slow.outlet._queued <= 1024 * KB + BACKLOG + 100
    resume()


async def test_whoever_leaves_before_the_turn_ends_gets_nothing(room: Room, caplog: Any) -> None:
    first, second = await follow(room, 2)
    room.feed.hand_on_ephemeral({"data": 1})
    room.followings[0].stop()
    await pass_turn()
    assert (first.frames, len(second.frames)) == ([], 1)
    room.followings[1].stop()
    room.feed.hand_on_ephemeral({"data": 1})
    await pass_turn()
    assert caplog.records == []

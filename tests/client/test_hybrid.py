"""Choice between a socket and HTTP, and the changes between them: never two attaches at once."""

from __future__ import annotations

import asyncio

import pytest

from session_mgmt.client.effects import Leave
from session_mgmt.client.transports import hybrid, memory
from session_mgmt.client.transports.carrier import LOST, SWITCH
from session_mgmt.client.transports.way import PROBES, USEFUL_AFTER
from session_mgmt.protocol.codes import Close
from tests.client.fake_ways import CONNECTED, PATIENCE, REPLACED, FakeCarrier, Ways, get, ways

__all__ = ["ways"]

DENIED = Leave(Close.ORIGIN_DENIED, "handshake_403", reconnect=False)
PING = {"type": "ping", "ping": 1}


async def lose_race(ways: Ways, leave: Leave) -> Leave | None:
    """Begin with a socket that does not open; return how the opening ends."""
    opening = asyncio.create_task(ways.build().open())
    (await get(ways.sockets)).opened.set_result(leave)
    return await opening


async def carry(carrier: hybrid.HybridCarrier, fake: FakeCarrier) -> None:
    fake.arrive(CONNECTED)
    assert await carrier.receive_frame(None) == CONNECTED


async def test_a_socket_that_opens_in_time_is_attached_and_http_never_asked(ways: Ways) -> None:
    carrier, socket = await ways.begin(is_quick=True)
    assert (await get(socket.sent), carrier.name, carrier.has_beats) == ("connect", "websocket", True)
    await carry(carrier, socket)
    ways.clock.pass_time(hybrid.READY_WITHIN)
    socket.arrive(LOST)
    assert (await carrier.receive_frame(None), ways.https.qsize()) == (LOST, 0)
    await carrier.abandon()


@pytest.mark.parametrize("leave", [LOST, DENIED], ids=["lost", "denied"])
async def test_a_socket_that_is_refused_gives_way_at_once_and_twice_is_remembered(ways: Ways, leave: Leave) -> None:
    for _ in range(memory.ENOUGH_FAILURES):
        carrier = ways.build()
        opening = asyncio.create_task(carrier.open())
        (await get(ways.sockets)).opened.set_result(leave)
        assert await opening is None
        assert not ways.memory.is_blocked
        await carry(carrier, await get(ways.https))
        await carrier.abandon()
    assert ways.memory.is_blocked
    carrier = ways.build()
    assert await carrier.open() is None
    assert (carrier.name, ways.sockets.qsize()) == ("longpoll", 0)
    ways.clock.pass_time(memory.BEGIN_SECONDS)
    assert not ways.memory.is_blocked
    await carrier.abandon()


@pytest.mark.parametrize("leave", [Leave(1013, "handshake_503", True), Leave(4000, "draining", True)], ids=str)
async def test_what_a_server_says_is_no_fault_of_the_transport(ways: Ways, leave: Leave) -> None:
    assert (await lose_race(ways, leave), ways.https.qsize()) == (leave, 0)


async def test_a_server_that_starts_again_is_blamed_three_times(ways: Ways) -> None:
    ways.way.note_carried()
    assert [await lose_race(ways, DENIED) for _ in range(3)] == [hybrid.replace(DENIED, reconnect=True)] * 3
    assert (await lose_race(ways, DENIED), ways.https.qsize()) == (None, 1)


async def test_a_slow_socket_is_proved_first_and_attached_once_behind_http(ways: Ways) -> None:
    carrier, socket = await ways.begin(is_quick=False)
    http = await get(ways.https)
    assert (await get(http.sent), socket.sent.qsize()) == ("connect", 0)
    socket.opened.set_result(None)
    assert await get(socket.sent) == "ping"
    socket.arrive({"type": "pong", "id": 0})
    # A moment in which nothing must happen: the attach over HTTP has no answer yet.
    _, [waiting] = await asyncio.wait([asyncio.create_task(http.pausing.wait())], timeout=0.05)
    waiting.cancel()
    await carry(carrier, http)
    assert await carrier.receive_frame(None) is SWITCH
    assert (http.is_paused, http.is_abandoned, carrier.name) == (True, True, "websocket")
    carrier.send_frame({"type": "connect"})
    assert (await get(socket.sent), socket.sent.qsize()) == ("connect", 0)
    await carry(carrier, socket)
    await carrier.abandon()
    assert ways.memory._read().failures == 0


async def test_a_socket_that_swallows_its_connect_gives_way_and_its_ghost_is_taken_for_no_clone(ways: Ways) -> None:
    carrier, socket = await ways.begin(is_quick=True)
    ways.clock.pass_time(hybrid.READY_WITHIN)
    assert await carrier.receive_frame(None) is SWITCH
    assert socket.is_abandoned
    first = await get(ways.https)
    await carry(carrier, first)
    first.arrive(REPLACED)
    assert await carrier.receive_frame(None) is SWITCH
    assert first.is_abandoned
    second = await get(ways.https)
    await carry(carrier, second)
    # One attach was given up, so the next who takes over is somebody else.
    second.arrive(REPLACED)
    assert await carrier.receive_frame(None) == REPLACED
    await carrier.abandon()


async def test_a_ghost_is_no_excuse_for_ever(ways: Ways) -> None:
    carrier, _ = await ways.begin(is_quick=True)
    ways.clock.pass_time(hybrid.READY_WITHIN)
    assert await carrier.receive_frame(None) is SWITCH
    http = await get(ways.https)
    await carry(carrier, http)
    ways.clock.pass_time(hybrid.GHOST_LASTS)
    http.arrive(REPLACED)
    assert await carrier.receive_frame(None) == REPLACED
    await carrier.abandon()


async def test_a_change_waits_two_seconds_for_a_call_and_goes_back_if_it_is_not_answered(ways: Ways) -> None:
    carrier, socket = await ways.begin(is_quick=False)
    http = await get(ways.https)
    http.is_idle.clear()
    socket.opened.set_result(None)
    await carry(carrier, http)
    receiving = asyncio.create_task(carrier.receive_frame(None))
    assert await get(socket.sent) == "ping"
    socket.arrive({"type": "pong", "id": 0})
    await http.pausing.wait()
    assert not receiving.done()
    ways.clock.pass_time(hybrid.CALL_LASTS)
    assert await receiving is SWITCH
    carrier.send_frame({"type": "connect"})
    ways.clock.pass_time(hybrid.SWITCH_WITHIN)
    assert await carrier.receive_frame(None) is SWITCH
    assert (socket.is_abandoned, carrier.name) == (True, "longpoll")
    await carry(carrier, await get(ways.https))
    # It has answered, so nothing on the way forbids sockets.
    assert ways.saved.way is None
    await carrier.abandon()


async def test_a_socket_that_is_lost_during_the_change_leaves_http_as_it_was(ways: Ways) -> None:
    carrier, socket = await ways.begin(is_quick=False)
    http = await get(ways.https)
    socket.opened.set_result(None)
    socket.is_open = False
    await carry(carrier, http)
    assert await get(socket.sent) == "ping"
    socket.arrive({"type": "pong", "id": 0})
    async with asyncio.timeout(PATIENCE):
        await http.is_resumed.wait()
    assert (http.is_abandoned, socket.is_abandoned, carrier.name) == (False, True, "longpoll")
    await carrier.abandon()


async def test_sockets_are_tried_again_ever_more_seldom_and_the_first_that_answers_takes_over(ways: Ways) -> None:
    carrier = ways.build()
    opening = asyncio.create_task(carrier.open())
    (await get(ways.sockets)).opened.set_result(LOST)
    await opening
    http = await get(ways.https)
    await carry(carrier, http)
    for seconds in (*PROBES, PROBES[-1]):
        assert await get(ways.clock.slept) == seconds
        ways.clock.pass_time(seconds)
        tried = await get(ways.sockets)
        tried.opened.set_result(LOST)
    ways.clock.pass_time(await get(ways.clock.slept))
    tried = await get(ways.sockets)
    tried.opened.set_result(None)
    tried.arrive({"type": "pong", "id": 0})
    assert await carrier.receive_frame(None) is SWITCH
    await carry(carrier, tried)
    tried.arrive(PING)
    assert await carrier.receive_frame(None) == PING
    assert ways.saved.way is None
    await carrier.abandon()


async def test_three_sockets_that_open_and_die_at_once_count_as_blocked(ways: Ways) -> None:
    for _ in range(3):
        assert ways.way.is_open_to_sockets
        carrier, socket = await ways.begin(is_quick=True)
        await carry(carrier, socket)
        socket.arrive(LOST)
        assert await carrier.receive_frame(None) == LOST
        await carrier.abandon()
    assert not ways.way.is_open_to_sockets


async def test_a_socket_that_lived_is_of_use(ways: Ways) -> None:
    for _ in range(4):
        carrier, socket = await ways.begin(is_quick=True)
        await carry(carrier, socket)
        ways.clock.pass_time(USEFUL_AFTER)
        socket.arrive(LOST)
        assert await carrier.receive_frame(None) == LOST
        await carrier.abandon()
    assert ways.way.is_open_to_sockets


async def test_the_memory_doubles_to_a_day_and_does_not_outlast_a_clock_that_was_set_back(ways: Ways) -> None:
    for _ in range(12):
        ways.memory.note_failure()
    assert ways.saved.way is not None
    assert ways.saved.way["blocked_for"] == memory.MOST_SECONDS
    ways.clock.time -= 1.0
    assert not ways.memory.is_blocked
    other = memory.Memory(ways.saved, "another version", ways.clock, lambda: None)  # type: ignore[arg-type]
    assert not other.is_blocked
    ways.memory.clear_failures()
    assert ways.saved.way is None

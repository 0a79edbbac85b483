"""Clients that ask and do not read: each way out is bounded, and so is what waits to be worked off."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
import weakref
from typing import Any

import pytest

from session_mgmt.actions import group_commit
from session_mgmt.actions.group_commit import Group, Write
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.pages import MOST_BYTES
from session_mgmt.registry import on_message
from session_mgmt.writes import verbs
from tests.walks.conftest import BOTH_WAYS

pytestmark = BOTH_WAYS

MAIN = "state:main"
ROOM = "topic:room:1"
KB = 1024


def one_connection() -> Any:
    (connection,) = hub().serving.connections
    return connection


def count_waiting() -> int:
    """Count the bytes that wait for the one peer."""
    return sum(len(message.get("text", "")) for message in one_connection().outlet._queue)


async def let_reads_finish() -> None:
    """Run so many reads that everything which was on its way has come back."""
    for _ in range(60):
        await bridge().read(int)


async def fill(topics: int, publications: int, size: int) -> None:
    for topic in range(topics):
        for number in range(publications):
            await bridge().read(verbs.publish, f"room:{topic}", f"{number}".ljust(size, "x"))


async def open_with_positions(peers: Any, created: Any, topics: int) -> tuple[str, dict[str, Any]]:
    one = peers()
    logs = {f"topic:room:{topic}": None for topic in range(topics)}
    connected = await one.open(created.token.secret, logs=logs)
    await one.drop()
    return connected["client_id"], {log: verdict["position"] for log, verdict in connected["logs"].items()}


async def test_many_replays_of_a_client_that_does_not_read_wait_for_each_other(peers: Any, created: Any) -> None:
    client, positions = await open_with_positions(peers, created, 10)
    await fill(10, 6, 50 * KB)
    slow = peers()
    await slow.handshake()
    resume = slow.stop_reading()
    await slow.say(type="connect", token=created.token.secret, client_id=client, logs=positions)
    while not hub().serving.connections:
        await bridge().read(int)
    await let_reads_finish()
    assert count_waiting() <= 300 * KB
    resume()
    recovery = await slow.until_type("recovery")
    assert recovery["receipt"]["replayed"] == {log: [1, 6] for log in positions}
    assert recovery["receipt"]["verdict"] == "full"


async def test_a_log_that_is_followed_is_answered_with_its_place_and_not_sent_again(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={MAIN: None, ROOM: None})
    start = connected["logs"][ROOM]["position"]
    await one.say(type="update", seq=1, data={"text": "x" * 100 * KB})
    await one.receipt(1)
    await one.say(type="publish", seq=2, topic="room:1", data="hello")
    await one.receipt(2)
    before = len(one.seen)
    for number in range(10):
        await one.say(type="subscribe", id=number, log=MAIN, position=None)
        await one.say(type="subscribe", id=100 + number, log=ROOM, position=start)
    while len([frame for frame in one.seen[before:] if frame["type"] == "reply"]) < 20:
        await one.next()
    await one.say(type="ping", id=1)
    await one.until_type("pong")
    frames = one.seen[before:]
    assert {frame["type"] for frame in frames} <= {"reply", "pong", "ping"}
    verdicts = {frame["id"]: frame["verdict"] for frame in frames if frame["type"] == "reply"}
    assert all(verdict["mode"] == "up_to_date" for verdict in verdicts.values())
    assert {verdict["position"][1] for verdict in verdicts.values()} == {1}


async def test_a_log_that_was_left_and_followed_again_comes_once_for_each_time_it_is_read(
    peers: Any, created: Any
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await one.say(type="update", seq=1, data={"text": "x" * 200 * KB})
    await one.receipt(1)
    resume = one.stop_reading()
    for number in range(30):
        await one.say(type="unsubscribe", id=number, log=MAIN)
        await one.say(type="subscribe", id=100 + number, log=MAIN, position=None)
    await let_reads_finish()
    assert count_waiting() <= 300 * KB
    resume()


async def test_a_topic_that_is_followed_from_its_start_again_and_again_takes_no_more(peers: Any, created: Any) -> None:
    client, positions = await open_with_positions(peers, created, 1)
    await fill(1, 8, 50 * KB)
    one = peers()
    await one.open(created.token.secret, client_id=client, logs=positions)
    await one.until_type("recovery")
    resume = one.stop_reading()
    for number in range(60):
        await one.say(type="unsubscribe", id=number, log="topic:room:0")
        await one.say(type="subscribe", id=100 + number, log="topic:room:0", position=positions["topic:room:0"])
    await let_reads_finish()
    assert count_waiting() <= 300 * KB
    assert hub().serving._shelf.bytes <= MOST_BYTES
    resume()


async def test_a_client_that_does_not_read_its_answers_is_read_no_further(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    resume = one.stop_reading()
    for number in range(900):
        await one.say(type="ping", id=number)
    await let_reads_finish()
    assert one_connection().inbox.messages < 400
    resume()
    await one.until(lambda frame: frame["type"] == "pong" and frame["id"] == 899)


async def test_frames_behind_a_slow_handler_are_left_in_the_socket(peers: Any, created: Any) -> None:
    go_on = threading.Event()

    @on_message
    def wait(session: Any, data: Any) -> Any:
        return go_on.wait(30)

    one = peers()
    await one.open(created.token.secret)
    await one.say(type="send", seq=1, data=1)
    for number in range(2, 22):
        await one.say(type="update", seq=number, ops=[["set", "/a", "x" * 100 * KB]])
    await let_reads_finish()
    assert one_connection().inbox.bytes < 800 * KB
    # Beats that cannot be heard are not missed.
    beat = asyncio.get_running_loop().time()
    for times in range(6):
        one_connection().beat(beat + times)
    assert one_connection().closed_with is None
    go_on.set()
    assert (await one.receipt(21))["ok"]


async def test_whoever_fills_an_outlet_is_cut_after_its_time(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    one.stop_reading()
    await one.say(type="ping", id=1)
    await let_reads_finish()
    connection = one_connection()
    # Counted from when it stopped reading: on a slow machine that is more than a second ago.
    since = min(filter(None, (connection.outlet.waiting_since, connection.outlet.full_since)))
    connection.beat(since + 29)
    assert connection.closed_with is None
    connection.heartbeat.heard_at += 100
    connection.beat(since + 31)
    assert connection.closed_with == 4003
    assert len(connection.outlet._queue) <= 2


async def test_live_entries_that_come_together_are_split_into_bounded_frames(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    group, writes = Group(), [Write(Publication("room:1", b'"%s"' % (b"x" * 60 * KB))) for _ in range(20)]
    await bridge().call(group_commit.write_group, bridge().using, writes, group, wait=True)
    hub().take_group(group, [])
    seen: list[Any] = []
    while len(seen) < 20:
        entries = await one.entry(ROOM)
        assert sum(len(entry[2]) for entry in entries) <= 256 * KB
        seen += [entry[0] for entry in entries]
    assert seen == list(range(1, 21))


async def test_a_first_frame_has_few_bytes(peers: Any, created: Any, way: str) -> None:
    one = peers()
    await one.handshake()
    await one.say(type="connect", token=created.token.secret, logs={}, agent="x" * 100 * KB)
    if way == "uvicorn":
        # Refused by its length alone, before any of it is kept.
        assert await one.closed() == 1009
        return
    assert await one.closed() == 4500
    assert one.seen[0]["name"] == "frame_too_large"


async def test_a_session_has_so_many_connections(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"max_connections_per_session": 2}
    one, two, three = peers(), peers(), peers()
    connected = await one.open(created.token.secret)
    await two.open(created.token.secret)
    refusal = await three.open(created.token.secret)
    assert (refusal["name"], refusal["limit"]) == ("connection_limit", 2)
    again = peers()
    assert (await again.open(created.token.secret, client_id=connected["client_id"]))["type"] == "connected"


async def test_an_address_has_so_many_sockets_proved_or_not(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"max_sockets_per_address": 2}
    one, two, three, elsewhere = (peers(client=("10.0.0.1", 5)) for _ in range(4))
    elsewhere._communicator.scope["client"] = ("10.0.0.2", 5)
    await one.handshake()
    await two.open(created.token.secret)
    await three.handshake()
    assert await three.closed() == 4029
    assert three.seen[-1]["reconnect"] and three.seen[-1]["retry_after"] is not None
    assert (await elsewhere.open(created.token.secret))["type"] == "connected"
    await one.leave()
    four = peers(client=("10.0.0.1", 5))
    assert (await four.open(created.token.secret))["type"] == "connected"


async def test_work_that_ends_before_it_began_leaves_no_coroutine_behind(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await one.until_following(MAIN)
    connection = one_connection()
    log = connection.followings[MAIN].log
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connection.followings.join(log).start()
        connection.followings.leave(MAIN)
        connection.side_work.start(lambda: bridge().read(int))
        for task in tuple(connection.side_work._tasks):
            task.cancel()
        await asyncio.gather(*connection.side_work._tasks, return_exceptions=True)
        gc.collect()
    assert [str(warning.message) for warning in caught if "never awaited" in str(warning.message)] == []


async def test_a_connection_that_has_ended_waits_for_no_garbage_collector(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"session": None, MAIN: None, ROOM: None})
    await one.until_following(MAIN)
    connection, writes = weakref.ref(one_connection()), weakref.ref(one_connection().writes)
    gc.disable()
    try:
        await one.drop()
        # The wheel of beats holds it until its turn, and no longer.
        hub().rounds._wheel.clear()
        assert (connection(), writes()) == (None, None)
    finally:
        gc.enable()


@pytest.mark.parametrize("size", [1, 255, 256, 1000])
async def test_as_many_small_writes_as_one_likes_are_all_answered(peers: Any, created: Any, size: int) -> None:
    one = peers()
    await one.open(created.token.secret)
    for number in range(1, size + 1):
        await one.say(type="publish", seq=number, topic="room:1", data=number)
    assert (await one.receipt(size))["ok"]

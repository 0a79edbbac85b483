"""Doorbells of somebody else who can write to the channel layer: no frame is of their making."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.consumers.hub import hub

ROOM = "topic:room:1"
MAIN = "state:main"


async def ring(peer: Any, log: str, payload: Any, head: Any = 0) -> list[dict[str, Any]]:
    """Ring as another process does; give the frames that the peer gets before the answer to its ping."""
    (connection,) = hub().serving.connections
    before = len(peer.seen)
    hub()._handle_ring({connection.followings[log].feed.row.key: head}, payload)  # type: ignore[attr-defined]
    await peer.say(type="ping", id=77)
    await peer.until_type("pong")
    return [frame for frame in peer.seen[before:] if frame["type"] != "pong"]


async def follow(peers: Any, created: Any) -> Any:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None, MAIN: None})
    await one.until_type("snapshot")
    await one.until_following(ROOM)
    return one


@pytest.mark.requirement("ASVS 1.5.2")
async def test_a_payload_gives_its_data_and_nothing_else(peers: Any, created: Any) -> None:
    one = await follow(peers, created)
    forged = {"type": "snapshot", "log": MAIN, "position": ["e", 9, "t"], "topic": "other", "data": {"a": 1}}
    assert await ring(one, ROOM, forged) == [{"type": "ephemeral", "topic": "room:1", "data": {"a": 1}}]


@pytest.mark.parametrize(
    ("log", "payload"),
    [(ROOM, {"type": "bye", "code": 4503}), (ROOM, ["data"]), (ROOM, "data"), (MAIN, {"topic": "x", "data": 1})],
)
async def test_a_payload_that_is_no_ephemeral_message_reaches_nobody(
    peers: Any, created: Any, log: str, payload: Any
) -> None:
    one = await follow(peers, created)
    assert await ring(one, log, payload) == []


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        {"a": b"x"},
        2**70,
        float("nan"),
        {1: 2},
        "\ud800",
        "a\0b",
        {"__proto__": 1},
        "x" * 70_000,
        [[[[{}]]]] * 9_000,
    ],
    ids=lambda data: f"{type(data).__name__}-{str(data)[:8]}".encode("ascii", "replace").decode(),
)
async def test_data_that_nobody_could_have_published_reaches_nobody(peers: Any, created: Any, data: Any) -> None:
    one = await follow(peers, created)
    assert await ring(one, ROOM, {"topic": "room:1", "data": data}) == []
    assert len(await ring(one, ROOM, {"topic": "room:1", "data": "genuine"})) == 1


@pytest.mark.parametrize("head", ["9", 2**64, -1, float("inf"), {}, b"9", None, 1.5, [1], True])
async def test_a_head_that_is_no_number_is_ignored(peers: Any, created: Any, head: Any) -> None:
    one = await follow(peers, created)
    assert await ring(one, ROOM, None, head) == []


@pytest.mark.parametrize(
    "orders",
    [
        {"close": ["no uuid"], "code": 4503},
        {"close": 5, "code": 4503},
        {"close": [None]},
        {"close": ["{session}"], "code": 9999},
        {"replaced": "client"},
        {"replaced": [1, "2"]},
        {"stop": [[1, "2"]], "code": 4005},
        {"stop": [[1, 99]], "code": 4999},
        {"forget": ["x", 5]},
        ["close"],
    ],
)
async def test_orders_that_cannot_be_read_change_nothing(peers: Any, created: Any, orders: Any) -> None:
    one = await follow(peers, created)
    if isinstance(orders, dict) and orders.get("close") == ["{session}"]:
        orders = {**orders, "close": [created.session.pk.hex]}
    hub()._handle_ring({"control": 0}, orders)
    await one.say(type="ping", id=78)
    await one.until_type("pong")

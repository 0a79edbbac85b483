"""Waits between connections: they grow until something good has lasted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from session_mgmt.client import SessionClient
from session_mgmt.client.backoff import Backoff
from tests.client.fake_api import FakeClock, clock
from tests.client.fake_server import FakeServer, Peer, entries, fake_server

__all__ = ["clock"]
pytestmark = pytest.mark.sqlite

RETRY = {"initial": 0.5, "maximum": 20.0, "factor": 2.0, "attempts": 0}


@pytest.fixture
async def server(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeServer]:
    monkeypatch.setattr(Backoff, "choose_delay", lambda self, attempt: self.compute_bound(attempt))
    async with fake_server() as running:
        yield running


async def attach(server: FakeServer, generation: int) -> Peer:
    peer = await server.accept()
    await peer.welcome(generation=generation, retry=RETRY)
    return peer


async def send_garbage(peer: Peer) -> None:
    await peer._socket.send("<html>")


async def send_no_object(peer: Peer) -> None:
    await peer._socket.send(json.dumps([1]))


async def send_jump(peer: Peer) -> None:
    await peer.send({**entries("session", 1), "entries": 7})


async def drop(peer: Peer) -> None:
    peer.cut()


@pytest.mark.parametrize(
    ("end", "name", "lasting"),
    [
        (drop, "1006 connection_lost", 1.0),
        (send_garbage, "4104 unreadable_frame", 30.0),
        (send_no_object, "4104 unreadable_frame", 30.0),
        (send_jump, "4104 unreadable_frame", 30.0),
    ],
)
async def test_waits_grow_where_each_connection_ends_at_once_and_begin_anew_once_one_has_lasted(
    server: FakeServer, clock: FakeClock, end: Callable[[Peer], Awaitable[None]], name: str, lasting: float
) -> None:
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test", transports=["websocket"]))
    peer = await attach(server, 1)
    client = await starting
    for generation in range(2, 6):
        await end(peer)
        peer = await attach(server, generation)
        await peer.send({"type": "recovery", "receipt": {"verdict": "full"}})
    assert (clock.waits, client.stats().last_close) == ([1.0, 2.0, 4.0, 8.0], name)
    until_told = asyncio.Event()
    client.on("error", lambda _: until_told.set())
    await peer.send({"type": "error", "name": "read_so_far", "code": 1})
    await until_told.wait()
    clock.pass_time(lasting)
    await end(peer)
    await attach(server, 6)
    assert clock.waits[-1] == 0.5
    await client.close()


async def test_a_topic_that_has_no_room_now_is_asked_for_again_ever_later_and_told_once(
    server: FakeServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.5)
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test", transports=["websocket"]))
    peer = await attach(server, 1)
    client = await starting
    told, heard = [], []
    client.on("denied", told.append)
    subscribing = asyncio.create_task(client.topics.subscribe("t", heard.append))
    busy = {"type": "error", "code": 300, "name": "busy", "temporary": True, "retry_after": 5.0}
    for wait in (7.5, 15.0):
        asked = await peer.receive("subscribe")
        await peer.send({**busy, "id": asked["id"]}, {"type": "ping", "ping": 1})
        # It has read what was before.
        await peer.receive("pong")
        clock.pass_time(wait - 0.1)
        assert not subscribing.done()
        clock.pass_time(0.2)
    asked = await peer.receive("subscribe")
    assert (len(told), told[0]["error"]["name"]) == (1, "busy")
    verdict = {"mode": "up_to_date", "position": ["e", 1, "t1"]}
    await peer.send({"type": "reply", "id": asked["id"], "verdict": verdict}, entries("topic:t", 2, "two", epoch="e"))
    assert (await subscribing).complete
    await peer.send({"type": "ping", "ping": 2})
    await peer.receive("pong")
    assert heard == ["two"]
    await client.close()

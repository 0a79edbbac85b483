"""The value of a topic and the publications after it, as the Python client tells them, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from session_mgmt.client import Refused, SessionClient
from tests.client.fake_server import FakeServer, Peer, entries, fake_server, snapshot
from tests.client.test_presence import answer

LOG = "topic:orders:1"
FOLLOWED = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def connect(server: FakeServer) -> tuple[SessionClient, Peer]:
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test"))
    peer = await server.accept()
    await peer.welcome()
    client = await starting
    await peer.send(snapshot("state:main", 0, {}))
    return client, peer


async def test_the_value_comes_first_and_of_the_publications_those_that_it_has_not(server: FakeServer) -> None:
    client, peer = await connect(server)
    told = asyncio.Queue[Any]()
    asking = asyncio.create_task(client.topics.subscribe("orders:1", told.put_nowait, snapshot=told.put_nowait))
    await answer(peer, "subscribe", verdict=FOLLOWED)
    # Before the answer: the value has the first of them.
    await peer.send(entries(LOG, 4, "in it", "after it"))
    await answer(peer, "value", position=["e1", 4, "t4"], data=["value"])
    stop = await asking
    assert [told.get_nowait(), told.get_nowait(), told.empty()] == [["value"], "after it", True]
    gap = {"type": "gap", "log": LOG, "from": 6, "to": 8, "reason": "trimmed", "position": ["e1", 8, "t8"]}
    # Two of them: the answer to the first question is out of date.
    await peer.send(gap)
    first = await peer.receive("value")
    await peer.send({**gap, "from": 9, "to": 9, "position": ["e1", 9, "t9"]})
    second = await peer.receive("value")
    await peer.send({"type": "reply", "id": first["id"], "position": ["e1", 8, "t8"], "data": "old"})
    await peer.send(entries(LOG, 10, "later"))
    await peer.send({"type": "reply", "id": second["id"], "position": ["e1", 9, "t9"], "data": "new"})
    assert [await told.get(), await told.get()] == ["new", "later"]
    # Without a value the publications go on.
    errors = asyncio.Queue[Any]()
    client.on("error", errors.put_nowait)
    await peer.send({**gap, "from": 11, "to": 11, "position": ["e1", 11, "t11"]})
    asked = await peer.receive("value")
    await peer.send(entries(LOG, 12, "last"))
    refusal = {"code": 254, "name": "handler_failed", "temporary": False, "message": "no"}
    await peer.send({"type": "error", "id": asked["id"], **refusal})
    assert (await told.get(), (await errors.get())["name"]) == ("last", "handler_failed")
    stop()
    await peer.receive("unsubscribe")
    await client.close()


async def test_a_value_that_is_refused_ends_the_subscription(server: FakeServer) -> None:
    client, peer = await connect(server)
    told = asyncio.Queue[Any]()
    asking = asyncio.create_task(client.topics.subscribe("orders:1", told.put_nowait, snapshot=told.put_nowait))
    await answer(peer, "subscribe", verdict=FOLLOWED)
    asked = await peer.receive("value")
    refusal = {"code": 103, "name": "invalid_field", "temporary": False, "message": "no", "field": "log"}
    await peer.send({"type": "error", "id": asked["id"], **refusal})
    with pytest.raises(Refused, match="no"):
        await asking
    await peer.receive("unsubscribe")
    assert told.empty()
    await client.close()


async def test_each_subscriber_is_given_only_what_its_own_filter_allows(server: FakeServer) -> None:
    client, peer = await connect(server)
    told: dict[str, list[Any]] = {"all": [], "eu": [], "us": []}
    parts = {"all": None, "eu": {"region": "eu"}, "us": {"region": {"in": ["us"]}}}
    for name, only in parts.items():
        asking = asyncio.create_task(client.topics.subscribe("orders:1", told[name].append, filter=only))
        await answer(peer, "subscribe", verdict=FOLLOWED)
        await asking
    await peer.send(entries(LOG, 4, {"region": "eu"}, {"region": "us"}, "text"))
    async with asyncio.timeout(60):
        while len(told["all"]) < 3:
            await peer.send({"type": "ping", "ping": 1})
            await peer.receive("pong")
    assert (told["eu"], told["us"]) == ([{"region": "eu"}], [{"region": "us"}])
    for wrong in ({}, {"region": []}, {"region": {"not": 1}}, "eu"):
        with pytest.raises(Refused) as refused:
            await client.topics.subscribe("orders:1", print, filter=wrong)  # type: ignore[arg-type]
        assert (refused.value.name, refused.value.facts["field"]) == ("invalid_field", "filter")
    await client.close()

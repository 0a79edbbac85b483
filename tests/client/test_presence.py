"""Who is there in a topic, as the Python client keeps it up to date, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from session_mgmt.client import Refused, SessionClient, Stopped
from session_mgmt.client.presence import Member, Presence
from tests.client.fake_server import FakeServer, Frame, Peer, entries, fake_server, snapshot

LOG = "topic:presence:hall"
SINCE = "2026-11-23T12:05:00.000000Z"


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


def rows(**members: Any) -> dict[str, Any]:
    return {member: {"data": data, "since": SINCE} for member, data in members.items()}


def change(count: int, *left: str, joined: Any = None, changed: Any = None) -> Frame:
    return {"count": count, "joined": joined or {}, "changed": changed or {}, "left": [*left]}


async def answer(peer: Peer, kind: str, **more: Any) -> Frame:
    asked = await peer.receive(kind)
    await peer.send({"type": "reply", "id": asked["id"], **more})
    return asked


async def joined(server: FakeServer) -> tuple[SessionClient, Peer, Presence, asyncio.Queue[int]]:
    """Return a client that sees the hall, where one member is at offset 5."""
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test"))
    peer = await server.accept()
    await peer.welcome()
    client = await starting
    await peer.send(snapshot("state:main", 0, {}))
    asking = asyncio.create_task(client.topics.presence("hall"))
    verdict = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
    assert (await answer(peer, "subscribe", verdict=verdict))["log"] == LOG
    # Before the answer: of these the members have the first two.
    bodies = [change(1, joined=rows(a=0)), change(1, changed=rows(a=1)), change(2, joined=rows(b=2))]
    await peer.send(entries(LOG, 4, *bodies))
    asked = await answer(peer, "members", position=["e1", 5, "t5"], count=1, members=rows(a=1))
    assert asked["log"] == "topic:hall"
    seen, changes = await asking, asyncio.Queue[int]()
    seen.on("change", lambda: changes.put_nowait(seen.count))
    return client, peer, seen, changes


async def test_members_are_what_was_read_and_the_entries_after_it(server: FakeServer) -> None:
    client, peer, seen, changes = await joined(server)
    assert seen.members == {"a": Member(1, SINCE), "b": Member(2, SINCE)} and seen.count == 2
    await peer.send(entries(LOG, 7, change(1, "a", changed=rows(b=3)), {"count": 900}, change(901)))
    assert [await changes.get() for _ in range(3)] == [1, 900, 901]
    assert seen.members is None
    await peer.send(entries(LOG, 10, {"count": 1, "members": rows(c=4)}))
    assert await changes.get() == 1 and seen.members == {"c": Member(4, SINCE)}
    gap = {"type": "gap", "log": LOG, "from": 11, "to": 20, "reason": "trimmed", "position": ["e1", 20, "t20"]}
    await peer.send(gap)
    await answer(peer, "members", position=["e1", 20, "t20"], count=0, members={})
    assert await changes.get() == 0 and seen.members == {}
    await client.close()


async def test_whoever_has_entered_enters_again_after_a_drop(server: FakeServer) -> None:
    client, peer, seen, _ = await joined(server)
    entering = asyncio.create_task(seen.enter({"name": "Ann"}))
    asked = await answer(peer, "enter", member="17")
    assert (asked["log"], asked["data"]) == ("topic:hall", {"name": "Ann"}) and await entering == "17"
    peer.cut()
    peer = await server.accept()
    await peer.welcome(generation=2, logs={LOG: {"mode": "up_to_date", "position": ["e1", 6, "t6"]}})
    again = await answer(peer, "enter", member="17")
    assert again["data"] == {"name": "Ann"}
    leaving = asyncio.create_task(seen.leave())
    await answer(peer, "leave")
    await leaving
    refused = asyncio.create_task(seen.update("much"))
    asked = await peer.receive("enter")
    await peer.send({"type": "error", "id": asked["id"], "code": 108, "name": "publication_too_large"})
    with pytest.raises(Refused, match="publication_too_large"):
        await refused
    await seen.close()
    await client.close()


async def test_a_refused_change_leaves_the_member_and_a_cancelled_entry_leaves_none(server: FakeServer) -> None:
    client, peer, seen, _ = await joined(server)
    entering = asyncio.create_task(seen.enter("early"))
    await peer.receive("enter")
    entering.cancel()
    await answer(peer, "leave")
    entering = asyncio.create_task(seen.enter("Ann"))
    await answer(peer, "enter", member="17")
    await entering
    changing = asyncio.create_task(seen.update("much"))
    asked = await peer.receive("enter")
    await peer.send({"type": "error", "id": asked["id"], "code": 108, "name": "publication_too_large"})
    with pytest.raises(Refused, match="publication_too_large"):
        await changing
    peer.cut()
    peer = await server.accept()
    await peer.welcome(generation=2, logs={LOG: {"mode": "up_to_date", "position": ["e1", 6, "t6"]}})
    assert (await answer(peer, "enter", member="17"))["data"] == "Ann"
    await client.close()


async def test_a_call_waits_for_a_connection_and_ends_with_the_client(server: FakeServer) -> None:
    client, peer, seen, _ = await joined(server)
    entering = asyncio.create_task(seen.enter())
    await peer.receive("enter")
    peer.cut()
    peer = await server.accept()
    await peer.welcome(generation=2)
    # Of the call and of the presence itself; to enter twice changes nothing.
    await answer(peer, "enter", member="17")
    await answer(peer, "enter", member="17")
    assert await entering == "17"
    leaving = asyncio.create_task(seen.leave())
    await peer.receive("leave")
    closing = asyncio.create_task(client.close())
    with pytest.raises(Stopped):
        await leaving
    await closing

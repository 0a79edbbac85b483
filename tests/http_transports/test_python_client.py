"""Python client and the real server, over streams and long polls, and with changes between the transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_mgmt.bridge import bridge
from session_mgmt.client import SessionClient
from session_mgmt.client.transports import memory, sender, socket, way
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Connection
from session_mgmt.writes import verbs
from tests.bad_input.serving import served

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = "room:1"
WAYS = pytest.mark.parametrize("transport", ["sse", "longpoll"])


@pytest.fixture
async def url(declared: None) -> AsyncIterator[str]:
    async with served("session_mgmt.uvicorn:WebSocketProtocol") as port:
        yield f"http://127.0.0.1:{port}/api/"
    await hub().stop()


def _put(places: asyncio.Queue[Any], data: Any, place: Any) -> None:
    places.put_nowait((data, place.live))


@WAYS
async def test_documents_topics_messages_and_calls_work_as_over_a_socket(
    url: str, created: Any, transport: Any
) -> None:
    async with (
        SessionClient.start(url, token=created.token.secret, transports=[transport]) as client,
        SessionClient.start(url, token=created.token.secret, transports=["websocket"]) as other,
    ):
        assert (client.stats().transport, other.stats().transport) == (transport, "websocket")
        got: asyncio.Queue[Any] = asyncio.Queue()
        messages: asyncio.Queue[Any] = asyncio.Queue()
        client.on_message(messages.put_nowait)
        unsubscribe = await client.topics.subscribe(ROOM, got.put_nowait)
        receipt = await client.state.set("/a", 1)
        assert (receipt["ok"], client.state.version, client.state.pending) == (True, 1, 0)
        assert (await client.send({"n": 4}))["data"] == {"double": 8}
        await other.topics.publish(ROOM, "from a socket")
        assert await got.get() == "from a socket"
        await client.topics.publish(ROOM, "from here")
        assert await got.get() == "from here"
        past = await client.topics.history(ROOM, limit=1)
        assert ([entry.data for entry in past.entries], past.more) == (["from here"], True)
        places: asyncio.Queue[Any] = asyncio.Queue()
        async with SessionClient.start(url, token=created.token.secret, transports=[transport]) as rewound:
            take = partial(_put, places)
            await rewound.topics.subscribe(ROOM, take, since={"last": 2}, with_place=True)
            await client.topics.publish(ROOM, "later")
            heard = [await places.get() for _ in range(3)]
        assert heard == [("from a socket", False), ("from here", False), ("later", True)]
        assert await got.get() == "later"
        before = await other.topics.history(ROOM, before=past.entries[0].position)
        assert ([entry.data for entry in before.entries], before.more) == (["from a socket"], False)
        changed = asyncio.Event()
        client.state.on("/b", lambda _: changed.set())
        await other.state.set("/b", 2)
        await changed.wait()
        assert client.state.get() == {"a": 1, "b": 2}
        await bridge().read(verbs.send, created.session.pk, {"hello": True})
        assert await messages.get() == {"hello": True}
        unsubscribe()
        await other.topics.publish(ROOM, "nobody here hears it")
        await client.state.set("/c", 3)
        assert got.empty()
        assert set(await bridge().read(list_open)) == {transport, "websocket"}
    assert await bridge().read(list_open) == []


def list_open() -> list[str]:
    """Transports of the connections that are open."""
    return [row.transport for row in Connection.objects.filter(closed_at=None)]


async def test_a_client_over_http_catches_up_with_what_it_missed(url: str, created: Any, tmp_path: Path) -> None:
    storage = tmp_path / "client.json"
    got: asyncio.Queue[Any] = asyncio.Queue()
    async with SessionClient.start(url, token=created.token.secret, storage=storage, transports=["longpoll"]) as client:
        await client.topics.subscribe(ROOM, got.put_nowait)
        await client.state.set("/a", 1)
    for number in range(3):
        await bridge().read(verbs.publish, ROOM, number)
    async with SessionClient.start(url, token=created.token.secret, storage=storage, transports=["sse"]) as client:
        await client.topics.subscribe(ROOM, got.put_nowait)
        assert [await got.get() for _ in range(3)] == [0, 1, 2]
        await client.state.sync()
        assert client.state.get() == {"a": 1}


async def test_an_answer_that_is_lost_is_asked_for_again_under_the_same_number(
    url: str, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "AGAIN_AFTER", 0.0)
    lost = lose_answers(monkeypatch, "connections/frames/", 1)
    async with SessionClient.start(url, token=created.token.secret, transports=["longpoll"]) as client:
        receipts = await asyncio.gather(client.state.inc("/n"), client.topics.publish(ROOM, 1))
        assert [receipt["replayed"] for receipt in receipts] == [True, True]
        assert (lost, client.state.get("/n"), client.stats().losses) == (["connections/frames/"], 1, 0)


def lose_answers(monkeypatch: pytest.MonkeyPatch, path: str, count: int) -> list[str]:
    """Lose the first answers of a call, which the server has given; return the list of those lost."""
    lost: list[str] = []
    really = httpx.AsyncHTTPTransport.handle_async_request

    async def pass_on(transport: Any, request: httpx.Request) -> httpx.Response:
        answer = await really(transport, request)
        if request.url.path == f"/api/{path}" and len(lost) < count:
            await answer.aread()
            lost.append(path)
            raise httpx.ReadError("cut", request=request)
        return answer

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", pass_on)
    return lost


class Wall:
    """Refusal of WebSockets on the way, while it stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stands = True
        really = socket._begin_handshake

        def begin(address: Any) -> Any:
            return self._refuse() if self.stands else really(address)

        monkeypatch.setattr(socket, "_begin_handshake", begin)
        monkeypatch.setattr(way, "PROBES", (0.05,))
        monkeypatch.setattr(way, "FIRST_PROBE", 0.05)
        # Nobody takes the wall for a server that starts again, or remembers it.
        monkeypatch.setattr(way, "ENOUGH_FAILURES", 0)
        monkeypatch.setattr(memory, "ENOUGH_FAILURES", 1000)

    async def _refuse(self) -> Any:
        raise OSError("refused on the way")


async def test_changes_of_the_transport_under_load_lose_nothing_and_double_nothing(
    url: str, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Wall(monkeypatch)
    got: list[Any] = []
    written = 0
    async with SessionClient.start(url, token=created.token.secret) as client:
        transports: asyncio.Queue[str] = asyncio.Queue()
        lost: list[Any] = []
        client.on("transport", transports.put_nowait)
        client.on("disconnected", lost.append)
        assert client.stats().transport == "sse"
        await client.topics.subscribe(ROOM, got.append)
        for wanted in ("websocket", "sse", "websocket", "sse", "websocket"):
            wall.stands = wanted == "sse"
            if wall.stands:
                client._shell._link._carrier._carrier._socket.transport.abort()  # type: ignore[union-attr]
            while transports.empty():
                client.topics.publish(ROOM, written)
                written += 1
                await client.state.inc("/n")
            assert await transports.get() == wanted
        await client.flushed()
        # Only the two sockets that were cut were losses.
        assert (len(lost), client.state.get("/n")) == (2, written)
        await client.topics.publish(ROOM, "last")
        while got[-1:] != ["last"]:
            await client.state.inc("/m")
        assert got == [*range(written), "last"]

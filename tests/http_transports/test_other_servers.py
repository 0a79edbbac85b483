"""Clients of every transport on servers other than uvicorn: what they are promised depends on none of its ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect

from session_mgmt.bridge import bridge
from session_mgmt.client import SessionClient
from session_mgmt.consumers.websocket import SUBPROTOCOL
from session_mgmt.models import Connection
from tests.http_peer import PATIENCE, HttpPeer
from tests.http_transports.other_server import OtherServer, enter, pause, pick_topic, start_other
from tests.services import HOST

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

TRANSPORTS = ("longpoll", "sse", "websocket")
# More than the buffers on the way hold of a peer that does not read.
LARGE, MANY = "x" * 60_000, 50


@pytest.fixture(scope="module", params=["daphne", "hypercorn"])
def server(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[OtherServer]:
    with start_other(request.param) as other:
        yield other


@pytest.fixture
async def http(server: OtherServer) -> AsyncIterator[httpx.AsyncClient]:
    async with server.open_http() as client:
        yield client


@pytest.fixture
async def token(http: httpx.AsyncClient) -> str:
    return await enter(http)


async def test_clients_of_every_transport_hear_each_other(server: OtherServer, token: str) -> None:
    topic = pick_topic()
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        clients, heard, counted = [], [], []
        for transport in TRANSPORTS:
            starting = SessionClient.start(server.url, token=token, transports=[transport])  # type: ignore[list-item]
            client = await stack.enter_async_context(starting)
            clients.append(client)
            for queues in (heard, counted):
                queues.append(asyncio.Queue[Any]())
            await client.topics.subscribe(topic, heard[-1].put_nowait)
            client.state.on("/n", lambda _, read=client.state.get, tell=counted[-1].put_nowait: tell(read("/n")))
        for client, transport in zip(clients, TRANSPORTS, strict=True):
            assert client.stats().transport == transport
            await client.topics.publish(topic, transport)
            await client.state.inc("/n")
        for words, counts in zip(heard, counted, strict=True):
            assert [await words.get() for _ in TRANSPORTS] == list(TRANSPORTS)
            while await counts.get() != len(TRANSPORTS):
                pass


async def test_who_closes_is_let_go(server: OtherServer, http: httpx.AsyncClient, token: str) -> None:
    """Streams and polls are left before their time is over; what followed the logs for them is gone."""
    logs = {"topic:" + pick_topic(): None}
    for close_soon in (close_stream, close_poll):
        before = (await server.ask_held())["left"]
        async with asyncio.timeout(PATIENCE):
            # Again, where a stream of two seconds was over before it could be closed; a client that has
            # attached but not polled in time is given up.
            while (await server.ask_held())["left"] == before:
                tab = HttpPeer(http, token)
                await tab.attach(logs)
                await close_soon(server, tab)
                await server.wait_until_free()


async def close_stream(server: OtherServer, tab: HttpPeer) -> None:
    """Begin a stream, and close it as soon as it has begun."""
    headers = {"Authorization": f"Bearer {tab.token}", "Accept": "text/event-stream"}
    async with tab.http.stream("POST", "/api/connections/poll/", json=tab.build_poll(), headers=headers):
        pass


async def close_poll(server: OtherServer, tab: HttpPeer) -> None:
    """Begin a poll, and close it once it is held."""
    reading = asyncio.ensure_future(tab.call("poll/", tab.build_poll(hold=55)))
    while not (await server.ask_held())["polls"] and not reading.done():
        await pause()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_who_says_nothing_or_reads_nothing_is_closed_in_its_time(
    server: OtherServer, http: httpx.AsyncClient, token: str
) -> None:
    """A network that has gone without a word, and a peer that stops to read, on each transport at once."""
    topic, silent = pick_topic(), list[Any]()
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(4 * PATIENCE):
        writer = await stack.enter_async_context(SessionClient.start(server.url, token=token))
        for transport in ("longpoll", "sse"):
            tab = HttpPeer(http, token, transport=transport)
            await tab.attach({"topic:" + topic: None})
            await stack.enter_async_context(fall_silent(tab))
            silent.append(tab.client_id)
        silent.append(await stack.enter_async_context(open_socket(server, token, topic)))
        for _ in range(MANY):
            await writer.topics.publish(topic, LARGE)
        while None in [row.closed_at for row in await bridge().read(list_rows, silent)]:
            await pause()
        rows = await bridge().read(list_rows, silent)
        # By the process that held them, in its first round after their lease and not before.
        assert {row.transport: (row.close_code, row.closed_by) for row in rows} == {
            transport: (4002, "server") for transport in TRANSPORTS
        }
        assert all(row.closed_at >= row.lease_expires_at for row in rows if row.transport != "websocket")
        await writer.close()
        await server.wait_until_free()


@contextlib.asynccontextmanager
async def fall_silent(tab: HttpPeer) -> AsyncIterator[None]:
    """Send a poll or open a stream by hand, read its first bytes, and never anything more."""
    body = orjson.dumps(tab.build_poll())
    accept = "text/event-stream" if tab.transport == "sse" else "application/json"
    head = (
        f"POST /api/connections/poll/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {tab.token}\r\n"
        f"Accept: {accept}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, (HOST, int(str(tab.http.base_url).rpartition(":")[2].strip("/"))))
        await loop.sock_sendall(peer, head.encode() + body)
        assert (await loop.sock_recv(peer, 12)) == b"HTTP/1.1 200"
        yield


@contextlib.asynccontextmanager
async def open_socket(server: OtherServer, token: str, topic: str) -> AsyncIterator[str]:
    """Attach over a WebSocket, and never read anything more; gives the client's name."""
    url = f"ws://{HOST}:{server.port}/ws/session/"
    peer = await connect(url, subprotocols=[SUBPROTOCOL], max_queue=1, ping_interval=None, close_timeout=0)  # type: ignore[list-item]
    frame = {"type": "connect", "token": token, "client_id": None, "logs": {"topic:" + topic: None}}
    await peer.send(orjson.dumps(frame).decode())
    yield str(orjson.loads(await peer.recv())["client_id"])
    peer.transport.abort()


def list_rows(clients: list[Any]) -> list[Connection]:
    return list(Connection.objects.filter(client__client_id__in=clients))

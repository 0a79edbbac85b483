"""Rolling restarts of two servers behind a proxy: nothing is lost or doubled, and every client is told when to come
back.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from project.demo.balancing import Balancer
from project.demo.heads import Head
from project.demo.proxy import Network, Proxy, Streams
from session_mgmt.client import SessionClient
from session_mgmt.client.transports.carrier import TransportName
from tests.faults.servers import HOST, AppServer
from tests.ports import take_port

CLIENTS = 6
ROUNDS = 3
# Seconds between two writes of one client: what more of them add is CPU time.
PAUSE = 0.03
# Of each transport some; none may change it, or a loss would be no loss.
TRANSPORTS: tuple[TransportName, ...] = ("websocket", "sse", "longpoll")
SPREAD = 1.0
TOPIC = "faults:rolling"
PATIENCE = 120.0

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def servers(variables: dict[str, str]) -> Iterator[list[AppServer]]:
    spread = variables | {"SESSION_MGMT_TEST_DRAIN": str(SPREAD)}
    with contextlib.ExitStack() as stack:
        both = [AppServer("A", spread), AppServer("B", spread)]
        for server in both:
            stack.callback(server.close)
            server.start()
        yield both


@pytest.fixture
async def address(servers: list[AppServer]) -> AsyncIterator[str]:
    """Stand before the servers as a load balancer does."""
    balancer = Balancer([partial(open_streams, server.port) for server in servers])
    proxy = Proxy(Network(), control_path="/none/", connect=lambda head: balancer.open_streams(), control=refuse)
    port = await proxy.start(HOST, take_port())
    yield f"http://{HOST}:{port}/api/"
    await proxy.stop()


async def open_streams(port: int) -> Streams | None:
    with contextlib.suppress(OSError):
        return await asyncio.open_connection(HOST, port)
    return None


async def refuse(head: Head, reader: asyncio.StreamReader) -> bytes:
    return b""


class Worker:
    """Client that writes all the time: to a document, and to a topic that all follow."""

    def __init__(self, client: SessionClient, name: str) -> None:
        self.client, self.name = client, name
        self.heard: list[Any] = []
        self.losses: list[dict[str, Any]] = []
        self.back = asyncio.Event()
        self.written = 0
        self._goes_on = True
        client.on("disconnected", self.losses.append)
        client.on("connected", lambda frame: self.back.set())

    async def work(self) -> None:
        while self._goes_on:
            self.written += 1
            inc = self.client.state.inc("/n")
            await asyncio.gather(inc, self.client.topics.publish(TOPIC, [self.name, self.written]))
            await asyncio.sleep(PAUSE)

    def finish(self) -> None:
        self._goes_on = False


async def restart(server: AppServer, workers: list[Worker]) -> int:
    """Restart one server as a deploy does; give the number of clients that it sent away."""
    before = [len(worker.losses) for worker in workers]
    for worker in workers:
        worker.back.clear()
    await asyncio.to_thread(server.restart)
    sent_away = [worker for worker, known in zip(workers, before, strict=True) if len(worker.losses) > known]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(worker.back.wait() for worker in sent_away))
    return len(sent_away)


async def test_a_rolling_restart_loses_nothing_and_tells_each_client_when_to_come_back(
    servers: list[AppServer], address: str
) -> None:
    await roll(servers, address)


async def roll(servers: list[AppServer], url: str) -> None:
    """Restart the servers behind an address one after the other, under clients that write."""
    workers = []
    for number, transport in zip(range(CLIENTS), itertools.cycle(TRANSPORTS), strict=False):
        workers.append(Worker(await SessionClient.start(url, transports=[transport]), f"{transport} {number}"))
    # Each has its place in the topic before anybody writes.
    await asyncio.gather(*(worker.client.topics.subscribe(TOPIC, worker.heard.append) for worker in workers))
    tasks = [asyncio.create_task(worker.work()) for worker in workers]
    sent_away = [await restart(server, workers) for server in ROUNDS * servers]
    for worker in workers:
        worker.finish()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)
    expected = {(worker.name, n) for worker in workers for n in range(1, worker.written + 1)}
    for worker in workers:
        await _hear_all(worker)
        heard = [tuple(entry) for entry in worker.heard if isinstance(entry, list)]
        assert len(heard) == len(expected) and set(heard) == expected
        assert worker.client.state.get("/n") == worker.written
        # Only draining ended a socket. Calls over HTTP may all have come to the other server, or to one that had just
        # closed its door.
        if worker.name.startswith("websocket"):
            assert {loss["name"] for loss in worker.losses} == {"draining"}
    assert sum(sent_away) >= ROUNDS * CLIENTS // len(TRANSPORTS)
    drained = [loss for worker in workers for loss in worker.losses if loss["name"] == "draining"]
    waits = [loss["retry_after"] for loss in drained]
    assert all(wait is not None and 0 <= wait <= SPREAD for wait in waits)
    for worker in workers:
        await worker.client.close()


async def _hear_all(worker: Worker) -> None:
    """Wait until the worker has heard a publication that was made after all others."""
    said, last = f"end {worker.name}", asyncio.Event()
    stop = await worker.client.topics.subscribe(TOPIC, lambda data: last.set() if data == said else None)
    await worker.client.topics.publish(TOPIC, said)
    async with asyncio.timeout(PATIENCE):
        await last.wait()
    stop()

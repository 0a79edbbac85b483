"""Clients whose work ends in the middle of something: each is served on or ends, and leaves no connection open."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.faults.history import History
from tests.faults.peer import Group, Peer
from tests.faults.servers import HOST
from tests.faults.workload import Crowd, list_behind, until
from tests.ports import take_port

TOPIC = "faults:g"
LOG = f"topic:{TOPIC}"
PATIENCE = 60.0
# By these numbers the first draw lets a client wait for what its ghost is answered, or not.
WAITS, GOES_ON = 1, 0

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(300)]


class Stage:
    """Server that answers no write, and the connection of the number `held` only after `release`."""

    def __init__(self, held: int) -> None:
        self._held = held
        self._generations: Iterator[int] = itertools.count(1)
        self.reached, self.release, self.is_empty = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.open: list[ServerConnection] = []

    async def play(self, socket: ServerConnection) -> None:
        self.open.append(socket)
        self.is_empty.clear()
        with suppress(ConnectionClosed):
            async for message in socket:
                await self._hear(socket, orjson.loads(message))
        self.open.remove(socket)
        if not self.open:
            self.is_empty.set()

    async def _hear(self, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] != "connect":
            self.reached.set()
            return
        generation = next(self._generations)
        if generation == self._held:
            self.reached.set()
            await self.release.wait()
        logs = {log: {"mode": "up_to_date", "position": ["e", 0, ""]} for log in frame["logs"]}
        answer = {"type": "connected", "client_id": "c_1", "generation": generation, "logs": logs}
        await socket.send(orjson.dumps(answer).decode())

    async def publish(self) -> None:
        """Give an entry to the newest connection."""
        frame = {"type": "entries", "log": LOG, "epoch": "e", "entries": [[1, "t", {"v": 1}]]}
        await self.open[-1].send(orjson.dumps(frame).decode())


@asynccontextmanager
async def playing(held: int = 0) -> AsyncIterator[tuple[Stage, Peer]]:
    """Play on a port; gives the stage, and a client that is to come there."""
    stage, port = Stage(held), take_port()
    async with serve(stage.play, HOST, port, subprotocols=["session-mgmt.v1"]):  # type: ignore[list-item]
        peer = Peer("gc", Group("g", "s", "t", TOPIC), [f"ws://{HOST}:{port}/"], History(), random.Random(1), None)
        try:
            yield stage, peer
        finally:
            stage.release.set()


class Usurped(Crowd):
    """Crowd of one client, which takes over its own connection once."""

    def __init__(self, peer: Peer, seed: int) -> None:
        super().__init__(peer.history, [], 1, seed)
        self.peers = [peer]

    def _list_habits(self) -> list[Coroutine[Any, Any, None]]:
        return [self._take_over(self.peers[0])]


# The second connection is the one that takes over, and the first one's ghost is never answered.
@pytest.mark.parametrize(("held", "seed"), [(2, WAITS), (0, WAITS), (0, GOES_ON)])
async def test_a_client_is_served_on_where_the_work_ends_while_it_takes_over(held: int, seed: int) -> None:
    async with playing(held) as (stage, peer), asyncio.timeout(PATIENCE):
        crowd = Usurped(peer, seed)
        crowd.start()
        await stage.reached.wait()
        assert await crowd.settle(PATIENCE), peer.describe()
        await stage.publish()
        assert await until(lambda: not list_behind(peer, {LOG: 1}), PATIENCE), peer.describe()
        await crowd.stop()
        stage.release.set()
        await stage.is_empty.wait()


async def test_a_connection_that_was_replaced_is_left_although_its_ghost_never_began() -> None:
    async def fail(answered: asyncio.Event) -> None:
        raise AssertionError("The ghost has begun.")

    class Hasty(Crowd):
        def _list_habits(self) -> list[Coroutine[Any, Any, None]]:
            return [self._send_ghost(fail, left.set)]

    left = asyncio.Event()
    crowd = Hasty(History(), [], 1, WAITS)
    crowd.start()
    # One turn of the loop: the ghost is there, and its turn would be the next.
    await asyncio.sleep(0)
    await crowd.settle(PATIENCE)
    assert left.is_set()


async def test_a_client_that_is_stopped_while_it_connects_ends() -> None:
    async with playing(held=1) as (stage, peer), asyncio.timeout(PATIENCE):
        peer.start()
        await stage.reached.wait()
        await peer.stop()
        stage.release.set()
        assert peer.task is not None
        await peer.task
        await stage.is_empty.wait()


async def test_a_client_that_fails_leaves_its_connection_and_says_why() -> None:
    async with playing() as (stage, peer), asyncio.timeout(PATIENCE):
        peer.start()
        await until(lambda: peer.ready, PATIENCE)
        await stage.open[-1].send('{"type": "receipt"}')
        assert peer.task is not None
        await asyncio.wait([peer.task])
        await stage.is_empty.wait()
        told = peer.describe()
        assert "not ready" in told and "its task ended: KeyError('seq')" in told, told

"""Clients that die with a write on its way and are back at once, and one client that comes back to two servers at the
same moment. By hand: ``SESSION_MGMT_RETURNS=2000 python -m pytest tests/faults/test_returns.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets

from session_mgmt.consumers.websocket import SUBPROTOCOL
from session_mgmt.protocol.codes import Close
from tests import services
from tests.faults.servers import AppServer, environment, migrate
from tests.services import Postgres
from tests.settings import DATABASE

# Each is two connections that come right after the end of another one. On PostgreSQL each costs twice the CPU time.
RETURNS = int(os.environ.get("SESSION_MGMT_RETURNS", "40" if DATABASE == "postgres" else "100"))
SUBSCRIPTIONS = 2 * RETURNS
# Places that one client comes back to at the same moment: mostly two, now and then five.
PLACES = (2, 2, 2, 5)
MEETINGS = RETURNS
LONGEST = 0.02
SELDOM = "5.0"
PATIENCE = 60.0
TOPIC, SPOKEN = "topic:faults:alone", "topic:faults:spoken"

# Each names its database, since what its servers need is found by no fixture that says so: without that, the pass on
# PostgreSQL would leave them out.
pytestmark = [pytest.mark.faults, pytest.mark.sqlite, pytest.mark.postgres, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[list[AppServer]]:
    """Two servers of one database."""
    with ExitStack() as stack:
        url = ""
        if DATABASE == "postgres":
            url = stack.enter_context(services.running(Postgres(model=request.getfixturevalue("migrated")))).url
        variables = environment(url, "", tmp_path_factory.mktemp("returns") / "returns.sqlite3", None)
        # Nothing here waits for a look at what another server did: such looks would cost more than the faults.
        variables |= {"SESSION_MGMT_TEST_POSITIONS": SELDOM, "SESSION_MGMT_TEST_CONTROL": SELDOM}
        migrate(variables)
        yield [stack.enter_context(services.running(AppServer(name, variables))) for name in "AB"]


class Session:
    """Session with one client: its places in its logs, and what it has heard of its topic."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.token, self.id = made["token"], made["session"]["session_id"]
        self.client: str | None = None
        self.places: dict[str, Any] = {"state:main": None, TOPIC: None}
        self.heard: list[Any] = []
        # Publications that it must have heard of, each once.
        self.told = 0

    @asynccontextmanager
    async def connected(self, server: AppServer) -> AsyncIterator[tuple[Any, dict[str, Any]]]:
        """Give a connection with the answer to its `connect`; at the end it is gone without a word."""
        address = server.url.replace("http", "ws").replace("/api/", "/ws/session/")
        offered: Any = [SUBPROTOCOL]
        socket = await websockets.connect(address, subprotocols=offered, compression=None, open_timeout=PATIENCE)
        try:
            wish = {"type": "connect", "token": self.token, "client_id": self.client, "acked": 0, "logs": self.places}
            await socket.send(json.dumps(wish))
            yield socket, json.loads(await socket.recv())
        finally:
            socket.transport.abort()

    def follow(self, frame: dict[str, Any]) -> None:
        """Go on from the first verdicts."""
        self.client = frame["client_id"]
        for log, verdict in frame["logs"].items():
            if self.places[log] is None:
                self.places[log] = verdict["position"]

    async def hear(self, socket: Any, wanted: set[int]) -> None:
        """Wait until these writes are acknowledged and the topic has told of the last, and take what comes."""
        async with asyncio.timeout(PATIENCE):
            while wanted or len(self.heard) < self.told:
                frame = json.loads(await socket.recv())
                if frame["type"] == "entries":
                    self._take(frame)
                elif frame["type"] == "snapshot":
                    # The first of a document comes when it is read, which may be after another's write.
                    assert frame["reason"] == "first", frame
                    self.places[frame["log"]] = frame["position"]
                elif frame["type"] == "receipt":
                    assert frame["ok"], frame
                    wanted.discard(frame["seq"])
                elif frame["type"] == "ping":
                    await socket.send(json.dumps({"type": "pong", "ping": frame["ping"], "acked": 0}))

    def _take(self, frame: dict[str, Any]) -> None:
        log, entries = frame["log"], frame["entries"]
        assert entries[0][0] == self.places[log][1] + 1, (frame, self.places[log])
        self.places[log] = [frame["epoch"], entries[-1][0], entries[-1][1]]
        if log == TOPIC:
            self.heard += [data["v"] for _, _, data in entries]


async def create(server: AppServer) -> Session:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        return Session((await http.post(server.url + "sessions/", json={})).json())


def addition(seq: int) -> str:
    ops = [["inc", "/n", 1]]
    return json.dumps({"type": "update", "seq": seq, "doc": "main", "strategy": "server_wins", "ops": ops})


def publication(seq: int, log: str = TOPIC) -> str:
    return json.dumps({"type": "publish", "seq": seq, "topic": log.partition(":")[2], "data": {"v": seq}})


async def test_a_client_that_dies_with_its_write_on_its_way_and_is_back_at_once_loses_and_doubles_nothing(
    two: list[AppServer],
) -> None:
    session, chance = await create(two[0]), random.Random(1)
    async with session.connected(two[0]) as (_, frame):
        session.follow(frame)
    for turn in range(RETURNS):
        seq = 2 * turn + 1
        async with session.connected(two[0]) as (socket, frame):
            assert frame["verdict"] in ("full", "up_to_date"), frame
            await socket.send(addition(seq))
            await socket.send(publication(seq + 1))
            # No test of time: whether the server has them by then is what is tried.
            await asyncio.sleep(chance.uniform(0.0, LONGEST))
        async with session.connected(two[0]) as (socket, frame):
            # In full each time, however often it was gone before.
            assert frame["verdict"] in ("full", "up_to_date"), frame
            await socket.send(addition(seq))
            await socket.send(publication(seq + 1))
            session.told += 1
            await session.hear(socket, {seq, seq + 1})
    assert session.heard == [2 * turn + 2 for turn in range(RETURNS)]
    assert await read(two[0], session) == {"n": RETURNS}


async def test_each_subscription_beside_publications_goes_on_where_its_verdict_ends(two: list[AppServer]) -> None:
    session = await create(two[0])
    session.places = {}
    async with session.connected(two[0]) as (speaker, _), session.connected(two[0]) as (reader, _):
        # More of them would cost much, and meet no subscription.
        wanted = asyncio.Semaphore(0)
        speaking = asyncio.create_task(speak(speaker, wanted))
        for number in range(SUBSCRIPTIONS):
            since = {"last": number % 4} if number % 2 else None
            wish = {"type": "subscribe", "id": number, "log": SPOKEN, "position": None, "since": since}
            wanted.release()
            if number % 3:
                # Both are on their way, and either may come first.
                await asyncio.sleep(0)
            await reader.send(json.dumps({key: value for key, value in wish.items() if value is not None}))
            wanted.release()
            verdict = (await hear_reply(reader, number))["verdict"]
            place = verdict["from"] if verdict["mode"] == "entries" else verdict["position"][1]
            # What the verdict promises, and at least one that was published after it.
            last = max(place, verdict.get("to", 0)) + 1
            wanted.release()
            while place < last:
                for offset, _, data in (await hear_entries(reader))["entries"]:
                    assert (offset, data["v"]) == (place + 1, place + 1)
                    place = offset
            await reader.send(json.dumps({"type": "unsubscribe", "id": number, "log": SPOKEN}))
            await hear_reply(reader, number)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)


async def speak(socket: Any, wanted: asyncio.Semaphore) -> None:
    """Publish whenever that is wanted: each value is the place that it has, where nobody else publishes."""
    for seq in itertools.count(1):
        await wanted.acquire()
        await socket.send(publication(seq, SPOKEN))
        while (await hear_frame(socket)).get("seq") != seq:
            pass


async def hear_reply(socket: Any, number: int) -> dict[str, Any]:
    while (frame := await hear_frame(socket)).get("id") != number:
        assert frame["type"] != "error", frame
    assert frame["type"] == "reply", frame
    return frame


async def hear_entries(socket: Any) -> dict[str, Any]:
    while (frame := await hear_frame(socket))["type"] != "entries" or frame["log"] != SPOKEN:
        pass
    return frame


async def hear_frame(socket: Any) -> dict[str, Any]:
    """Return the next frame, and answer a ping before."""
    async with asyncio.timeout(PATIENCE):
        frame = json.loads(await socket.recv())
    if frame["type"] == "ping":
        await socket.send(json.dumps({"type": "pong", "ping": frame["ping"], "acked": 0}))
    return dict(frame)


async def test_of_one_client_in_several_places_at_once_the_newest_writes_and_no_other(two: list[AppServer]) -> None:
    session = await create(two[0])
    async with session.connected(two[0]) as (_, frame):
        session.follow(frame)
    for turn in range(MEETINGS):
        places = [two[number % 2] for number in range(PLACES[turn % len(PLACES)])]
        async with AsyncExitStack() as stack:
            arrivals = [stack.enter_async_context(session.connected(server)) for server in places]
            found = await asyncio.gather(*arrivals)
            # All are there, and all write; each may believe that it is the newest.
            kept = await asyncio.gather(*(write(socket, turn + 1) for socket, _ in found))
        generations = [frame.get("generation", 0) for _, frame in found]
        assert len({*generations}) == len(places)
        assert [number for number, taken in zip(generations, kept, strict=True) if taken] == [max(generations)]
    assert await read(two[1], session) == {"n": MEETINGS}


async def write(socket: Any, seq: int) -> bool:
    """Write, and return whether the write was taken; who is replaced is told so."""
    try:
        await socket.send(addition(seq))
        async with asyncio.timeout(PATIENCE):
            while (answer := json.loads(await socket.recv()))["type"] != "receipt":
                pass
    except websockets.ConnectionClosed:
        assert socket.close_code == Close.REPLACED
        return False
    assert answer["ok"] or answer["error"]["name"] == "replaced", answer
    return bool(answer["ok"])


async def read(server: AppServer, session: Session) -> Any:
    async with httpx.AsyncClient(timeout=PATIENCE, headers={"Authorization": f"Bearer {session.token}"}) as http:
        return (await http.get(f"{server.url}sessions/{session.id}/state/main/")).json()["data"]

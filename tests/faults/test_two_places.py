"""One client in two places, each on a server process of its own: one database, on PostgreSQL with Redis between them.

On SQLite nothing carries a word from one server to the other, so the older connection is found out by what it writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from session_mgmt.client import SessionClient, Stopped
from tests.faults.final import Database
from tests.faults.history import History
from tests.faults.peer import Group, Peer
from tests.faults.servers import AppServer, environment, migrate
from tests.settings import DATABASE

WAIT = 120.0
CHANGE = {"type": "update", "ops": [["inc", "/n", 1]]}
PUBLISH = {"type": "publish", "topic": "faults:places", "data": {"v": "hello"}}

pytestmark = [pytest.mark.faults, pytest.mark.sqlite, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class Places:
    one: AppServer
    two: AppServer
    database: Database


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Iterator[Places]:
    redis = "" if DATABASE == "sqlite" else request.getfixturevalue("redis_server").url
    path = tmp_path / "faults.sqlite3"
    variables = environment(database_url, redis, path, None)
    migrate(variables)
    with contextlib.ExitStack() as stack:
        one, two = AppServer("A", variables), AppServer("B", variables)
        for server in (one, two):
            stack.callback(server.close)
            server.start()
        yield Places(one, two, Database(database_url, path))


def read_client(places: Places) -> dict[str, Any]:
    """Read the row of the only client there is."""
    (client,) = places.database.dump()["clients"]
    return dict(client)


async def open_group(server: AppServer) -> tuple[Group, str]:
    """Create a session; give it with the path of its WebSocket."""
    async with httpx.AsyncClient(timeout=WAIT, trust_env=False) as http:
        body = (await http.post(server.url + "sessions/", json={})).raise_for_status().json()
    group = Group("g", body["session"]["session_id"], body["token"], "faults:places")
    return group, body["endpoints"]["websocket"]


def make_peer(name: str, group: Group, server: AppServer, path: str) -> Peer:
    url = f"ws://{server.url.split('/')[2]}{path}"
    return Peer(name, group, [url], History(), random.Random(1), None)


async def say(socket: ClientConnection, frame: dict[str, Any], seq: int) -> None:
    await socket.send(orjson.dumps({**frame, "seq": seq}).decode())


async def hear_receipt(socket: ClientConnection, seq: int) -> dict[str, Any]:
    async with asyncio.timeout(WAIT):
        while True:
            frame: dict[str, Any] = orjson.loads(await socket.recv())
            if frame["type"] == "receipt" and frame["seq"] == seq:
                return frame


async def hear_end(socket: ClientConnection) -> list[dict[str, Any]]:
    """Hear everything up to the close."""
    heard = []
    async with asyncio.timeout(WAIT):
        with contextlib.suppress(ConnectionClosed):
            while True:
                heard.append(orjson.loads(await socket.recv()))
    return heard


@pytest.mark.parametrize("frame", [CHANGE, PUBLISH])
async def test_what_the_older_place_writes_too_late_uses_up_no_number(places: Places, frame: dict[str, Any]) -> None:
    group, path = await open_group(places.one)
    older, newer = make_peer("older", group, places.one, path), make_peer("newer", group, places.two, path)
    old = await older.join()
    await say(old, frame, 1)
    assert (await hear_receipt(old, 1))["ok"]
    newer.client_id = older.client_id
    new = await newer.join()
    with contextlib.suppress(ConnectionClosed):
        await say(old, frame, 2)
    heard = await hear_end(old)
    assert [one for one in heard if one["type"] == "receipt"] == []
    assert (old.close_code, heard[-1]["name"], heard[-1]["reconnect"]) == (4507, "replaced", False)
    assert read_client(places)["last_seq"] == 1
    await say(new, frame, 2)
    receipt = await hear_receipt(new, 2)
    assert (receipt["ok"], receipt.get("replayed", False)) == (True, False)
    assert (newer.generation, read_client(places)["last_seq"]) == (older.generation + 1, 2)
    await new.close()


async def test_two_places_with_one_file_do_not_take_the_client_from_each_other_for_ever(
    places: Places, tmp_path: Path
) -> None:
    storage, copy = tmp_path / "client.json", tmp_path / "copy.json"
    older = await SessionClient.start(places.one.url, storage=storage, transports=["websocket"])
    await older.state.inc("/n")
    shutil.copy(storage, copy)
    stopped: asyncio.Queue[Any] = asyncio.Queue()
    older.on("stopped", stopped.put_nowait)
    for _ in range(5):
        await older.state.inc("/n")
    newer = await SessionClient.start(places.two.url, storage=copy, transports=["websocket"])
    late = older.state.inc("/n")
    assert (await asyncio.wait_for(stopped.get(), WAIT))["name"] == "replaced"
    with pytest.raises(Stopped, match="replaced"):
        await late
    for _ in range(10):
        await newer.state.inc("/n")
    assert newer.state.get("/n") == 16
    # Each place attached once.
    assert (read_client(places)["generation"], newer.stats().losses) == (2, 0)
    await asyncio.gather(older.close(), newer.close())

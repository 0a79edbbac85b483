"""Python client through a SIGKILL of the real server: its answers are true, and its requests take effect once."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.client import SessionClient, Stopped, Unsent
from tests.faults.servers import AppServer

TOPIC = "faults:client"
WRITES = 200
WAIT = 120.0

pytestmark = [pytest.mark.faults, pytest.mark.sqlite, pytest.mark.timeout(600)]


class Pair:
    """Two clients of one session on one transport: one writes, and the other hears of it."""

    def __init__(self, transport: Any, client: SessionClient, other: SessionClient) -> None:
        self.transport, self.client, self.other = transport, client, other
        self.heard: list[Any] = []

    @classmethod
    async def start(cls, server: AppServer, folder: Path, transport: Any) -> Pair:
        client = await SessionClient.start(server.url, storage=folder / f"{transport}.json", transports=[transport])
        pair = cls(transport, client, await SessionClient.start(server.url, token=client.token, transports=[transport]))
        await pair.other.topics.subscribe(pair.topic, pair.heard.append)
        return pair

    @property
    def topic(self) -> str:
        return f"{TOPIC}-{self.transport}"

    def write(self, number: int) -> None:
        self.client.state.inc("/n")
        self.client.topics.publish(self.topic, number)
        self.client.send({"v": f"sent {number}", "topic": self.topic})

    async def check(self) -> None:
        """Wait until everything has come, and look at it."""
        await asyncio.wait_for(self.client.flushed(), WAIT)
        await self.other.state.set("/last", True)
        assert self.client.state.get("/n") == WRITES
        assert self.other.state.get("/n") == WRITES
        async with asyncio.timeout(WAIT):
            while len(self.heard) < 2 * WRITES:
                await asyncio.sleep(0.01)
        assert [value for value in self.heard if isinstance(value, int)] == list(range(WRITES))
        sent = sorted(value["v"] for value in self.heard if isinstance(value, dict))
        assert sent == sorted(f"sent {number}" for number in range(WRITES))
        # An attachment over HTTP is in the database, and outlives the process.
        assert self.client.stats().losses >= (self.transport == "websocket")
        await asyncio.gather(self.client.close(), self.other.close())


async def test_every_write_takes_effect_once_although_the_server_is_killed_twice(
    server: AppServer, tmp_path: Path
) -> None:
    pairs = [await Pair.start(server, tmp_path, transport) for transport in ("websocket", "sse")]
    for number in range(WRITES):
        for pair in pairs:
            pair.write(number)
        await asyncio.sleep(0)  # some of them reach the server before it is killed
        if number in {WRITES // 3, WRITES // 2}:
            server.kill()
            await asyncio.to_thread(server.start)
    await asyncio.gather(*(pair.check() for pair in pairs))


async def test_a_new_process_finishes_what_the_old_one_began(server: AppServer, tmp_path: Path) -> None:
    storage = tmp_path / "client.json"
    client = await SessionClient.start(server.url, storage=storage)
    server.kill()
    for _ in range(20):
        client.state.inc("/n")
    await client.close()
    await asyncio.to_thread(server.start)
    again = await SessionClient.start(server.url, storage=storage)
    await asyncio.wait_for(again.flushed(), WAIT)
    assert again.state.get("/n") == 20
    await again.close()


async def test_a_client_goes_on_in_the_successor_of_a_session_that_expired_while_the_server_was_down(
    server: AppServer, tmp_path: Path, sqlite_file: Path
) -> None:
    client = await SessionClient.start(server.url, storage=tmp_path / "client.json")
    before, token = client.info["session_id"], client.token
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await client.topics.subscribe(TOPIC, heard.put_nowait)
    await client.state.set("/kept", True)
    recovered: asyncio.Queue[Any] = asyncio.Queue()
    client.on("recovery", recovered.put_nowait)
    server.kill()
    with contextlib.closing(sqlite3.connect(sqlite_file)) as database, database:
        changed = database.execute("UPDATE session_mgmt_sessionactivity SET expires_at = '2001-01-01 00:00:00'")
        assert changed.rowcount == 1
    unsent = client.state.set("/late", True)
    await asyncio.to_thread(server.start)
    with pytest.raises(Unsent):
        await asyncio.wait_for(unsent, WAIT)
    assert (await asyncio.wait_for(recovered.get(), WAIT))["recovered_from"] == before
    await asyncio.wait_for(client.topics.publish(TOPIC, "in the successor"), WAIT)
    assert await asyncio.wait_for(heard.get(), WAIT) == "in the successor"
    assert client.info["session_id"] != before
    assert client.token != token
    await client.state.sync()
    assert client.state.get() == {"kept": True}
    await client.close()


async def test_of_two_places_with_one_file_the_older_stops_and_the_newer_loses_nothing(
    server: AppServer, tmp_path: Path
) -> None:
    storage, copy = tmp_path / "client.json", tmp_path / "copy.json"
    older = await SessionClient.start(server.url, storage=storage)
    await older.state.inc("/n")
    shutil.copy(storage, copy)
    stopped: asyncio.Queue[Any] = asyncio.Queue()
    older.on("stopped", stopped.put_nowait)
    newer = await SessionClient.start(server.url, storage=copy)
    assert (await asyncio.wait_for(stopped.get(), WAIT))["name"] == "replaced"
    with pytest.raises(Stopped, match="replaced"):
        await older.state.inc("/n")
    for _ in range(10):
        await newer.state.inc("/n")
    assert (newer.state.get("/n"), newer.stats().losses) == (11, 0)
    await asyncio.gather(older.close(), newer.close())

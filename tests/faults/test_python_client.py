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


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_every_write_takes_effect_once_although_the_server_is_killed_twice(
    server: AppServer, tmp_path: Path, transport: Any
) -> None:
    client = await SessionClient.start(server.url, storage=tmp_path / "client.json", transports=[transport])
    other = await SessionClient.start(server.url, token=client.token, transports=[transport])
    heard: list[Any] = []
    await other.topics.subscribe(TOPIC, heard.append)
    for number in range(WRITES):
        client.state.inc("/n")
        client.topics.publish(TOPIC, number)
        client.send({"v": f"sent {number}", "topic": TOPIC})
        await asyncio.sleep(0)  # some of them reach the server before it is killed
        if number in {WRITES // 3, WRITES // 2}:
            server.kill()
            await asyncio.to_thread(server.start)
    await asyncio.wait_for(client.flushed(), WAIT)
    await other.state.set("/last", True)
    assert client.state.get("/n") == WRITES
    assert other.state.get("/n") == WRITES
    while len(heard) < 2 * WRITES:
        await asyncio.sleep(0.01)
    assert [value for value in heard if isinstance(value, int)] == list(range(WRITES))
    assert sorted(value["v"] for value in heard if isinstance(value, dict)) == sorted(
        f"sent {number}" for number in range(WRITES)
    )
    # An attachment over HTTP is in the database, and outlives the process.
    assert client.stats().losses >= (transport == "websocket")
    await asyncio.gather(client.close(), other.close())


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

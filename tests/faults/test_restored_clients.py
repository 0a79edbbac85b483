"""Both SDKs on a real server whose database is put back to a backup while they are away with unsent writes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.client import SessionClient
from tests import programs, services
from tests.faults.backup import SqliteBackup
from tests.faults.servers import AppServer, environment, migrate
from tests.faults.test_both_clients import WAIT, Wire

SCRIPT = Path(__file__).with_name("restored.mjs")

pytestmark = [pytest.mark.js, pytest.mark.sqlite, pytest.mark.timeout(120)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AppServer]:
    variables = environment("", "", tmp_path / "faults.sqlite3", None)
    migrate(variables)
    server = AppServer("A", variables)
    server.start()
    yield server
    server.close()


class Page:
    """Process with the TypeScript SDK."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(await asyncio.wait_for(self._process.stdout.readline(), WAIT))
        return told


@contextlib.asynccontextmanager
async def open_page(url: str) -> AsyncIterator[Page]:
    node, _ = programs.node()
    # Node 20 has its WebSocket behind this flag, later ones without.
    process = await asyncio.create_subprocess_exec(
        node, "--experimental-websocket", SCRIPT, url, stdin=PIPE, stdout=PIPE
    )
    try:
        yield Page(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def reach(client: SessionClient, version: int) -> None:
    async with asyncio.timeout(WAIT):
        while client.state.version < version:
            await asyncio.sleep(0.01)


async def test_what_both_sdks_wrote_on_a_lost_history_is_a_conflict_and_the_rest_is_kept(
    server: AppServer, tmp_path: Path
) -> None:
    wire, backup = Wire(server.port), SqliteBackup(tmp_path / "faults.sqlite3")
    network = await asyncio.start_server(wire.carry, services.HOST, 0)
    port = network.sockets[0].getsockname()[1]
    async with open_page(f"http://{services.HOST}:{port}/api/") as page:
        token = (await page.answer())["token"]
        client = await SessionClient.start(f"http://{services.HOST}:{port}/api/", token=token)
        conflicts: list[Any] = []
        client.on("conflict", lambda told: conflicts.extend(told["conflicts"]))
        backup.take()
        for number in range(5):
            await client.state.set("/n", number)
        page.ask("6")
        assert (await page.answer())["data"] == {"a": "old", "n": 4}
        # Both lose the network and write on version 6, which is then undone.
        network.close()
        wire.cut()
        page.ask("write")
        assert await page.answer() == {"pending": 2}
        answers = [client.state.set("/a", "python"), client.state.set("/own/python", 1)]
        server.kill()
        backup.put_back()
        server.start()
        other = await SessionClient.start(server.url, token=token)
        await other.state.set("/a", "theirs")
        for number in range(8):
            await other.state.set("/m", number)
        assert other.state.version == 10
        async with await asyncio.start_server(wire.carry, services.HOST, port):
            told = (await page.answer())["conflicts"]
            await asyncio.wait_for(asyncio.gather(*answers), WAIT)
            final = {"a": "theirs", "m": 7, "own": {"js": 1, "python": 1}}
            await reach(other, 12)
            assert other.state.get() == final
            await reach(client, 12)
            assert client.state.get() == final
            page.ask("12")
            assert (await page.answer())["data"] == final
            assert told == [{"path": "/a", "kept": "server", "server": "theirs", "client": "js"}]
            assert conflicts == [{"path": "/a", "kept": "server", "server": "theirs", "client": "python"}]
            page.ask("leave")
            await asyncio.gather(client.close(), other.close())

"""Both SDKs on a real server whose database is put back to a backup while they are away with unsent writes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.client import SessionClient
from tests import services
from tests.faults.backup import SqliteBackup
from tests.faults.both_sdks import WAIT, Wire, open_page, reach
from tests.faults.servers import AppServer
from tests.ports import take_port

SCRIPT = Path(__file__).with_name("restored.mjs")

pytestmark = [pytest.mark.js, pytest.mark.sqlite, pytest.mark.timeout(600)]


async def test_what_both_sdks_wrote_on_a_lost_history_is_a_conflict_and_the_rest_is_kept(
    server: AppServer, sqlite_file: Path
) -> None:
    wire, backup = Wire(server.port), SqliteBackup(sqlite_file)
    port = take_port()
    network = await asyncio.start_server(wire.carry, services.HOST, port)
    async with open_page(SCRIPT, f"http://{services.HOST}:{port}/api/") as page:
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

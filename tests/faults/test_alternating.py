"""Any process answers any call: two servers behind a proxy that alternates every request, without a broker, while one
after the other is killed. Everything is delivered in order and once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.alternating import alternating
from tests.faults.servers import AppServer, environment, migrate
from tests.http_peer import HttpPeer

MAIN = "state:main"
WRITES = 60
# Writes between two kills.
APART = 10
PATIENCE = 120


@pytest.fixture
def pair(sqlite_file: Path, database_url: str) -> Iterator[tuple[AppServer, AppServer]]:
    """Two servers on one database; their channel layers are in memory and reach nobody else."""
    variables = environment(database_url, "", sqlite_file, None)
    migrate(variables)
    first, second = AppServer("A", variables), AppServer("B", variables)
    first.start()
    second.start()
    yield first, second
    first.close()
    second.close()


class Stubborn(HttpPeer):
    """Client that sends again whatever was not answered, as the page says."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        super().__init__(http, token)
        self.receipts: dict[int, dict[str, Any]] = {}

    async def call(self, name: str, body: Any, **headers: str) -> httpx.Response:
        while True:
            try:
                answer = await super().call(name, body, **headers)
            except httpx.HTTPError:
                continue
            if "x-session-mgmt" in answer.headers and answer.status_code < 500:
                return answer

    async def write(self, *frames: dict[str, Any]) -> None:
        """Write until every number has its receipt."""
        left = list(frames)
        while left:
            for frame in await self.exchange(*left):
                if frame["type"] == "receipt" and (frame["ok"] or not frame["error"]["temporary"]):
                    self.receipts[frame["seq"]] = frame
            left = [frame for frame in left if frame["seq"] not in self.receipts]

    async def read_log(self, log: str, count: int) -> None:
        """Poll until so many entries of a log have come."""
        while len(self.entries.get(log, [])) < count:
            await self.poll(hold=1)


@pytest.mark.slow(40)
async def test_two_servers_without_a_broker_deliver_everything_once_while_they_are_killed(
    pair: tuple[AppServer, AppServer],
) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        alternating([server.port for server in pair]) as (proxy, address),
        httpx.AsyncClient(base_url=address, limits=httpx.Limits(max_keepalive_connections=0)) as http,
    ):
        made = (await http.post("/api/sessions/", json={})).json()
        topic = f"demo:numbers:{made['session']['session_id']}"
        writer, reader = Stubborn(http, made["token"]), Stubborn(http, made["token"])
        await writer.attach({MAIN: None})
        await reader.attach({MAIN: None, f"topic:{topic}": None})
        following = asyncio.ensure_future(reader.read_log(f"topic:{topic}", WRITES))
        killing: asyncio.Future[None] | None = None
        for number in range(1, WRITES + 1):
            if number % APART == 0:
                if killing is not None:
                    await killing
                killing = asyncio.ensure_future(asyncio.to_thread(kill_and_start, pair[number // APART % 2]))
            await writer.write(
                {"type": "update", "seq": 2 * number - 1, "doc": "main", "ops": [["inc", "/n", 1]]},
                {"type": "publish", "seq": 2 * number, "topic": topic, "data": number},
            )
        assert killing is not None
        await killing
        await following
        document = await fetch_document(http, made)
    assert document == {"n": WRITES}
    assert [receipt["ok"] for _, receipt in sorted(writer.receipts.items())] == [True] * 2 * WRITES
    assert [entry[2] for entry in reader.entries[f"topic:{topic}"]] == list(range(1, WRITES + 1))
    assert proxy.requests > WRITES


def kill_and_start(server: AppServer) -> None:
    server.kill()
    server.start()


async def fetch_document(http: httpx.AsyncClient, made: dict[str, Any]) -> Any:
    session, given = made["session"]["session_id"], {"Authorization": f"Bearer {made['token']}"}
    while True:
        answer = await http.get(f"/api/sessions/{session}/state/main/", headers=given)
        if answer.status_code == 200:
            return answer.json()["data"]

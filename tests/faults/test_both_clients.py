"""Both SDKs on one session of a real server, through a network that is cut again and again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_mgmt.client import Refused, SessionClient
from tests import programs, services
from tests.faults.servers import AppServer, environment, migrate

SCRIPT = Path(__file__).with_name("both_clients.mjs")
STRATEGIES = ["merge", "server_wins", "client_wins", "reject", "manual"]
SEED, WRITES, CUTS = 20261123, 150, 6
WAIT = 30.0

pytestmark = [pytest.mark.js, pytest.mark.sqlite, pytest.mark.timeout(120)]


class Wire:
    """Port before the server's, whose connections can all be cut at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection(services.HOST, self._port)
        ends = {writer, on}
        self._open |= ends
        await asyncio.gather(_pass(reader, on), _pass(back, writer), return_exceptions=True)
        self._open -= ends

    def cut(self) -> None:
        self.cuts += 1
        for writer in self._open:
            writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AppServer]:
    variables = environment("", "", tmp_path / "faults.sqlite3", None)
    migrate(variables)
    server = AppServer("A", variables)
    server.start()
    yield server
    server.close()


@contextlib.asynccontextmanager
async def script(url: str) -> AsyncIterator[Process]:
    node, _ = programs.node()
    # Node 20 has its WebSocket behind this flag, later ones without.
    command: list[str | Path] = [node, "--experimental-websocket", SCRIPT, url, str(SEED), str(WRITES)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT))
    return answer


async def write(client: SessionClient, number: int) -> Counter[str]:
    """Write as the script does; give the numbers of accepted and refused writes."""
    chance = random.Random(SEED + number)
    answers = []
    for _ in range(WRITES):
        place = f"/shared/{chance.randrange(3)}"
        changes: list[list[list[Any]]] = [
            [["set", place, chance.randrange(100)]],
            [["ins", "/list/-", chance.randrange(100)]],
            [["del", place]],
            [["set", "/list", [chance.randrange(9), True]]],
            [],
        ]
        ops = [["inc", f"/n/{number}", 1], *chance.choice(changes)]
        answers.append(client.state.update(ops, strategy=chance.choice(STRATEGIES)))
        await asyncio.sleep(chance.uniform(0, 0.012))
    ends = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), WAIT)
    assert all(isinstance(end, dict | Refused) for end in ends)
    return Counter("accepted" if isinstance(end, dict) else "refused" for end in ends)


async def cut_often(wire: Wire) -> None:
    chance = random.Random(SEED)
    for _ in range(CUTS):
        await asyncio.sleep(chance.uniform(0.1, 0.3))
        wire.cut()


async def test_a_typescript_and_two_python_clients_agree_with_the_server_after_many_cuts(server: AppServer) -> None:
    wire = Wire(server.port)
    async with await asyncio.start_server(wire.carry, services.HOST, 0) as listening:
        url = f"http://{services.HOST}:{listening.sockets[0].getsockname()[1]}/api/"
        async with script(url) as page:
            token = (await told(page))["token"]
            clients = [await SessionClient.start(url, token=token) for _ in range(2)]
            one, two, _ = await asyncio.gather(write(clients[0], 0), write(clients[1], 1), cut_often(wire))
            three = await told(page)
            async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as http:
                body = (await http.get(f"{server.url}sessions/{clients[0].info['session_id']}/state/main/")).json()
            for client in clients:
                async with asyncio.timeout(WAIT):
                    while client.state.version < body["version"]:
                        await asyncio.sleep(0.01)
                assert client.state.get() == body["data"]
            assert page.stdin is not None
            page.stdin.write(b"%d\n" % body["version"])
            assert await told(page) == {"version": body["version"], "data": body["data"]}
            losses = [client.stats().losses for client in clients]
            await asyncio.gather(*(client.close() for client in clients))
    counts = {"0": one["accepted"], "1": two["accepted"], "js": three["accepted"]}
    assert body["data"]["n"] == counts
    assert [sum(tally.values()) for tally in (one, two, three)] == [WRITES] * 3
    assert min(losses) >= 1

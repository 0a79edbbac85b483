"""Both SDKs on one session of a real server, through a network that is cut again and again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_mgmt.client import Refused, SessionClient
from tests import services
from tests.faults.both_sdks import WAIT, Wire, open_page, reach
from tests.faults.servers import AppServer
from tests.ports import take_port

SCRIPT = Path(__file__).with_name("both_clients.mjs")
STRATEGIES = ["merge", "server_wins", "client_wins", "reject", "manual"]
SEED, WRITES, CUTS = 20261123, 150, 6

pytestmark = [pytest.mark.js, pytest.mark.sqlite, pytest.mark.timeout(600)]


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
    wire, port = Wire(server.port), take_port()
    async with await asyncio.start_server(wire.carry, services.HOST, port):
        url = f"http://{services.HOST}:{port}/api/"
        async with open_page(SCRIPT, url, str(SEED), str(WRITES)) as page:
            token = (await page.answer())["token"]
            clients = [await SessionClient.start(url, token=token) for _ in range(2)]
            one, two, _ = await asyncio.gather(write(clients[0], 0), write(clients[1], 1), cut_often(wire))
            three = await page.answer()
            async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as http:
                body = (await http.get(f"{server.url}sessions/{clients[0].info['session_id']}/state/main/")).json()
            for client in clients:
                await reach(client, body["version"])
                assert client.state.get() == body["data"]
            page.ask(str(body["version"]))
            assert await page.answer() == {"version": body["version"], "data": body["data"]}
            losses = [client.stats().losses for client in clients]
            await asyncio.gather(*(client.close() for client in clients))
    counts = {"0": one["accepted"], "1": two["accepted"], "js": three["accepted"]}
    assert body["data"]["n"] == counts
    assert [sum(tally.values()) for tally in (one, two, three)] == [WRITES] * 3
    assert min(losses) >= 1

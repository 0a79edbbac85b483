"""Orders that are given to one server process reach clients on another one, on every transport, with a doorbell between
the two or none. With it no control query and no position check comes in time, without it nothing else does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.faults.history import History
from tests.faults.peer import Group
from tests.faults.roaming import LONG_POLL, STREAM, WEBSOCKET, Roamer
from tests.faults.servers import AppServer
from tests.faults.test_logout_elsewhere import PATIENCE, Places, call, log_in, places
from tests.faults.workload import until

__all__ = ["places"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
TRANSPORTS = (WEBSOCKET, STREAM, LONG_POLL)


async def open_clients(server: AppServer) -> list[Roamer]:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
        made = (await http.post(server.url + "sessions/", json={})).raise_for_status().json()
    group = Group("g", made["session"]["session_id"], made["token"], "faults:orders")
    url = f"ws://{server.url.split('/')[2]}{made['endpoints']['websocket']}"
    return [
        Roamer(transport, group, [url], History(), random.Random(1), None, transports=(transport,))
        for transport in TRANSPORTS
    ]


async def wait_for_all(done: Callable[[Roamer], bool], clients: list[Roamer]) -> None:
    """Wait until each client has it; nothing but the way that is meant could bring it in that time."""
    assert await until(lambda: all(map(done, clients)), PATIENCE), [one.name for one in clients if not done(one)]


def hears_message(text: str) -> Callable[[Roamer], bool]:
    def done(client: Roamer) -> bool:
        frames = [r["frame"] for r in client.history.records if r["type"] == "entries"]
        return any(text in str(entry[2]) for f in frames if f["log"] == "session" for entry in f["entries"])

    return done


def hears_end(code: int) -> Callable[[Roamer], bool]:
    def done(client: Roamer) -> bool:
        ends = [r["frame"] for r in client.history.records if r["type"] in ("bye", "error")]
        return any(code in (end.get("code"), end.get("close")) for end in ends)

    return done


async def test_orders_of_another_process_reach_every_transport(places: Places) -> None:
    clients = await open_clients(places.one)
    running = [asyncio.create_task(client.run()) for client in clients]
    assert await until(lambda: all(client.ready for client in clients), PATIENCE)
    path = f"/api/sessions/{clients[0].group.session}/"
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, follow_redirects=True) as http:
        await log_in(http, places.two)

        async def order(verb: str, body: Any = None) -> Any:
            return (await call(http, places.two, path + verb, json=body or {})).json()

        await order("messages/", {"data": {"text": "from another process"}})
        await wait_for_all(hears_message("from another process"), clients)
        # They come back by themselves, and what was theirs goes on.
        assert (await order("reconnect/"))["connections"] == len(clients)
        await wait_for_all(hears_end(4005), clients)
        assert await until(lambda: all(client.ready and client.connections == 2 for client in clients), PATIENCE)
        assert (await order("disconnect/"))["connections"] == len(clients)
        await wait_for_all(hears_end(1000), clients)
    await asyncio.gather(*(client.stop() for client in clients))
    await asyncio.gather(*running)

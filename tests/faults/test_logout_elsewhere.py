"""A browser logs out on one server process; its tabs are served by another one, with a doorbell between them or none.

The intervals tell the two apart: with the bell no control round and no position check comes while anybody waits, and
without it nothing else does. So what arrives came by the way that is meant, however busy the machine is.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from session_mgmt.consumers.websocket import SUBPROTOCOL
from tests.faults.servers import AppServer, environment, manage, migrate

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
PASSWORD = "a word for this test"
# Given to Django's shell.
MAKE_ANN = f"""
from django.contrib.auth import get_user_model
get_user_model().objects.create_superuser("ann", password={PASSWORD!r})
"""
# Longer than anybody waits.
NEVER = "1000"
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Places:
    one: AppServer
    two: AppServer


# Processes on SQLite have no doorbell between them.
@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.postgres),
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("no bell", marks=pytest.mark.sqlite),
    ]
)
def places(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Iterator[Places]:
    has_bell = request.param != "no bell"
    redis = request.getfixturevalue("redis_server").url if request.param == "redis" else ""
    variables = environment(database_url, redis, tmp_path / "faults.sqlite3", None)
    variables["SESSION_MGMT_TEST_CONTROL"] = NEVER if has_bell else "1"
    variables["SESSION_MGMT_TEST_POSITIONS"] = NEVER if has_bell else "1"
    variables["SESSION_MGMT_TEST_BELL"] = "default" if request.param == "postgres" else ""
    variables["SECURE_COOKIES"] = "0"
    # A flush of leases learns of an end too.
    variables["SESSION_MGMT_TEST_FLUSH"] = NEVER
    migrate(variables)
    assert manage(variables, "shell", "-v", "0", "-c", MAKE_ANN) == ""
    with contextlib.ExitStack() as stack:
        one, two = AppServer("A", variables), AppServer("B", variables)
        for server in (one, two):
            stack.callback(server.close)
            server.start()
        yield Places(one, two)


async def call(http: httpx.AsyncClient, server: AppServer, path: str, **more: object) -> httpx.Response:
    """Call as a browser does: with its cookies, and the CSRF token of the last page."""
    host = server.url.split("/api/")[0]
    headers = {"X-CSRFToken": http.cookies.get("csrftoken", ""), "Referer": host + "/"}
    return (await http.post(host + path, headers=headers, **more)).raise_for_status()  # type: ignore[arg-type]


async def log_in(http: httpx.AsyncClient, server: AppServer) -> None:
    host = server.url.split("/api/")[0]
    await http.get(host + "/admin/login/")
    await call(http, server, "/admin/login/?next=/admin/", data={"username": "ann", "password": PASSWORD})


async def open_tab(server: AppServer, path: str, token: str) -> ClientConnection:
    socket = await connect(f"ws://{server.url.split('/')[2]}{path}", subprotocols=[SUBPROTOCOL])  # type: ignore[list-item]
    await socket.send(orjson.dumps({"type": "connect", "token": token, "client_id": None, "logs": {}}).decode())
    assert orjson.loads(await socket.recv())["type"] == "connected"
    return socket


async def hear_close(socket: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def test_s13_a_logout_on_another_process_closes_every_tab(places: Places) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, follow_redirects=True) as http:
        await log_in(http, places.two)
        body = {"nonce": secrets.token_urlsafe(32), "kept": None, "previous": None}
        entered = (await call(http, places.one, "/api/sessions/enter/", json=body)).json()
        path = entered["endpoints"]["websocket"]
        tabs = [await open_tab(places.one, path, entered["access"]) for _ in range(2)]
        closes = [asyncio.ensure_future(hear_close(tab)) for tab in tabs]
        await call(http, places.two, "/admin/logout/")
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*closes) == [4503, 4503]

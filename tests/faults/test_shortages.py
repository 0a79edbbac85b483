"""A database that is there and gives nothing: whoever asks is told to come again, nobody is refused for good, and
nothing is lost or doubled.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from session_mgmt.consumers.websocket import SUBPROTOCOL
from session_mgmt.protocol.codes import Close
from tests import services
from tests.conftest import or_skip
from tests.faults.servers import AppServer, environment, manage, migrate
from tests.faults.shortages import connections_taken, disk_full, lock_held, writes_refused
from tests.http_peer import PATIENCE, HttpPeer
from tests.settings import DATABASE

# For SQLite; each call that waits for the lock waits so long, and nobody else who writes holds it for as long.
LOCK_SECONDS = 1.0
FEW = 30
FOR_NOW = {"busy", "unavailable"}
CSRF = "a" * 32
# Given to Django's shell: who may use every page of the admin, and that they are logged in.
LOG_IN = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import get_user_model
user = get_user_model().objects.create_superuser("root", password=None)
store = import_module(settings.SESSION_ENGINE).SessionStore()
store["_auth_user_id"], store["_auth_user_backend"] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
store["_auth_user_hash"] = user.get_session_auth_hash()
store.save()
print("key", store.session_key)
"""

# Each names its database, since what its servers need is found by no fixture that says so: without that, the pass on
# PostgreSQL would leave them out.
pytestmark = [pytest.mark.faults, pytest.mark.sqlite, pytest.mark.postgres, pytest.mark.timeout(600)]


class Place:
    """One server, or on PostgreSQL a second one with a pool of connections, its database, and the ways to run
    commands beside it.
    """

    def __init__(
        self, server: AppServer, pooled: AppServer | None, sqlite: Path, postgres: services.Postgres | None
    ) -> None:
        self._server, self._pooled = server, pooled
        self.sqlite, self.postgres = sqlite, postgres
        # Of the login of somebody who may use every page of the admin.
        self.key = ""

    def find_server(self, kind: str) -> AppServer:
        return self._pooled if kind == "pool" and self._pooled else self._server

    def shortage(self, kind: str) -> AbstractContextManager[None]:
        if kind == "read-only" and self.postgres is not None:
            return writes_refused(self.postgres)
        if self.postgres is not None:
            return connections_taken(self.postgres)
        return disk_full([self._server]) if kind == "disk" else lock_held(self.sqlite)


@pytest.fixture(params=["connections", "pool", "read-only"] if DATABASE == "postgres" else ["lock", "disk"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> Iterator[Place]:
    postgres, sqlite_file = None, tmp_path_factory.mktemp("short") / "short.sqlite3"
    with or_skip(pytestconfig):
        if DATABASE == "postgres":
            postgres = services.Postgres(model=request.getfixturevalue("migrated"), connections=FEW)
            request.addfinalizer(postgres.close)
            postgres.start()
    variables = environment(postgres.url if postgres else "", "", sqlite_file, None)
    if postgres is None:
        variables["SESSION_MGMT_TEST_LOCK"] = str(LOCK_SECONDS)
    migrate(variables)
    with ExitStack() as stack:
        server, pooled = stack.enter_context(services.running(AppServer("A", variables))), None
        if postgres is not None:
            # With connections to spare for what its own threads keep.
            pooled = AppServer("B", variables | {"SESSION_MGMT_TEST_POOL": str(FEW)})
            stack.enter_context(services.running(pooled))
        place = Place(server, pooled, sqlite_file, postgres)
        place.key = manage(variables, "shell", "-v", "0", "-c", LOG_IN).rpartition("key ")[2].strip()
        yield place


@asynccontextmanager
async def lasting(shortage: AbstractContextManager[None]) -> AsyncIterator[None]:
    # On one thread, which SQLite's connections belong to, and which PostgreSQL is not waited for on the loop.
    loop = asyncio.get_running_loop()
    begun, over = asyncio.Event(), asyncio.Event()

    def last() -> None:
        with shortage:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(over.wait(), loop).result()

    task = asyncio.create_task(asyncio.to_thread(last))
    await asyncio.wait([task, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield
    finally:
        over.set()
        await task


class Wire:
    """Socket of one client."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def ask(self, frame: dict[str, Any], *kinds: str) -> dict[str, Any]:
        """Send a frame, and return the next one of these types."""
        try:
            await self._socket.send(json.dumps(frame))
            async with asyncio.timeout(PATIENCE):
                while (answer := json.loads(await self._socket.recv()))["type"] not in kinds:
                    pass
        except websockets.ConnectionClosed:
            # A server that can read no log, or cannot learn for five seconds what was revoked, serves nobody.
            assert self._socket.close_code in (Close.INSUFFICIENT_STATE, Close.UNAVAILABLE)
            return {"ok": False, "name": "unavailable", "temporary": True}
        return dict(answer)

    async def write(self, seq: int) -> dict[str, Any]:
        return await self.ask(addition(seq), "receipt")


@asynccontextmanager
async def opened(
    server: AppServer, token: str, client: str | None = None
) -> AsyncIterator[tuple[Wire, dict[str, Any]]]:
    """Give a socket with the answer to its `connect`."""
    address = server.url.replace("http", "ws").replace("/api/", "/ws/session/")
    async with websockets.connect(address, subprotocols=[SUBPROTOCOL], open_timeout=PATIENCE) as socket:  # type: ignore[list-item]
        wire = Wire(socket)
        wish = {"type": "connect", "token": token, "client_id": client, "logs": {"state:main": None}, "acked": 0}
        yield wire, await wire.ask(wish, "connected", "error")


async def come_back(server: AppServer, token: str, client: str, seq: int) -> dict[str, Any]:
    """Write as a client whose last connection may be gone; the answer is as of ``Wire.write``."""
    async with opened(server, token, client) as (wire, answer):
        return await wire.write(seq) if answer["type"] == "connected" else {**answer, "ok": False}


def addition(seq: int) -> dict[str, Any]:
    return {"type": "update", "seq": seq, "doc": "main", "strategy": "server_wins", "ops": [["inc", "/n", 1]]}


def check_for_now(receipt: dict[str, Any]) -> None:
    error = receipt.get("error", receipt)
    assert error["name"] in FOR_NOW and error["temporary"], receipt


class Caller:
    """All that is asked over HTTP, by a tab of the session and by somebody who sees the admin."""

    def __init__(self, http: httpx.AsyncClient, made: dict[str, Any], key: str) -> None:
        self._http, self.token = http, made["token"]
        self.tab = HttpPeer(http, self.token)
        self.session = made["session"]["session_id"]
        self._page = f"/admin/session_mgmt/clientsession/{self.session}/"
        self._staff = {"Cookie": f"sessionid={key}; csrftoken={CSRF}"}

    async def write_all_ways(self) -> dict[str, httpx.Response]:
        """Make every kind of call that writes."""
        attach: dict[str, Any] = {"client_id": None, "acked": 0, "transport": "longpoll", "logs": {}}
        return {
            "attach": await self.tab.call("", attach),
            "create": await self._http.post("/api/sessions/", json={}),
            "act": await self._post(self._page + "act/", {"do": "terminate"}),
            "clean": await self._post("/admin/session_mgmt/clientsession/clean/", {}),
        }

    async def read_all_ways(self) -> dict[str, httpx.Response]:
        """Make every kind of call that only reads."""
        return {
            "see": await self._http.get(self._page + "change/", headers=self._staff),
            "list": await self._http.get("/admin/session_mgmt/clientsession/", headers=self._staff),
            "read": await self.read_document(),
        }

    async def read_document(self) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self._http.get(f"/api/sessions/{self.session}/state/main/", headers=headers)

    async def write(self, seq: int) -> dict[str, Any]:
        """Send a write as a client over HTTP does; the answer is its receipt, or the refusal of the whole call."""
        place = {"client_id": self.tab.client_id, "generation": self.tab.generation, "acked": 0}
        answer = await self.tab.call("frames/", {**place, "frames": [addition(seq)]})
        if answer.status_code == 503:
            return dict(answer.json(), ok=False)
        assert answer.status_code == 200, answer.text
        return next(dict(frame) for frame in answer.json()["frames"] if frame["type"] == "receipt")

    async def poll(self) -> int:
        return (await self.tab.call("poll/", self.tab.build_poll(0.0))).status_code

    async def _post(self, path: str, data: dict[str, str]) -> httpx.Response:
        return await self._http.post(path, data={**data, "csrfmiddlewaretoken": CSRF}, headers=self._staff)


async def until_ok(write: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Send the same write again as long as the answer is to do so."""
    while not (receipt := await write())["ok"]:
        check_for_now(receipt)
        await asyncio.sleep(0.05)
    return receipt


async def until_read(caller: Caller) -> None:
    """Ask again as long as the answer is to do so: a pool opens one connection after the other."""
    while True:
        answers = list((await caller.read_all_ways()).values())
        if await caller.poll() == 200 and all(answer.status_code == 200 for answer in answers):
            break
        assert {answer.status_code for answer in answers} <= {200, 503}, answers
        await asyncio.sleep(0.05)


async def test_who_asks_a_database_that_gives_nothing_comes_again_and_nothing_is_lost(place: Place, kind: str) -> None:
    server = place.find_server(kind)
    base = server.url.removesuffix("/api/")
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE) as http:
        caller = Caller(http, (await http.post("/api/sessions/", json={})).json(), place.key)
        await caller.tab.attach({"state:main": None})
        async with opened(server, caller.token) as (wire, connected):
            assert connected["type"] == "connected"
            async with lasting(place.shortage(kind)):
                check_for_now(await wire.write(1))
                async with opened(server, caller.token) as (_, refused):
                    check_for_now(refused)
                check_for_now(await caller.write(1))
                for name, answer in (await caller.write_all_ways()).items():
                    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "1"), (name, answer.text)
                # What refuses writes alone is read all the while, and so is SQLite.
                read = 200 if place.postgres is None or kind == "read-only" else 503
                for name, answer in (await caller.read_all_ways()).items():
                    assert answer.status_code == read, (name, answer.text)
                assert await caller.poll() in (200, 503)
                # A command has files of its own: of one server's full disk it knows nothing.
                if kind != "disk":
                    said = await asyncio.to_thread(manage, server.environment, "terminate_session", caller.session)
                    assert f"The database {'refused' if kind == 'read-only' else 'did not answer'}: " in said
        # The same numbers again, and twice: each counts once.
        for write in (partial(come_back, server, caller.token, connected["client_id"]), caller.write):
            for _ in range(2):
                await until_ok(partial(write, 1))
            await until_ok(partial(write, 2))
        await until_read(caller)
        assert (await caller.read_document()).json()["data"] == {"n": 4}
    assert not [line for line in server.output() if "Traceback" in line]

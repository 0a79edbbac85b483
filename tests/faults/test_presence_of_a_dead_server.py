"""A server that is killed takes its clients out of a topic: all in one entry, once, and nobody of the other server.

The processes, the kill and the sweep are real. Only the time until the leases end is taken from the dead server's rows,
so that the leases of those who live are long enough for any machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, LiteralString

import httpx
import orjson
import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect

from session_mgmt.consumers.websocket import SUBPROTOCOL
from tests.faults.final import Database
from tests.faults.servers import HOST, AppServer, environment, migrate

ON_EACH = 50
# Of those on the dead server, so many come to the other one at once; and so many of the other one drop for a while.
BACK, DROPPING = 10, 5
LOG = "topic:hall:1"
SEEN = "topic:presence:hall:1"
PATIENCE = 120.0
# Seconds: longer than a lease and the grace of the topic together, and shorter than the grace.
LONG, SHORT = 200, 5

pytestmark = [pytest.mark.faults, pytest.mark.postgres, pytest.mark.timeout(600)]


class Place:
    """Two servers of one database."""

    def __init__(self, one: AppServer, two: AppServer, url: str) -> None:
        self.one, self.two = one, two
        self._url = url

    async def wait_until_closed(self, clients: Sequence[str]) -> None:
        """Wait until the rows say that the newest connection of each client has ended."""
        wanted, database = set(clients), Database(self._url, Path("unused"))
        while wanted & {row["client"] for row in database.dump()["connections"] if row["open"]}:
            await asyncio.sleep(0.05)

    def pass_time(self, clients: Sequence[str], column: LiteralString, seconds: int) -> None:
        """Let this time of the connections of some clients have been that much earlier."""
        query = (
            f"UPDATE session_mgmt_connection SET {column} = {column} - make_interval(secs => %s) WHERE client_id IN"
            " (SELECT id FROM session_mgmt_client WHERE client_id = ANY(%s))"
        )
        with psycopg.connect(self._url) as connection:
            connection.execute(query, [seconds, list(clients)])


@pytest.fixture
def place(database_url: str) -> Iterator[Place]:
    # A missed beat of a slow machine is no fault of this test.
    variables = environment(database_url, "", Path("unused"), None) | {"SESSION_MGMT_TEST_HEARTBEAT": "60"}
    variables["SESSION_MGMT_TEST_BELL"] = "default"
    migrate(variables)
    with contextlib.ExitStack() as stack:
        one, two = AppServer("A", variables), AppServer("B", variables)
        for server in (one, two):
            stack.callback(server.close)
            server.start()
        yield Place(one, two, database_url)


class Guest:
    """Session with one client, which enters the topic wherever it connects."""

    def __init__(self, token: str, path: str) -> None:
        self._token, self._path = token, path
        self._numbers = itertools.count(1)
        self.client = self.member = ""
        self.entries: list[dict[str, Any]] = []
        self.socket: ClientConnection

    async def open(self, server: AppServer, *, logs: Sequence[str] = ()) -> None:
        self.socket = await connect(
            f"ws://{HOST}:{server.port}{self._path}",
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            ping_interval=None,
            open_timeout=PATIENCE,
            proxy=None,
        )
        positions = dict.fromkeys(logs)
        frame = {"type": "connect", "token": self._token, "client_id": self.client or None, "logs": positions}
        await self.socket.send(orjson.dumps(frame).decode())
        self.client = (await self.hear("connected"))["client_id"]

    async def ask(self, kind: str) -> dict[str, Any]:
        number = next(self._numbers)
        await self.socket.send(orjson.dumps({"type": kind, "id": number, "log": LOG}).decode())
        while (reply := await self.hear("reply"))["id"] != number:
            pass
        return reply

    async def enter(self, server: AppServer) -> None:
        await self.open(server)
        self.member = (await self.ask("enter"))["member"]

    async def hear(self, kind: str) -> dict[str, Any]:
        """Hear frames until one of this kind; entries are kept."""
        async with asyncio.timeout(PATIENCE):
            while True:
                frame: dict[str, Any] = orjson.loads(await self.socket.recv())
                if frame["type"] == "entries" and frame["log"] == SEEN:
                    self.entries += [body for _, _, body in frame["entries"]]
                if frame["type"] == kind:
                    return frame

    async def hear_of(self, count: int) -> None:
        """Hear until an entry says that so many are there."""
        while not self.entries or self.entries[-1]["count"] != count:
            await self.hear("entries")

    def drop(self) -> None:
        self.socket.transport.abort()


@pytest.fixture
async def guests(place: Place) -> AsyncIterator[list[Guest]]:
    """Sessions; the last two are a watcher's, which enters nothing, and a late comer's."""
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
        answers = [await http.post(place.two.url + "sessions/", json={}) for _ in range(2 * ON_EACH + 2)]
    bodies = [answer.raise_for_status().json() for answer in answers]
    made = [Guest(body["token"], body["endpoints"]["websocket"]) for body in bodies]
    yield made
    for guest in made:
        if hasattr(guest, "socket"):
            guest.drop()


async def test_all_of_a_killed_server_leave_in_one_entry_and_nobody_else_flickers(
    place: Place, guests: list[Guest]
) -> None:
    *members, watcher, late = guests
    dying, living = members[:ON_EACH], members[ON_EACH:]
    await watcher.open(place.two, logs=[SEEN])
    await asyncio.gather(*(guest.enter(place.one) for guest in dying), *(guest.enter(place.two) for guest in living))
    await watcher.hear_of(2 * ON_EACH)
    joined = [member for entry in watcher.entries for member in entry["joined"]]
    assert sorted(joined) == sorted(guest.member for guest in members)
    assert not any(entry["left"] for entry in watcher.entries)
    watcher.entries.clear()

    place.one.kill()
    await asyncio.gather(*(guest.open(place.two) for guest in dying[:BACK]))
    place.pass_time([guest.client for guest in dying[BACK:]], "lease_expires_at", LONG)
    await watcher.hear_of(2 * ON_EACH - (ON_EACH - BACK))
    (told,) = watcher.entries
    assert sorted(told["left"]) == sorted(guest.member for guest in dying[BACK:]) and told["joined"] == {}
    watcher.entries.clear()

    dropping = living[:DROPPING]
    for guest in dropping:
        guest.drop()
    await place.wait_until_closed([guest.client for guest in dropping])
    place.pass_time([guest.client for guest in dropping], "closed_at", SHORT)
    # Whoever looks for those who are gone meanwhile, as all servers do before they tell of anybody, finds nobody.
    await late.enter(place.two)
    await watcher.hear_of(ON_EACH + BACK + 1)
    await asyncio.gather(*(guest.open(place.two) for guest in dropping))
    await late.ask("leave")
    await watcher.hear_of(ON_EACH + BACK)
    assert [(list(entry["joined"]), entry["left"]) for entry in watcher.entries] == [
        ([late.member], []),
        ([], [late.member]),
    ]

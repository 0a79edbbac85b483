"""Doorbells through a real PostgreSQL: heard by other processes, by this one once, and never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections

from project.databases import build_postgres
from session_mgmt import checks
from session_mgmt.backends import postgres_bell
from session_mgmt.backends.doorbell import Doorbell, describe_carrier
from session_mgmt.backends.postgres_bell import PostgresListener, PostgresSender
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Publication
from session_mgmt.shortcuts import drain, publish
from tests import services
from tests.conftest import or_skip
from tests.walks.conftest import created, declared, peers, way

__all__ = ["created", "declared", "peers", "way"]

pytestmark = pytest.mark.postgres
PATIENCE = 60.0
KEY = "s:1"
ROOM = "topic:room:1"
ALIAS = "bell"

Rings = asyncio.Queue[tuple[dict[str, int], Any]]


@pytest.fixture(scope="module")
def server(pytestconfig: pytest.Config) -> Iterator[services.Postgres]:
    """A server of the tests here that leave it alone."""
    with or_skip(pytestconfig), services.postgres() as server:
        yield server


@pytest.fixture
def alias(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The alias of that server, or of one of the test alone, to kill and pause."""
    is_own = "postgres_server" in request.fixturenames
    url = request.getfixturevalue("postgres_server" if is_own else "server").url
    entry = {**connections.settings["default"], **build_postgres(url)}
    monkeypatch.setitem(connections.settings, ALIAS, entry)
    settings.SESSION_MGMT = {"doorbell_database": ALIAS}
    return ALIAS


@pytest.fixture
def bell() -> Iterator[Doorbell]:
    """A doorbell as another process has it."""
    bell = Doorbell()
    yield bell
    bell.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_bell, "SHORTEST_DELAY", 0.05)


@contextlib.asynccontextmanager
async def another_process(alias: str) -> AsyncIterator[PostgresSender]:
    """The way out of another process."""
    sender = PostgresSender(alias)
    sender._origin = "another process"
    try:
        yield sender
    finally:
        await sender.close()


@pytest.fixture
async def elsewhere(alias: str) -> AsyncIterator[PostgresSender]:
    async with another_process(alias) as sender:
        yield sender


class Ear:
    """Ear with what it has heard, and an event for each time that it may have missed something."""

    def __init__(self, bell: Doorbell) -> None:
        self.rings: Rings = asyncio.Queue()
        self.gaps: asyncio.Queue[None] = asyncio.Queue()
        self.listener = PostgresListener(
            ALIAS,
            lambda heads, payload: self.rings.put_nowait((heads, payload)),
            lambda: self.gaps.put_nowait(None),
            bell.ring_elsewhere,
        )

    async def hear(self) -> tuple[dict[str, int], Any]:
        async with asyncio.timeout(PATIENCE):
            return await self.rings.get()

    async def is_listening(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.gaps.get()


@contextlib.asynccontextmanager
async def listening(bell: Doorbell) -> AsyncIterator[Ear]:
    ear = Ear(bell)
    task = asyncio.create_task(ear.listener.run())
    try:
        await ear.is_listening()
        yield ear
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_ring_is_heard_by_other_processes_whole_and_in_order(bell: Doorbell, elsewhere: PostgresSender) -> None:
    async with listening(bell) as ear:
        # Its own rings it has heard already, when they rang.
        bell.ring({KEY: 1})
        await elsewhere.send({KEY: 2}, [])
        assert await ear.hear() == ({KEY: 2}, None)
        # Longer than a notification may be, and of characters of several bytes.
        long = {"topic": "room:1", "data": "é𝄞" * 50_000}
        await elsewhere.send({}, [(KEY, long)])
        assert await ear.hear() == ({KEY: 0}, long)
        await elsewhere.send({KEY: 3}, [])
        assert await ear.hear() == ({KEY: 3}, None)


async def test_rings_of_one_moment_go_together_and_each_log_once(bell: Doorbell, elsewhere: PostgresSender) -> None:
    async with listening(bell) as ear:
        heads = {f"topic:a name of some length:{number}": number for number in range(10_000)}
        await elsewhere.send(heads, [])
        heard: dict[str, int] = {}
        while heard != heads:
            some, _ = await ear.hear()
            assert not heard.keys() & some.keys()
            heard |= some


def test_no_notification_is_longer_than_postgresql_takes() -> None:
    sender = PostgresSender(ALIAS)
    packs = [*sender._pack_heads({f"topic:{number}" + "é" * number: number for number in range(1500)})]
    texts = [*packs, sender._write({"h": {KEY: 0}, "p": {"data": "é" * 100_000}})]
    parts = [part for text in texts for part in sender._cut(text)]
    assert len(parts) > len(texts) > 2 and all(map(str.isascii, parts))
    assert max(map(len, parts)) <= postgres_bell.MOST_BYTES


async def test_what_is_no_doorbell_is_passed_over(alias: str, bell: Doorbell, server: services.Postgres) -> None:
    async with listening(bell) as ear:
        with psycopg.connect(server.url, autocommit=True) as somebody:
            ((channel,),) = somebody.execute(postgres_bell._FIND_CHANNEL).fetchall()
            good = json.dumps({"h": {KEY: 4}})
            for text in ("", "{", "[]", '{"h": []}', "a:b", "a:1:x:2:y", "a:1:1:2:end of nothing", "x" * 7000, good):
                somebody.execute("SELECT pg_notify(%s, %s)", (channel, text))
        assert await ear.hear() == ({KEY: 4}, None)


async def test_an_ear_whose_connection_ends_or_whose_server_restarts_looks_for_what_it_missed(
    bell: Doorbell, elsewhere: PostgresSender, postgres_server: services.Postgres
) -> None:
    async with listening(bell) as ear:
        await elsewhere.send({KEY: 4}, [])
        assert await ear.hear() == ({KEY: 4}, None)
        with psycopg.connect(postgres_server.url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'session_mgmt%'"
            )
        await ear.is_listening()
        # The sender's connection has ended too; its next ring is not lost with it.
        await elsewhere.send({KEY: 5}, [])
        assert await ear.hear() == ({KEY: 5}, None)
        postgres_server.kill()
        postgres_server.start()
        await ear.is_listening()
        await elsewhere.send({KEY: 6}, [])
        assert await ear.hear() == ({KEY: 6}, None)


async def test_an_ear_that_hears_nothing_of_its_own_rings_says_so_and_connects_again(
    alias: str, bell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler in transaction mode, which takes LISTEN and gives the connection to somebody else."""
    hears = asyncio.Event()

    class Deaf(set[str]):
        def discard(self, alias: str) -> None:
            super().discard(alias)
            hears.set()

    monkeypatch.setattr(postgres_bell, "_deaf", Deaf())
    monkeypatch.setattr(postgres_bell, "ECHO_TIMEOUT", 0.2)
    find = postgres_bell._FIND_CHANNEL
    monkeypatch.setattr(postgres_bell, "_FIND_CHANNEL", "SELECT 'other_' || md5(random()::text)")
    async with listening(bell) as ear:
        await ear.is_listening()
        assert describe_carrier() == {"carrier": "PostgreSQL", "deaf": True}
        monkeypatch.setattr(postgres_bell, "ECHO_TIMEOUT", 1.0)
        monkeypatch.setattr(postgres_bell, "_FIND_CHANNEL", find)
        bell.close()
        hears.clear()
        async with asyncio.timeout(PATIENCE):
            await hears.wait()
        assert describe_carrier() == {"carrier": "PostgreSQL", "deaf": False}


async def test_a_postgresql_that_answers_nothing_holds_up_no_ring(
    alias: str, bell: Doorbell, postgres_server: services.Postgres
) -> None:
    here: list[Any] = []
    bell.listen(lambda heads, payload: here.append(heads))
    bell.ring({KEY: 0})
    postgres_server.pause()
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(lambda: [bell.ring({KEY: number}) for number in range(1, 1001)])
    assert here[-1] == {KEY: 1000}
    postgres_server.kill()


def test_a_check_finds_what_cannot_carry_doorbells(
    settings: Any, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(name: str) -> list[str]:
        settings.SESSION_MGMT = {"doorbell_database": name}
        found = [*checks.check_doorbell(), *checks.check_doorbell_is_heard(databases=[name])]
        return [str(message.id) for message in found]

    assert check("nowhere") == ["session_mgmt.E030"]
    assert check("default") == []
    monkeypatch.setitem(settings.DATABASES, "lite", {"ENGINE": "django.db.backends.sqlite3"})
    assert check("lite") == ["session_mgmt.E030"]


def test_a_check_finds_a_pooler(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_bell, "ECHO_TIMEOUT", 0.1)
    monkeypatch.setattr(psycopg.Connection, "notifies", lambda *args, **more: iter(()))
    assert [message.id for message in checks.check_doorbell_is_heard(databases=[ALIAS])] == ["session_mgmt.W021"]


async def test_a_publication_and_an_ephemeral_message_of_another_process_reach_a_client_at_once(
    settings: Any, peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No position check and no drain would bring them in time."""
    never = dict.fromkeys(("position_check_interval", "control_interval", "drain_interval"), 3600.0)
    settings.SESSION_MGMT = {**never, "doorbell_database": "default"}
    peer = peers()
    await peer.open(created.token.secret, logs={ROOM: None})
    await peer.until_following(ROOM)
    (connection,) = hub().serving.connections
    key = connection.followings[ROOM].feed.row.key  # type: ignore[attr-defined]
    # Nobody in this process is told of it.
    with monkeypatch.context() as patch:
        patch.setattr(Doorbell, "ring", lambda *args: None)
        await asyncio.to_thread(publish, "room:1", "durable")
    while not await bridge().read(Publication.objects.count):
        await bridge().call(drain)
    async with another_process("default") as elsewhere:
        await elsewhere.send({key: 1}, [(key, {"topic": "room:1", "data": "typing"})])
        assert (await peer.until_type("entries"))["entries"][0][2] == "durable"
        assert (await peer.until_type("ephemeral"))["data"] == "typing"

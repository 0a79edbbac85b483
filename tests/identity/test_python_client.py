"""Python client and the real server: whose session it goes on with, and its tokens through a day."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import DateTimeField, F

from session_mgmt.actions.sessions import refreshing
from session_mgmt.bridge import bridge
from session_mgmt.client import Refused, SessionClient
from session_mgmt.client.credentials import DUE_AFTER
from session_mgmt.consumers.hub import hub
from session_mgmt.models import ClientSession, StateDocument, Token
from session_mgmt.shortcuts import state
from tests.bad_input.serving import served
from tests.client.fake_api import FakeClock, clock
from tests.client.test_refreshing import Watched

__all__ = ["clock"]

pytestmark = pytest.mark.django_db(transaction=True)

WAIT = 60.0
ROOM = "room:1"


def header(name: str) -> dict[str, str]:
    """Login of a program, as the project reads it from each request."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:a password".encode()).decode()}


@pytest.fixture
async def url(declared: None) -> AsyncIterator[str]:
    users = get_user_model().objects
    for name in ("ann", "bea"):
        await bridge().call(users.create_user, name, password="a password")
    async with served("session_mgmt.uvicorn:WebSocketProtocol") as port:
        yield f"http://127.0.0.1:{port}/api/"
    await hub().stop()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the calls over HTTP of every client of this test."""
    made: list[str] = []
    really = httpx.AsyncHTTPTransport.handle_async_request

    async def note(transport: Any, request: httpx.Request) -> httpx.Response:
        made.append(request.url.path.removeprefix("/api/"))
        return await really(transport, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", note)
    return made


@pytest.fixture
def storage(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "client.json")


def let_time_pass(hours: float) -> None:
    """Make everything that the server holds so much older."""
    for model in apps.get_app_config("session_mgmt").get_models():
        times = [field.name for field in model._meta.get_fields() if isinstance(field, DateTimeField)]
        if times:
            model._default_manager.update(**{name: F(name) - timedelta(hours=hours) for name in times})


def find_end(session: str) -> str:
    return ClientSession.objects.get(pk=session).end_reason


async def test_s01_one_file_of_two_people_shows_and_sends_nothing_of_the_first(url: str, storage: Watched) -> None:
    ann = await SessionClient.start(url, storage=storage, headers=header("ann"))
    await ann.state.set("/of", "ann")
    await ann.topics.subscribe(ROOM, print)
    first = ann.info["session_id"]
    await ann.close()
    saved = storage.load()
    saved.writes = [{"type": "update", "seq": 2, "doc": "main", "ops": [["set", "/late", "ann"]]}]
    storage.save(saved)
    unsent: list[Any] = []
    bea = await SessionClient.start(url, storage=storage, headers=header("bea"), listeners={"unsent": unsent.append})
    await bea.state.set("/of", "bea")
    assert bea.info["session_id"] != first
    assert (bea.state.get(), unsent) == ({"of": "bea"}, [])
    assert await bridge().call(find_end, first) == "login_changed"
    old = await bridge().call(ClientSession.objects.get, pk=first)
    assert await bridge().call(state.get, old) == {"of": "ann"}
    await bea.close()


async def test_s44_a_program_for_one_user_is_refused_with_the_login_of_another(url: str, storage: Watched) -> None:
    ann = await SessionClient.start(url, storage=storage, headers=header("ann"))
    await ann.close()
    bea = str((await bridge().call(get_user_model().objects.get, username="bea")).pk)
    with pytest.raises(Refused, match="login_mismatch"):
        await SessionClient.start(url, storage=storage, headers=header("ann"), user=bea)
    again = await SessionClient.start(url, storage=storage, headers=header("ann"), user=ann.info["user_id"])
    assert again.info["session_id"] == ann.info["session_id"]
    await again.close()


async def test_tokens_are_exchanged_over_the_socket_in_time_and_survive_the_process(
    url: str, storage: Watched, clock: FakeClock, calls: list[str]
) -> None:
    login = httpx.BasicAuth("ann", "a password")
    client = await SessionClient.start(url, storage=storage, auth=login)
    before = storage.load()
    clock.pass_time(DUE_AFTER * before.life)
    stored = await storage.until(lambda saved: saved.refresh != before.refresh)
    assert (stored.token == before.token, client.stats().connections) == (False, 1)
    await client.state.set("/n", 1)
    assert [head.name for head in await client.documents()] == ["main"]
    await client.close()
    again = await SessionClient.start(url, storage=storage, auth=login, user=stored.user_id)
    assert again.info["session_id"] == client.info["session_id"]
    assert calls.count("sessions/enter/") == 1
    await again.close()


async def test_s28_a_process_that_died_before_the_answer_gets_the_pair_that_was_made(
    url: str, storage: Watched, clock: FakeClock, calls: list[str]
) -> None:
    client = await SessionClient.start(url, storage=storage, headers=header("ann"))
    await client.close()
    saved = storage.load()
    saved.nonce = "Zm9yIHRoaXMgcmVxdWVzdCBvbmx5LCAzMiBieXRlcyE"
    storage.save(saved)
    made = await bridge().call(refreshing.refresh_tokens, saved.refresh, saved.nonce)
    # Later than the server would answer anybody else who asks twice.
    await bridge().call(let_time_pass, 0.1)
    clock.time += saved.life
    calls.clear()
    again = await SessionClient.start(url, storage=storage)
    assert (again.token, calls) == (made.pair.access.secret, ["tokens/refresh/"])
    await again.close()


@pytest.mark.parametrize(("hours", "asked"), [(23, ["tokens/refresh/"]), (25, ["tokens/refresh/", "sessions/enter/"])])
async def test_s33_a_program_that_slept_comes_back_by_one_exchange_or_one_recovery(
    url: str, clock: FakeClock, calls: list[str], hours: int, asked: list[str]
) -> None:
    verdicts: list[str] = []
    client = await SessionClient.start(url, headers=header("ann"))
    client.on("identity", lambda told: verdicts.append(told["verdict"]))
    await client.state.set("/n", 1)
    before = client.info["session_id"]
    await bridge().call(let_time_pass, float(hours))
    clock.time += hours * 3600
    calls.clear()
    connected: asyncio.Queue[Any] = asyncio.Queue()
    client.on("connected", connected.put_nowait)
    # As a machine does that wakes and finds its connection silent.
    await client._shell._link.close_connection(4102)
    await asyncio.wait_for(connected.get(), WAIT)
    await client.state.inc("/n")
    is_expired = hours > 24
    assert (calls, verdicts) == (asked, ["recovered"] if is_expired else [])
    assert (client.info["session_id"] != before, client.state.get("/n")) == (is_expired, 2)
    families = await bridge().call(lambda: Token.objects.filter(kind=Token.Kind.REFRESH, used_at=None).count())
    assert (families, await bridge().call(StateDocument.objects.count)) == ((2, 2) if is_expired else (1, 1))
    await client.close()


async def test_s35_a_logout_is_not_brought_back(url: str, storage: Watched) -> None:
    client = await SessionClient.start(url, storage=storage, headers=header("ann"))
    first = client.info["session_id"]
    await client.logout()
    assert (await bridge().call(ClientSession.objects.get, pk=first)).state == ClientSession.State.TERMINATED
    again = await SessionClient.start(url, storage=storage, headers=header("ann"))
    assert again.info["session_id"] != first
    await again.close()


async def test_s18_a_person_sees_and_ends_the_own_devices(url: str, settings: Any) -> None:
    settings.SESSION_MGMT = {"auth_time_of": lambda request: time.time()}
    desk, phone, tablet = [
        await SessionClient.start(url, headers=header("ann"), label=label) for label in ("desk", "phone", "tablet")
    ]
    bea = await SessionClient.start(url, headers=header("bea"))
    listed = await desk.sessions.list()
    assert (listed[0].label, listed[0].is_current, listed[0].session_id) == ("desk", True, desk.info["session_id"])
    assert sorted(device.label for device in listed) == ["desk", "phone", "tablet"]
    with pytest.raises(Refused, match="session_not_found"):
        await desk.sessions.end(bea.info["session_id"])
    stopped: asyncio.Queue[Any] = asyncio.Queue()
    for other in (phone, tablet):
        other.on("stopped", stopped.put_nowait)
    await desk.sessions.end(phone.info["session_id"])
    assert (await asyncio.wait_for(stopped.get(), WAIT))["name"] == "session_terminated"
    assert await desk.sessions.end_others() == 1
    assert (await asyncio.wait_for(stopped.get(), WAIT))["name"] == "session_terminated"
    assert [device.label for device in await desk.sessions.list()] == ["desk"]
    assert (desk.status, bea.status) == ("connected", "connected")
    for client in (desk, phone, tablet, bea):
        await client.close()


async def test_s42_a_device_is_not_ended_by_somebody_who_logged_in_at_an_unknown_time(url: str) -> None:
    desk, phone = [await SessionClient.start(url, headers=header("ann")) for _ in range(2)]
    with pytest.raises(Refused, match="reauth_required"):
        await desk.sessions.end(phone.info["session_id"])
    with pytest.raises(Refused, match="reauth_required"):
        await desk.sessions.end_others()
    assert len(await desk.sessions.list()) == 2
    for client in (desk, phone):
        await client.close()


async def test_s43_a_narrowed_token_joins_the_session_and_may_do_no_more_than_it_says(url: str) -> None:
    client = await SessionClient.start(url, headers=header("ann"))
    await client.state.set("/n", 1)
    narrowed = await client.narrow(["state:read:main"], expires_in=60)
    assert (narrowed.scopes, narrowed.expires_in, narrowed.token in repr(narrowed)) == (
        ["state:read:main"],
        60.0,
        False,
    )
    reader = await SessionClient.start(url, token=narrowed.token)
    with pytest.raises(Refused, match="scope_missing"):
        await reader.state.set("/n", 2)
    await reader.state.sync()
    assert (reader.state.get("/n"), reader.info["session_id"]) == (1, client.info["session_id"])
    with pytest.raises(Refused, match="scope_missing"):
        await reader.narrow(["state:write"])
    await asyncio.gather(client.close(), reader.close())


async def test_a_token_that_the_server_finds_too_old_is_exchanged_and_what_waited_is_written_once(
    url: str, clock: FakeClock, calls: list[str]
) -> None:
    client = await SessionClient.start(url, headers=header("ann"))
    await client.state.inc("/n")
    # Of two machines, the clock of the server goes faster.
    await bridge().call(let_time_pass, 0.5)
    calls.clear()
    await client._shell._link.close_connection(4102)
    for _ in range(5):
        client.state.inc("/n")
    await asyncio.wait_for(client.flushed(), WAIT)
    assert (client.state.get("/n"), calls) == (6, ["tokens/refresh/"])
    assert await bridge().call(state.get, await bridge().call(ClientSession.objects.get)) == {"n": 6}
    await client.close()


async def test_s03_a_visitor_who_logs_in_goes_on_with_everything_and_writes_in_between_count_once(
    url: str, settings: Any
) -> None:
    settings.SESSION_MGMT = {"anonymous_sessions": True}
    client = await SessionClient.start(url)
    await client.state.set("/cart", ["apple"])
    visitor, told = client.info, asyncio.Queue[Any]()
    client.on("identity", told.put_nowait)
    client.state.inc("/n")
    changing = asyncio.create_task(client.login(header("ann")))
    for _ in range(5):
        client.state.inc("/n")
    await changing
    await asyncio.wait_for(client.flushed(), WAIT)
    identity = await asyncio.wait_for(told.get(), WAIT)
    ann = await bridge().call(get_user_model().objects.get, username="ann")
    assert (identity["verdict"], identity["user_id"], visitor["user_id"]) == ("claimed", str(ann.pk), None)
    assert client.state.get() == {"cart": ["apple"], "n": 6}
    row = await bridge().call(ClientSession.objects.get)
    assert (str(row.pk), row.user_id) == (visitor["session_id"], ann.pk)
    assert await bridge().call(state.get, row) == {"cart": ["apple"], "n": 6}
    await client.close()

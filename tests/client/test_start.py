"""A client as Python uses it: `async with`, `async for`, documented errors; and a server that is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_mgmt.client import ClientError, FileStorage, Refused, SessionClient, Stopped, TooSlow, Unanswered
from session_mgmt.client.identity import ENTER_ATTEMPTS
from session_mgmt.client.reader import Reader
from session_mgmt.client.storage import Saved
from tests.client.fake_api import Api, FakeClock, api, clock, down, entered, refusal
from tests.client.fake_server import WAIT, FakeServer, Peer, connected, entries, fake_server
from tests.client.test_session import heard, joined

__all__ = ["api", "clock"]

URL = "http://shop.test/api/"


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def test_a_server_that_is_down_is_asked_again_for_a_session(
    server: FakeServer, api: Api, clock: FakeClock
) -> None:
    api.answers = [down(), httpx.Response(502, text="<html>"), entered()]
    client, _ = await accept(server, SessionClient.start(server.url))
    assert (client.token, len(clock.waits)) == ("sma_1", 2)
    nonces = [call.body["nonce"] for call in api.calls]
    assert nonces == [nonces[0]] * 3, "the server must know the question again"
    await client.close()


async def test_a_server_that_stays_down_is_told_in_the_end(api: Api, clock: FakeClock) -> None:
    api.answers = [down() for _ in range(ENTER_ATTEMPTS + 1)]
    with pytest.raises(Unanswered, match="connection refused") as error:
        await SessionClient.start(URL)
    assert isinstance(error.value, ClientError)
    assert len(clock.waits) == ENTER_ATTEMPTS


async def test_the_servers_own_wait_is_kept(server: FakeServer, api: Api, clock: FakeClock) -> None:
    api.answers = [refusal("too_many_requests", 429, temporary=True, retry_after=7.0), entered()]
    client, _ = await accept(server, SessionClient.start(server.url))
    assert clock.waits[0] >= 7.0
    await client.close()


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (refusal("permission_denied", 403), "permission_denied"),
        (httpx.Response(404, text="<html>"), "not_our_server"),
        (httpx.Response(302, headers={"location": "/login/"}), "not_our_server"),
        (httpx.Response(200, text="<html>log in</html>"), "not_our_server"),
        (entered(access=None, refresh=None, expires_in=None), "invalid_answer"),
    ],
)
async def test_an_answer_that_is_no_session_is_refused_at_once(
    api: Api, clock: FakeClock, answer: httpx.Response, name: str
) -> None:
    api.answers = [answer]
    with pytest.raises(Refused) as refused:
        await SessionClient.start(URL)
    assert (refused.value.name, clock.waits) == (name, [])


async def test_metadata_configuration_and_label_go_with_a_new_session(api: Api) -> None:
    api.answers = [refusal("permission_denied", 403)]
    create = {"metadata": {"device": "till 3"}, "config": {"idle_timeout": 600}, "label": "till"}
    with pytest.raises(Refused):
        await SessionClient.start(URL, **create)  # type: ignore[arg-type]
    assert [(call.path, call.body["create"]) for call in api.calls] == [("sessions/enter/", create)]


async def accept(server: FakeServer, starting: Any, **changes: Any) -> tuple[Any, Peer]:
    task = asyncio.create_task(starting)
    peer = await server.accept()
    await peer.welcome(**changes)
    return await task, peer


async def test_async_with_starts_and_closes(server: FakeServer) -> None:
    async def use() -> str:
        async with SessionClient.start(server.url, token="sma_test") as client:
            return client.status

    running = asyncio.create_task(use())
    peer = await server.accept()
    await peer.welcome()
    await peer.receive("disconnect")
    assert await running == "connected"


async def test_a_started_client_closes_itself_too(server: FakeServer) -> None:
    client, peer = await accept(server, SessionClient.start(server.url, token="sma_test"))
    async with client as same:
        assert same is client
    await peer.receive("disconnect")
    assert client.status == "disconnected"


async def test_async_for_gives_messages_and_publications_in_order(server: FakeServer) -> None:
    client, peer = await joined(server)
    messages = aiter(client.messages())
    # Its first step, which begins to listen, comes before any frame is read.
    first = asyncio.create_task(anext(messages))
    await peer.send(entries("session", 1, *({"type": "message", "data": n, "at": "…"} for n in range(3))))
    assert [await first, await anext(messages), await anext(messages)] == [0, 1, 2]

    publications = aiter(client.topics.iterate("orders:42"))
    following = asyncio.create_task(anext(publications))
    asked = await peer.receive("subscribe")
    verdict = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
    await peer.send(
        {"type": "reply", "id": asked["id"], "verdict": verdict}, entries("topic:orders:42", 4, "four", "five")
    )
    assert [await following, await anext(publications)] == ["four", "five"]
    await publications.aclose()
    assert (await peer.receive("unsubscribe"))["log"] == "topic:orders:42"
    await client.close()
    with pytest.raises(Stopped):
        await anext(messages)


async def test_a_loop_that_is_too_slow_is_told_and_keeps_a_bounded_number(server: FakeServer) -> None:
    client, _ = await joined(server)
    reader = Reader(2)
    for number in range(5):
        reader.put(number)
    got = []
    with pytest.raises(TooSlow):
        async for value in reader.read(client._shell):
            got.append(value)
    assert got == [0, 1]
    await client.close()


async def test_listeners_given_at_the_start_hear_what_the_start_brings(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    FileStorage(path).save(Saved(token="sma_test", positions={"session": ["e1", 3, "t3"]}))
    told: asyncio.Queue[Any] = asyncio.Queue()
    starting = SessionClient.start(
        server.url,
        storage=path,
        on_message=told.put_nowait,
        listeners={"gap": lambda gap: told.put_nowait(gap["reason"])},
    )
    task = asyncio.create_task(starting)
    peer = await server.accept()
    await peer.receive("connect")
    gap = {"mode": "gap", "from": 4, "to": 8, "reason": "trimmed", "position": ["e1", 8, "t8"]}
    message = entries("session", 9, {"type": "message", "data": "missed", "at": "…"})
    await peer.send(connected(logs={"session": gap}), message)
    client = await task
    assert [await asyncio.wait_for(told.get(), WAIT) for _ in range(2)] == ["trimmed", "missed"]
    await client.close()


@pytest.mark.parametrize("path", ["no slash", "/bad~2escape", "x/y"])
async def test_a_path_that_is_none_is_refused_as_documented(server: FakeServer, path: str) -> None:
    client, _ = await joined(server)
    state = client.state
    for call in (
        lambda: state.get(path),
        lambda: state.on(path, print),
        lambda: state.set(path, 1),
        lambda: state.delete(path),
        lambda: state.insert(path, 1),
        lambda: state.inc(path),
    ):
        with pytest.raises(Refused) as refused:
            call()
        assert (refused.value.name, refused.value.code) == ("invalid_path", 130)
    await client.close()


@pytest.mark.parametrize("ops", [[["set"]], [[]], ["set"], "set", [None], [["set", 1, 1]]])
async def test_operations_that_are_none_are_refused_as_documented(server: FakeServer, ops: Any) -> None:
    client, _ = await joined(server)
    with pytest.raises(Refused):
        client.state.update(ops)
    with pytest.raises(Refused):
        client.state.merge({1: "a key is text"})  # type: ignore[dict-item]
    assert client.pending == 0
    await client.close()


async def test_a_repr_says_who_it_is_and_no_secret(server: FakeServer, tmp_path: Path) -> None:
    client, peer = await joined(server, tmp_path / "client.json")
    client.state.set("/a", 1)
    await peer.receive("update")
    assert repr(client) == "<SessionClient session=s-1 client=c_one connected pending=1>"
    assert repr(client.state) == "<StateDocument 'main' version=0 pending=1>"
    storage = FileStorage(tmp_path / "client.json")
    assert repr(storage) == f"FileStorage('{tmp_path / 'client.json'}')"
    assert (
        "sma_test"
        not in f"{client!r}{client.topics!r}{storage.load()!r}{client.stats()!r}{client._shell.credentials!r}"
    )
    await client.close()


async def test_a_stopped_client_takes_no_write(server: FakeServer) -> None:
    """A failed future must not mean that the write is made later all the same."""
    client, peer = await joined(server)
    stopped = heard(client, "stopped")
    await peer.send({"type": "bye", "code": 4503, "name": "session_terminated", "reconnect": False})
    assert (await asyncio.wait_for(stopped.get(), WAIT))["name"] == "session_terminated"
    assert client.status == "failed"
    for answer in (client.state.set("/a", 1), client.send(1), client.topics.publish("t", 1)):
        with pytest.raises(Stopped):
            await answer
    with pytest.raises(Stopped):
        await client.state.create_if_absent({"a": 1})
    assert (client.pending, client.state.get()) == (0, {})
    await client.close()


# -- two places --------------------------------------------------------------------------------------------------------

REPLACED = {"type": "bye", "code": 4507, "name": "replaced", "reconnect": False}


async def test_a_client_that_another_place_took_over_stops(server: FakeServer) -> None:
    client, peer = await joined(server)
    answer = client.send(1)
    await peer.receive("send")
    await peer.send(REPLACED)
    with pytest.raises(Stopped, match="replaced"):
        await answer
    await client.close()


async def test_a_replacement_before_connected_is_this_clients_own_and_it_attaches_again(
    server: FakeServer, tmp_path: Path
) -> None:
    """The attach of an earlier connection, whose answer was lost, may be served after the one of this connection."""
    client, peer = await joined(server, tmp_path / "client.json")
    answer = client.send("kept")
    first = await peer.receive("send")
    peer.cut()
    peer = await server.accept()
    await peer.receive("connect")
    await peer.send(REPLACED)
    peer = await server.accept()
    assert (await peer.welcome(generation=4))["client_id"] == "c_one"
    assert await peer.receive("send") == first
    await peer.send({"type": "receipt", "seq": 1, "ok": True})
    assert (await answer)["ok"]
    await client.close()


async def test_a_clone_becomes_a_new_client_and_gives_its_writes_back(server: FakeServer) -> None:
    client, peer = await joined(server)
    unsent: list[Any] = []
    client.on("unsent", unsent.append)
    client.send("mine").add_done_callback(lambda _: None)
    await peer.receive("send")
    peer.cut()
    for _ in range(2):
        peer = await server.accept()
        await peer.receive("connect")
        await peer.close(4507)
    peer = await server.accept()
    assert (await peer.welcome(client_id="c_two", generation=1))["client_id"] is None
    assert [frame["data"] for frame in unsent] == ["mine"]
    await client.close()

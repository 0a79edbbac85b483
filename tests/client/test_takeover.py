"""Another attach took over (4507): this client's own that came late, or that of a copy of it elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from session_mgmt.client import FileStorage, SessionClient, Stopped
from session_mgmt.client.storage import Saved
from session_mgmt.client.transports.calls import OURS
from tests.client.fake_api import FakeClock, clock
from tests.client.fake_server import WAIT, FakeServer, Frame, Peer, connected, fake_server

__all__ = ["clock"]

REPLACED = {"code": 4507, "name": "replaced", "reconnect": False}
DRAINING = {"code": 4000, "name": "draining", "reconnect": True}
UNANSWERED = "unanswered"
Outcome = int | dict[str, Any] | Literal["unanswered"]


class Sockets:
    """Server of one client over WebSockets; what becomes of each attach is the test's."""

    transport = "websocket"

    def __init__(self, server: FakeServer) -> None:
        self.url, self._server = server.url, server
        self._peer: Peer | None = None

    async def attach(self, outcome: Outcome, **changes: Any) -> Frame:
        """Take the next attach, and answer it with its generation, a refusal or not at all; return its frame."""
        peer = self._peer = await self._server.accept()
        opening = await peer.receive("connect")
        if isinstance(outcome, int):
            await peer.send(connected(generation=outcome, **changes))
        elif isinstance(outcome, dict):
            await self.end(outcome)
        else:
            peer.cut()
        return opening

    async def end(self, refusal: dict[str, Any]) -> None:
        assert self._peer is not None
        await self._peer.send({"type": "bye", **refusal})


class Polls:
    """The same over long polls."""

    transport = "longpoll"
    url = "http://shop.test/api/"

    def __init__(self) -> None:
        self._calls: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/")
        if path == "connections/leave/":
            return httpx.Response(204, headers={OURS: "1"})
        answer: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        self._calls[path].put_nowait((json.loads(request.content), answer))
        return await answer

    async def attach(self, outcome: Outcome, **changes: Any) -> Frame:
        body, answer = await asyncio.wait_for(self._calls["connections/"].get(), WAIT)
        if isinstance(outcome, int):
            frame = connected(generation=outcome, recovery=None, **changes)
            answer.set_result(httpx.Response(200, json={"frames": [frame], "next_in": 0}, headers={OURS: "1"}))
        elif isinstance(outcome, dict):
            answer.set_result(_refuse(outcome))
        else:
            answer.set_exception(httpx.ReadError("gone"))
        return dict(body)

    async def end(self, refusal: dict[str, Any]) -> None:
        while True:
            _, answer = await asyncio.wait_for(self._calls["connections/poll/"].get(), WAIT)
            # Of an attachment that has ended; nobody waits for it.
            if not answer.cancelled():
                return answer.set_result(_refuse(refusal))


def _refuse(refusal: dict[str, Any]) -> httpx.Response:
    return httpx.Response(409, json={**refusal, "close": refusal["code"]}, headers={OURS: "1"})


@pytest.fixture(params=[Sockets, Polls])
async def server(request: Any, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> AsyncIterator[Sockets | Polls]:
    if request.param is Polls:
        polls = Polls()
        monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", lambda _, call: polls.answer(call))
        yield polls
        return
    async with fake_server() as running:
        yield Sockets(running)


async def begin(server: Sockets | Polls, generation: int = 1, storage: Any = None) -> SessionClient:
    transports: Any = [server.transport]
    starting = asyncio.create_task(
        SessionClient.start(server.url, token="sma_test", storage=storage, transports=transports)
    )
    await server.attach(generation)
    return await starting


async def test_an_attach_of_ones_own_that_comes_late_takes_over_and_the_client_attaches_again(
    server: Sockets | Polls,
) -> None:
    client = await begin(server)
    await server.end(DRAINING)
    await server.attach(UNANSWERED)
    await server.attach(2)
    # The one without an answer has become the third.
    await server.end(REPLACED)
    assert (await server.attach(4))["client_id"] == "c_one"
    await client.close()


async def test_an_attach_of_the_process_before_comes_late_too(server: Sockets | Polls, tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    FileStorage(path).save(Saved(token="sma_test", client_id="c_one"))
    client = await begin(server, 5, path)
    await server.end(REPLACED)
    assert (await server.attach(7))["client_id"] == "c_one"
    await client.close()


async def test_an_attach_that_was_refused_never_comes_late(server: Sockets | Polls) -> None:
    client = await begin(server)
    await server.end(DRAINING)
    await server.attach(DRAINING)
    await server.attach(2)
    await server.end(REPLACED)
    with pytest.raises(Stopped, match="replaced"):
        await asyncio.wait_for(client.send("never"), WAIT)
    await client.close()


async def test_a_copy_becomes_a_new_client_the_second_time_and_gives_its_writes_back(server: Sockets | Polls) -> None:
    client = await begin(server)
    unsent: list[Any] = []
    client.on("unsent", unsent.append)
    client.send("mine").add_done_callback(lambda written: written.exception())
    await server.end(DRAINING)
    await server.attach(UNANSWERED)
    await server.attach(2)
    await server.end(REPLACED)
    await server.attach(4)
    await server.end(REPLACED)
    assert (await server.attach(1, client_id="c_two"))["client_id"] is None
    assert [frame["data"] for frame in unsent] == ["mine"]
    await client.close()


async def test_a_client_stops_whose_file_another_process_has_opened(server: Sockets | Polls, tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    FileStorage(path).save(Saved(token="sma_test", client_id="c_one"))
    client = await begin(server, 5, path)
    FileStorage(path).save(FileStorage(path).load())
    theirs = path.read_text()
    await server.end(REPLACED)
    with pytest.raises(Stopped, match="replaced"):
        await asyncio.wait_for(client.send("never"), WAIT)
    await client.close()
    assert path.read_text() == theirs, "the file is the other one's"


@pytest.mark.parametrize("is_cut", [True, False], ids=["after a cut", "while connected"])
async def test_nothing_is_sent_under_the_name_that_another_process_has_taken(
    server: Sockets | Polls, is_cut: bool, tmp_path: Path
) -> None:
    path = tmp_path / "client.json"
    FileStorage(path).save(Saved(token="sma_test", client_id="c_one"))
    client = await begin(server, 5, path)
    FileStorage(path).save(FileStorage(path).load())
    theirs, stopped = path.read_text(), asyncio.Event()
    client.on("stopped", lambda _: stopped.set())
    # The next attach would take the connection of the other process away, and a write its number.
    if is_cut:
        await server.end(DRAINING)
        await asyncio.wait_for(stopped.wait(), WAIT)
    with pytest.raises(Stopped, match="replaced"):
        await client.send("never")
    assert (client.status, client.reason) == ("failed", {"code": 4507, "name": "replaced"})
    await client.close()
    assert path.read_text() == theirs

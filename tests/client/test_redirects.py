"""Redirects of a portal or of another site: nothing follows one, and none says anything about the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from session_mgmt.client import Refused, SessionClient
from session_mgmt.client.effects import Leave
from session_mgmt.client.rest import NOT_OURS, PORTAL_WAIT
from session_mgmt.client.transports.carrier import Address
from session_mgmt.client.transports.socket import SocketCarrier
from tests.client.fake_api import Api, FakeClock, api, clock, entered
from tests.client.fake_server import FakeServer, connected, fake_server
from tests.client.test_entering import session, start
from tests.ports import take_port

__all__ = ["api", "clock"]

CALLS: dict[str, Callable[[SessionClient], Awaitable[Any]]] = {
    "documents": lambda client: client.documents(),
    "narrow": lambda client: client.narrow(["read"]),
    "login": lambda client: client.login({"cookie": "sessionid=1"}),
    "info": lambda client: client.state.info(),
    "sizes": lambda client: client.state.sizes(),
    "compress": lambda client: client.state.compress(),
    "history": lambda client: client.state.history(),
    "read_at": lambda client: client.state.read_at(1),
    "diff": lambda client: client.state.diff(1),
    "persist": lambda client: client.state.persist(),
    "checkpoints": lambda client: client.state.checkpoints(),
    "forget": lambda client: client.state.forget("old"),
    "restore": lambda client: client.state.restore(1),
    "conflicts": lambda client: client.state.conflicts(),
    "resolve": lambda client: client.state.resolve("1", "server"),
    "sync": lambda client: client.state.sync(),
    "devices": lambda client: client.sessions.list(),
    "get_connections": lambda client: client.sessions.get_connections(),
    "end": lambda client: client.sessions.end("s-9"),
    "end_others": lambda client: client.sessions.end_others(),
}


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


def redirect() -> httpx.Response:
    """A redirect whose JSON looks like an error of ours."""
    error = {"code": 210, "name": "session_terminated", "temporary": False}
    return httpx.Response(307, json=error, headers={"location": "https://portal.test/"})


async def test_each_kind_of_call_is_refused_for_now_and_goes_nowhere_else(
    server: FakeServer, api: Api, clock: FakeClock
) -> None:
    api.answers = [entered()]
    client, _, _ = await start(server, None)
    token, hosts = client.token, {call.headers["host"] for call in api.calls}
    for name, call in CALLS.items():
        # A second call would find no answer.
        api.answers = [redirect()]
        with pytest.raises(Refused, match=r"answers at .*/api/.* \(307\)") as refused:
            await call(client)
        told = refused.value
        assert (name, told.name, told.temporary, told.retry_after) == (name, NOT_OURS, True, PORTAL_WAIT)
    assert {call.headers["host"] for call in api.calls} == hosts
    assert (client.token, client.status, len(api.calls)) == (token, "connected", len(CALLS) + 1)
    await client.close()


async def test_tokens_are_exchanged_when_it_has_gone_and_nothing_was_cleared(
    server: FakeServer, api: Api, clock: FakeClock
) -> None:
    api.answers = [entered()]
    client, _, peer = await start(server, None)
    clock.time += 3600.0
    api.answers = [redirect(), redirect(), entered(tokens=2)]
    await peer.close()
    peer = await server.accept()
    assert (await peer.welcome(**session()))["token"] == "sma_2"
    assert [call.path for call in api.calls[1:]] == ["tokens/refresh/"] * 3
    assert [wait >= PORTAL_WAIT for wait in clock.waits[-2:]] == [True, True]
    await client.close()


async def test_a_large_document_comes_with_the_next_connection(server: FakeServer, api: Api, clock: FakeClock) -> None:
    api.answers = [entered()]
    client, _, peer = await start(server, None)
    api.answers = [redirect()]
    large = {"type": "snapshot", "log": "state:main", "url": "/api/sessions/s-1/state/main/", "reason": "too_large"}
    await peer.send({**large, "position": ["e1", 9, "t9"]})
    again = await server.accept()
    await again.receive("connect")
    await again.send(connected(**session()))
    hosts = [call.headers["host"] for call in api.calls]
    assert hosts == [hosts[0]] * 2
    await client.close()


async def test_a_handshake_is_not_followed_either() -> None:
    async def answer(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = other.url.replace("http", "ws")
        return response

    async def never(_: ServerConnection) -> None:
        raise AssertionError

    port = take_port()
    async with fake_server() as other, serve(never, "127.0.0.1", port, process_request=answer):
        carrier = SocketCarrier(Address(f"ws://127.0.0.1:{port}/", {"authorization": "Basic secret"}))
        assert await carrier.open() == Leave(1006, NOT_OURS, reconnect=True, retry_after=PORTAL_WAIT)

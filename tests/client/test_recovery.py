"""Session that has expired: its client goes on in the successor, and unanswered writes come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.client import FileStorage, SessionClient, Stopped
from session_mgmt.client.errors import Unsent
from session_mgmt.client.storage import Saved
from tests.client.fake_api import Api, api, down, refusal
from tests.client.fake_server import FakeServer, Peer, fake_server, snapshot
from tests.client.test_session import heard, joined

__all__ = ["api"]

BYE = {"type": "bye", "code": 4504, "name": "session_expired", "reconnect": False, "retry_after": None}
CALLS = {
    ("POST", "sessions/s-1/recover/", "Bearer sma_test"),
    ("POST", "sessions/s-2/recover/", "Bearer sma_next"),
}
RECEIPT = {"verdict": "state_only", "reason": "session_expired", "recovered_from": "s-1", "documents": ["main"]}
SUCCESSOR = {
    "session": {"session_id": "s-2", "state": "active"},
    "token": "sma_next",
    "positions": {"session": ["e2", 0, ""]},
    "endpoints": {"websocket": "/ws/session/"},
    "receipt": RECEIPT,
}


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


@pytest.fixture
def answers(api: Api) -> Iterator[list[Any]]:
    """Answers of the next calls over HTTP, one each; each call must ask for the successor of `s-1`."""
    yield api.answers
    asked = [(call.method, call.path, call.headers["authorization"]) for call in api.calls]
    assert set(asked) <= CALLS, asked


async def expire(peer: Peer, code: int = 4504, name: str = "session_expired") -> None:
    await peer.send({**BYE, "code": code, "name": name, "reconnect": code < 4500})
    await peer.close(code)


async def enter(server: FakeServer, **changes: Any) -> tuple[dict[str, Any], Peer]:
    peer = await server.accept()
    opening = await peer.welcome(session={"session_id": "s-2", "state": "active"}, client_id="c_two", **changes)
    return opening, peer


async def test_a_client_goes_on_in_the_successor_and_gives_unanswered_writes_back(
    server: FakeServer, answers: list[Any], tmp_path: Path
) -> None:
    answers.append(SUCCESSOR)
    client, peer = await joined(server, tmp_path / "client.json")
    recoveries, unsent = heard(client, "recovery"), heard(client, "unsent")
    await peer.send({"type": "entries", "log": "state:main", "epoch": "e1", "entries": [[1, "t1", {"ops": []}]]})
    lost = client.state.set("/a", 1)
    await peer.receive("update")
    await expire(peer)
    opening, peer = await enter(server)
    assert (opening["token"], opening["client_id"], opening["acked"]) == ("sma_next", None, 0)
    assert opening["logs"] == {"session": ["e2", 0, ""], "state:main": None}
    with pytest.raises(Unsent):
        await lost
    assert (await unsent.get())["ops"] == [["set", "/a", 1]]
    assert await recoveries.get() == RECEIPT
    changes: asyncio.Queue[Any] = asyncio.Queue()
    client.state.on("", changes.put_nowait)
    await peer.send(snapshot("state:main", 1, {"kept": True}, epoch="e9"))
    assert await changes.get() == {"kept": True}
    written = client.state.set("/b", 2)
    update = await peer.receive("update")
    assert (update["seq"], update["base"], update["epoch"]) == (1, 1, "e9")
    await peer.send({"type": "receipt", "seq": 1, "ok": True, "position": ["e9", 2, "t2"]})
    await written
    stored = FileStorage(tmp_path / "client.json").load()
    assert (stored.token, stored.session_id, stored.client_id) == ("sma_next", "s-2", "c_two")
    assert (client.token, client.info["session_id"]) == ("sma_next", "s-2")
    await client.close()


async def test_topics_go_on_where_they_were(server: FakeServer, answers: list[Any]) -> None:
    answers.append(SUCCESSOR)
    client, peer = await joined(server)
    subscribing = asyncio.create_task(client.topics.subscribe("orders:42", print))
    asked = await peer.receive("subscribe")
    verdict = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
    await peer.send({"type": "reply", "id": asked["id"], "verdict": verdict})
    await subscribing
    await expire(peer)
    opening, _ = await enter(server)
    assert opening["logs"]["topic:orders:42"] == ["e1", 3, "t3"]
    await client.close()


async def test_a_server_that_does_not_answer_is_asked_again(server: FakeServer, answers: list[Any]) -> None:
    answers += [down(), refusal("busy", 503, temporary=True, retry_after=0.0), SUCCESSOR]
    client, peer = await joined(server)
    errors = heard(client, "error")
    await expire(peer)
    opening, _ = await enter(server)
    assert opening["token"] == "sma_next"
    assert [(await errors.get())["name"], (await errors.get())["name"]] == ["network_error", "busy"]
    await client.close()


@pytest.mark.parametrize("answer", [refusal("not_recoverable", 409), {"page": "of a proxy"}])
async def test_a_client_without_a_successor_stops(server: FakeServer, answers: list[Any], answer: Any) -> None:
    answers.append(answer)
    client, peer = await joined(server)
    stopped = heard(client, "stopped")
    await expire(peer)
    assert await stopped.get() == {"code": 4504, "name": "session_expired"}
    with pytest.raises(Stopped, match="session_expired"):
        await client.state.set("/a", 1)
    await client.close()


async def test_a_stored_session_that_has_expired_meanwhile_is_recovered_at_the_start(
    server: FakeServer, answers: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "client.json"
    write = {"type": "send", "seq": 4, "data": "waiting"}
    FileStorage(path).save(Saved(token="sma_test", session_id="s-1", client_id="c_1", next_seq=5, writes=[write]))
    answers.append(SUCCESSOR)
    unsent: list[Any] = []
    starting = SessionClient.start(server.url, storage=path, listeners={"unsent": unsent.append})
    task = asyncio.create_task(starting)
    peer = await server.accept()
    await peer.receive("connect")
    await expire(peer)
    await enter(server)
    client = await task
    assert (unsent, client.pending, client.info["session_id"]) == ([write], 0, "s-2")
    await client.close()


async def test_a_client_that_knows_only_its_token_enters_the_successor_too(
    server: FakeServer, answers: list[Any]
) -> None:
    answers.append(SUCCESSOR)
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test"))
    peer = await server.accept()
    await peer.receive("connect")
    await peer.send({"type": "error", "code": 212, "name": "session_expired", "session_id": "s-1"})
    await expire(peer)
    opening, _ = await enter(server)
    assert opening["token"] == "sma_next"
    client = await starting
    assert client.info["session_id"] == "s-2"
    await client.close()


async def test_a_session_whose_name_nobody_tells_cannot_be_recovered(server: FakeServer) -> None:
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test"))
    peer = await server.accept()
    await peer.receive("connect")
    await expire(peer)
    with pytest.raises(Stopped, match="session_expired"):
        await starting


async def test_a_token_that_has_expired_is_treated_as_its_session(server: FakeServer, answers: list[Any]) -> None:
    answers += [SUCCESSOR, refusal("token_expired")]
    client, peer = await joined(server)
    stopped = heard(client, "stopped")
    await expire(peer, 4001, "token_expired")
    opening, peer = await enter(server)
    assert opening["token"] == "sma_next"
    await expire(peer, 4001, "token_expired")
    assert await stopped.get() == {"code": 4001, "name": "token_expired"}
    await client.close()

"""Whose session a client goes on with: what it asks at its start, keeps between two processes, and lets go of."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_mgmt.client import FileStorage, Refused, SessionClient, Stopped, Unsent
from session_mgmt.client.entering import MISSING_AGAIN
from session_mgmt.client.storage import Saved, Storage
from tests.client.fake_api import Api, FakeClock, api, clock, down, entered, refusal
from tests.client.fake_server import WAIT, FakeServer, Peer, entries, fake_server, snapshot

__all__ = ["api", "clock"]

LOGIN = {"Authorization": "Token of-the-project"}
MESSAGE = {"type": "send", "seq": 4, "data": "of A"}


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the session of user 7, with a write that waits and a place in a topic."""
    path = tmp_path / "client.json"
    saved = Saved(
        token="sma_1", refresh="smr_1", session_id="s-1", user_id="7", client_id="c_one", since=1_000_000.0, life=900.0
    )
    saved.next_seq, saved.writes = 5, [MESSAGE]
    saved.positions = {"session": ["e1", 3, "t3"], "topic:orders:42": ["e1", 8, "t8"]}
    FileStorage(path).save(saved)
    return path


def session(id_: str = "s-1", user: str | None = "7") -> dict[str, Any]:
    return {"session": {"session_id": id_, "user_id": user, "state": "active"}}


async def start(
    server: FakeServer, path: Path | Storage | None = None, *, person: str | None = "7", **options: Any
) -> Any:
    """Start a client whose connection is of a person's session; gives it, its `connect` and the peer."""
    starting = asyncio.create_task(SessionClient.start(server.url, storage=path, **options))
    arriving = asyncio.create_task(server.accept())
    await asyncio.wait({starting, arriving}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        arriving.cancel()
        await starting
    peer = await arriving
    opening = await peer.welcome(**session("s-2" if person == "8" else "s-1", person))
    return await starting, opening, peer


async def test_a_client_that_knows_its_user_goes_on_without_a_question(
    server: FakeServer, api: Api, clock: FakeClock, path: Path
) -> None:
    client, opening, peer = await start(server, path, headers=LOGIN, user=7)
    assert (api.calls, opening["token"], opening["user"], opening["client_id"]) == ([], "sma_1", "7", "c_one")
    assert await peer.receive("send") == MESSAGE
    await client.close()


async def test_no_login_and_no_token_is_in_a_log_at_any_level(
    server: FakeServer, api: Api, clock: FakeClock, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The libraries below write requests and frames at the level DEBUG."""
    caplog.set_level(logging.DEBUG)
    api.answers = [entered("continued", access="sma_fresh-secret", refresh="smr_fresh-secret", positions={})]
    client, opening, _ = await start(server, path, headers=LOGIN)
    await client.close()
    assert opening["token"] == "sma_fresh-secret" and caplog.records
    # The fake server is in this process too.
    mine = [record for record in caplog.records if record.name != "websockets.server"]
    told = " ".join(f"{record.getMessage()} {vars(record)}" for record in mine)
    assert [secret for secret in ("of-the-project", "fresh-secret") if secret in told] == []


async def test_a_client_that_does_not_know_its_user_asks_first(
    server: FakeServer, api: Api, clock: FakeClock, path: Path
) -> None:
    api.answers = [entered("continued", access=None, refresh=None, expires_in=None, positions={})]
    client, opening, peer = await start(server, path, headers=LOGIN)
    [call] = api.calls
    assert call.body["kept"] == {"session": "s-1", "token": "smr_1"}
    assert (call.headers["authorization"], "user" in call.body) == (LOGIN["Authorization"], False)
    assert (opening["token"], opening["client_id"], opening["logs"]["session"]) == ("sma_1", "c_one", ["e1", 3, "t3"])
    assert await peer.receive("send") == MESSAGE
    await client.close()


@pytest.mark.parametrize(
    ("known", "reason"),
    [("7", "login_changed"), ("7", ""), (None, "login_changed")],
    ids=["ended", "not proved any more", "nobody knows whose the token is"],
)
async def test_a_session_of_somebody_else_is_left_with_all_that_was_kept_of_it(
    server: FakeServer, api: Api, clock: FakeClock, path: Path, known: str | None, reason: str
) -> None:
    saved = FileStorage(path).load()
    saved.user_id, saved.refresh = known, known and saved.refresh
    FileStorage(path).save(saved)
    api.answers = [entered("created", "s-2", "8", tokens=2, reason=reason)]
    told: list[Any] = []
    options = {"headers": LOGIN, "listeners": {"unsent": told.append}}
    client, opening, peer = await start(server, path, person="8", **options)
    assert (opening["token"], opening["user"], opening["client_id"]) == ("sma_2", "8", None)
    assert opening["logs"] == {"session": ["e1", 0, ""], "state:main": None}
    # A mark in the order of the frames: nothing was sent before it.
    client.send("of B")
    assert (await peer.receive("send"))["data"] == "of B"
    following = asyncio.create_task(client.topics.subscribe("orders:42", print))
    assert (await peer.receive("subscribe"))["position"] is None
    following.cancel()
    stored = FileStorage(path).load()
    assert (stored.user_id, stored.refresh, [w["data"] for w in stored.writes]) == ("8", "smr_2", ["of B"])
    assert (told, stored.positions.keys()) == ([], {"session"})
    await client.close()


async def test_a_start_for_another_user_than_the_one_who_is_logged_in_changes_nothing(
    api: Api, clock: FakeClock, path: Path
) -> None:
    before = FileStorage(path).load()
    api.answers = [refusal("login_mismatch", 409)]
    with pytest.raises(Refused, match="login_mismatch"):
        await SessionClient.start("http://shop.test/api/", storage=path, headers=LOGIN, user="8")
    assert api.calls[0].body["user"] == "8"
    after = FileStorage(path).load()
    assert (after.token, after.user_id, after.writes) == (before.token, "7", before.writes)


async def test_a_kept_session_is_not_used_for_another_user_although_there_is_no_login_to_ask_with(
    api: Api, clock: FakeClock, path: Path
) -> None:
    api.answers = [refusal("login_mismatch", 409)]
    with pytest.raises(Refused, match="login_mismatch"):
        await SessionClient.start("http://shop.test/api/", storage=path, user="8")


async def test_nothing_of_a_kept_session_is_sent_while_the_server_cannot_say_whose_it_is(
    server: FakeServer, api: Api, clock: FakeClock, path: Path
) -> None:
    api.answers = [down(), refusal("busy", 503, temporary=True), entered("continued", access=None, refresh=None)]
    client, opening, _ = await start(server, path, headers=LOGIN)
    assert (api.paths, opening["token"]) == (["sessions/enter/"] * 3, "sma_1")
    await client.close()


async def test_a_login_that_is_missing_is_asked_about_again(server: FakeServer, api: Api, clock: FakeClock) -> None:
    api.answers = [refusal("login_missing", 409), entered()]
    client, _, _ = await start(server, headers=LOGIN)
    assert clock.waits == [MISSING_AGAIN]
    assert api.calls[0].body["nonce"] == api.calls[1].body["nonce"]
    await client.close()


async def test_a_nonce_that_is_no_longer_known_is_replaced_once(server: FakeServer, api: Api, path: Path) -> None:
    saved = FileStorage(path).load()
    saved.nonce = "of long ago"
    FileStorage(path).save(saved)
    api.answers = [refusal("invalid_field", 400, field="nonce"), entered("continued")]
    client, _, _ = await start(server, path, headers=LOGIN)
    first, second = (call.body["nonce"] for call in api.calls)
    assert first == "of long ago" != second
    await client.close()


@pytest.mark.parametrize("choice", [None, "claim"])
async def test_a_visitor_is_asked_what_becomes_of_the_session(server: FakeServer, api: Api, choice: Any) -> None:
    documents = [{"name": "cart", "version": 12}]
    api.answers = [entered("ask", access=None, refresh=None, documents=documents), entered("claimed")]
    asked: list[Any] = []

    async def choose(found: Any) -> Any:
        asked.append(found)
        return choice

    client, _, _ = await start(server, headers=LOGIN, on_ask=choose if choice else None)
    assert [call.body.get("choice") for call in api.calls] == [None, choice or "fresh"]
    assert asked == ([documents] if choice else [])
    await client.close()


async def test_another_login_leaves_the_open_connection_and_empties_what_is_shown(
    server: FakeServer, api: Api, tmp_path: Path
) -> None:
    api.answers = [entered()]
    client, _, peer = await start(server, tmp_path / "client.json", headers=LOGIN)
    unsent, identities = [], []
    client.on("unsent", unsent.append)
    client.on("identity", identities.append)
    shown: asyncio.Queue[Any] = asyncio.Queue()
    client.state.on("", shown.put_nowait)
    await peer.send(snapshot("state:main", 1, {"of": "A"}))
    assert await asyncio.wait_for(shown.get(), WAIT) == {"of": "A"}
    lost = client.send("of A")
    await peer.receive("send")
    api.answers = [entered("created", "s-2", "8", tokens=2, reason="login_changed")]
    changing = asyncio.create_task(client.login({"Authorization": "Token of B"}, user=8))
    # On its way when the session changed: it belongs to the other one.
    await peer.send(entries("state:main", 2, {"ops": [["set", "/late", 1]]}))
    peer = await server.accept()
    opening = await peer.welcome(**session("s-2", "8"))
    await changing
    assert (opening["token"], opening["client_id"], opening["user"]) == ("sma_2", None, "8")
    assert (api.calls[1].headers["authorization"], api.calls[1].body["user"]) == ("Token of B", "8")
    assert (client.state.get(), opening["logs"]["state:main"]) == ({}, None)
    assert ([frame["data"] for frame in unsent], identities) == (
        ["of A"],
        [{"verdict": "created", "reason": "login_changed", "user_id": "8"}],
    )
    with pytest.raises(Unsent):
        await lost
    await client.close()


async def test_a_login_while_a_connection_opens_leaves_that_too(server: FakeServer, api: Api) -> None:
    api.answers = [entered()]
    client, _, peer = await start(server, headers=LOGIN)
    peer.cut()
    peer = await server.accept()
    assert (await peer.receive("connect"))["token"] == "sma_1"
    api.answers = [entered("created", "s-2", "8", tokens=2, reason="login_changed")]
    changing = asyncio.create_task(client.login({"Authorization": "Token of B"}))
    peer = await server.accept()
    opening = await peer.welcome(**session("s-2", "8"))
    assert (opening["token"], opening["client_id"], opening["user"]) == ("sma_2", None, "8")
    await changing
    await client.close()


async def test_a_claimed_session_keeps_its_client_and_its_writes(server: FakeServer, api: Api, tmp_path: Path) -> None:
    api.answers = [entered(user=None)]
    client, opening, peer = await start(server, tmp_path / "client.json", person=None)
    assert opening["user"] is None
    answer = client.send("of the visitor")
    first = await peer.receive("send")
    api.answers = [entered("claimed", tokens=2, positions={})]
    await client.login(LOGIN)
    await peer.send({"type": "bye", "code": 4005, "name": "detached", "reconnect": True, "reason": "claimed"})
    peer = await server.accept()
    opening = await peer.welcome(**session(), generation=2)
    assert (opening["token"], opening["client_id"], opening["user"]) == ("sma_2", "c_one", "7")
    assert await peer.receive("send") == first
    await peer.send({"type": "receipt", "seq": 1, "ok": True})
    assert (await answer)["ok"]
    assert api.paths == ["sessions/enter/"] * 2
    await client.close()


async def test_revoked_tokens_are_replaced_after_a_moment_and_nothing_is_lost(
    server: FakeServer, api: Api, clock: FakeClock
) -> None:
    api.answers = [entered(), entered("continued", tokens=2, positions={})]
    client, _, peer = await start(server, headers=LOGIN)
    answer = client.send("kept")
    first = await peer.receive("send")
    await peer.send({"type": "bye", "code": 4006, "name": "login_check", "reconnect": True})
    peer = await server.accept()
    opening = await peer.welcome(**session(), generation=2)
    assert (opening["token"], opening["client_id"]) == ("sma_2", "c_one")
    assert 2.0 <= clock.waits[0] <= 4.0
    assert await peer.receive("send") == first
    await peer.send({"type": "receipt", "seq": 1, "ok": True})
    assert (await answer)["ok"]
    await client.close()


@pytest.mark.parametrize("reason", ["logged_out", ""])
async def test_a_session_that_was_ended_is_kept_no_longer(
    server: FakeServer, api: Api, clock: FakeClock, path: Path, reason: str
) -> None:
    ended, unsent, stopped = [], [], asyncio.Event()
    listeners = {"ended": ended.append, "unsent": unsent.append, "stopped": lambda _: stopped.set()}
    client, _, peer = await start(server, path, listeners=listeners)
    waiting = asyncio.create_task(client.flushed())
    answer = client.send("too late")
    await peer.send({"type": "bye", "code": 4503, "name": "session_terminated", "reconnect": False, "reason": reason})
    await asyncio.wait_for(stopped.wait(), WAIT)
    for lost in (waiting, answer, client.flushed()):
        with pytest.raises(Stopped, match="session_terminated"):
            await lost
    assert ended == [{"reason": reason or "session_terminated"}]
    assert [frame["data"] for frame in unsent] == ["of A", "too late"]
    assert FileStorage(path).load() == Saved(previous=None)
    await client.close()


async def test_a_session_that_only_its_tokens_proved_is_not_given_up_by_entering_as_nobody(
    server: FakeServer, api: Api, clock: FakeClock, path: Path
) -> None:
    client, _, peer = await start(server, path)
    stopped: asyncio.Queue[Any] = asyncio.Queue()
    client.on("stopped", stopped.put_nowait)
    await peer.send({"type": "bye", "code": 4006, "name": "login_check", "reconnect": True})
    assert (await asyncio.wait_for(stopped.get(), WAIT))["name"] == "login_check"
    assert api.calls == []
    await client.close()


async def test_a_logout_sends_what_waits_and_leaves_nothing(server: FakeServer, api: Api, path: Path) -> None:
    saved = FileStorage(path).load()
    saved.since = time.time()
    FileStorage(path).save(saved)
    client, _, peer = await start(server, path)
    first = await peer.receive("send")
    api.answers = [httpx.Response(204)]
    leaving = asyncio.create_task(client.logout())
    await peer.send({"type": "receipt", "seq": first["seq"], "ok": True})
    await leaving
    assert [(call.method, call.path, call.headers["authorization"]) for call in api.calls] == [
        ("DELETE", "sessions/s-1/", "Bearer sma_1")
    ]
    assert (FileStorage(path).load(), client.status) == (Saved(), "disconnected")


async def test_forget_removes_what_is_kept_without_a_server(path: Path) -> None:
    SessionClient.forget(path)
    assert FileStorage(path).load() == Saved()


async def test_a_token_of_another_session_leaves_the_client_of_the_kept_one(server: FakeServer, path: Path) -> None:
    unsent: list[Any] = []
    starting = SessionClient.start(server.url, storage=path, token="sma_joined", listeners={"unsent": unsent.append})
    task = asyncio.create_task(starting)
    peer: Peer = await server.accept()
    opening = await peer.welcome(**session("s-9"))
    client = await task
    assert (opening["client_id"], opening["logs"]["session"], "user" in opening) == (None, None, False)
    assert unsent == [MESSAGE]
    stored = FileStorage(path).load()
    assert (stored.token, stored.refresh, stored.session_id) == ("sma_joined", None, "s-9")
    await client.close()

"""Tokens of a client: exchanged before they end and after the server refused them, once, with nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_mgmt.client import FileStorage, SessionClient, Stopped
from session_mgmt.client.credentials import DUE_AFTER
from session_mgmt.client.link import Link
from session_mgmt.client.renewal import RENEW_AGAIN
from session_mgmt.client.storage import Saved
from tests.client.fake_api import Api, FakeClock, api, clock, down, entered, pair, refusal
from tests.client.fake_server import WAIT, FakeServer, Frame, Peer, fake_server
from tests.client.test_entering import session, start

__all__ = ["api", "clock"]

LIFE = 900.0
EXPIRED = {"type": "bye", "code": 4001, "name": "token_expired", "reconnect": True}


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


class Watched(FileStorage):
    """File that tells when something is stored."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._saved = asyncio.Event()

    def save(self, saved: Saved) -> None:
        super().save(saved)
        self._saved.set()

    async def until(self, is_so: Callable[[Saved], bool]) -> Saved:
        async with asyncio.timeout(WAIT):
            while not is_so(self.load()):
                self._saved.clear()
                await self._saved.wait()
        return self.load()


@pytest.fixture
def storage(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "client.json")


async def begin(server: FakeServer, api: Api, storage: Any, **changes: Any) -> tuple[SessionClient, Peer]:
    api.answers = [entered(**changes)]
    client, _, peer = await start(server, storage)
    api.calls.clear()
    return client, peer


async def come_back(server: FakeServer) -> tuple[Frame, Peer]:
    peer = await server.accept()
    return await peer.welcome(**session(), generation=2), peer


def reply(asked: Frame, **changes: Any) -> Frame:
    return {"type": "reply", "id": asked["id"], **pair(2), **changes}


async def test_tokens_are_exchanged_over_the_open_connection_before_they_end(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    clock.pass_time(DUE_AFTER * LIFE)
    asked = await peer.receive("refresh")
    assert (asked["token"], asked["nonce"]) == ("smr_1", storage.load().nonce)
    await peer.send(reply(asked))
    stored = await storage.until(lambda saved: saved.refresh == "smr_2")
    assert (stored.token, stored.nonce, client.token, api.calls) == ("sma_2", None, "sma_2", [])
    # And once more: the next exchange is planned.
    clock.pass_time(DUE_AFTER * LIFE)
    assert (await peer.receive("refresh"))["token"] == "smr_2"
    assert client.stats().connections == 1
    await client.close()


async def test_a_token_that_is_young_is_left_alone(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    clock.pass_time(0.5 * LIFE)
    client.send("the next frame")
    await peer.receive("send")
    await client.close()


async def test_a_timer_that_rings_too_early_is_set_again(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    clock.ring_early()
    assert client._shell._renewal._task is not None
    await client._shell._renewal._task
    clock.pass_time(DUE_AFTER * LIFE)
    assert (await peer.receive("refresh"))["token"] == "smr_1"
    await client.close()


async def test_after_4001_the_client_comes_back_with_new_tokens_and_sends_what_waits(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    api.answers = [pair(2)]
    answer = client.state.inc("/n")
    first = await peer.receive("update")
    await peer.send(EXPIRED)
    later = client.send("meanwhile")
    opening, peer = await come_back(server)
    assert (opening["token"], opening["client_id"]) == ("sma_2", "c_one")
    assert [(call.path, call.body["token"]) for call in api.calls] == [("tokens/refresh/", "smr_1")]
    assert await peer.receive("update") == first
    assert (await peer.receive("send"))["data"] == "meanwhile"
    await peer.send(*({"type": "receipt", "seq": seq, "ok": True} for seq in (1, 2)))
    assert (await answer)["ok"] and (await later)["ok"]
    await client.close()


async def test_a_lost_answer_is_asked_for_again_with_the_same_nonce(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    clock.pass_time(DUE_AFTER * LIFE)
    asked = await peer.receive("refresh")
    # The server has exchanged the tokens, and its answer never arrives, neither here nor over HTTP.
    api.answers = [down(), down(), pair(2)]
    peer.cut()
    opening, _ = await come_back(server)
    assert opening["token"] == "sma_2"
    exchanges = [call.body for call in api.calls]
    assert exchanges == [{"token": "smr_1", "nonce": asked["nonce"]}] * 3
    await client.close()


async def test_a_process_that_ended_before_the_answer_came_asks_for_it_in_the_next(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    clock.pass_time(DUE_AFTER * LIFE)
    asked = await peer.receive("refresh")
    await client.close()
    api.answers = [pair(2)]
    client, opening, _ = await start(server, storage)
    assert (opening["token"], opening["client_id"]) == ("sma_2", "c_one")
    assert [call.body for call in api.calls] == [{"token": "smr_1", "nonce": asked["nonce"]}]
    await client.close()


async def test_two_who_need_new_tokens_make_one_exchange(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    clock.pass_time(DUE_AFTER * LIFE)
    asked = await peer.receive("refresh")
    identity = client._shell._identity
    others = asyncio.gather(identity.renew(), identity.settle())
    await peer.send(reply(asked))
    assert await asyncio.wait_for(others, WAIT) == [True, None]
    client.send("the next frame")
    await peer.receive("send")
    assert (api.calls, client.token) == ([], "sma_2")
    await client.close()


async def test_a_login_that_is_due_is_proved_over_http_and_the_connection_lives_on(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage, login_due_in=100.0)
    api.answers = [pair(2, login_due_in=3600.0)]
    clock.pass_time(DUE_AFTER * LIFE)
    # The same exchange, so that the connection has the new token as well.
    asked = await peer.receive("refresh")
    assert [(call.path, call.body) for call in api.calls] == [
        ("tokens/refresh/", {"token": "smr_1", "nonce": asked["nonce"]})
    ]
    await peer.send(reply(asked))
    await storage.until(lambda saved: saved.refresh == "smr_2")
    assert client.stats().connections == 1
    await client.close()


async def test_a_busy_server_is_asked_again_on_the_same_connection(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    clock.pass_time(DUE_AFTER * LIFE)
    asked = await peer.receive("refresh")
    busy = {"type": "error", "id": asked["id"], "code": 301, "name": "busy", "temporary": True, "retry_after": 7.0}
    await peer.send(busy, {"type": "ping", "ping": 1})
    await peer.receive("pong")
    clock.pass_time(RENEW_AGAIN)
    client.send("nothing before")
    await peer.receive("send")
    clock.pass_time(2.0)
    assert (await peer.receive("refresh"))["nonce"] == asked["nonce"]
    await client.close()


@pytest.mark.parametrize("name", ["login_check", "invalid_token", "session_expired"])
async def test_a_refused_exchange_is_settled_by_entering(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched, name: str
) -> None:
    api.answers = [entered()]
    client, _, peer = await start(server, storage, headers={"Authorization": "Token x"})
    answer = client.send("kept")
    first = await peer.receive("send")
    api.answers = [entered("continued", tokens=3, positions={})]
    clock.pass_time(DUE_AFTER * LIFE)
    asked = await peer.receive("refresh")
    await peer.send({"type": "error", "id": asked["id"], "code": 201, "name": name, "temporary": False})
    opening, peer = await come_back(server)
    assert (api.paths, opening["token"], opening["client_id"]) == (["sessions/enter/"] * 2, "sma_3", "c_one")
    assert await peer.receive("send") == first
    await peer.send({"type": "receipt", "seq": 1, "ok": True})
    await answer
    await client.close()


async def test_a_visitor_whose_login_has_changed_enters(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    api.answers = [entered(user=None)]
    client, _, peer = await start(server, storage, person=None)
    api.answers = [entered("claimed", tokens=3, positions={})]
    clock.pass_time(DUE_AFTER * LIFE)
    asked = await peer.receive("refresh")
    await peer.send(reply(asked, login_changed=True))
    opening, _ = await come_back(server)
    assert (api.calls[1].body["kept"]["token"], opening["token"], opening["user"]) == ("smr_2", "sma_3", "7")
    await client.close()


@pytest.mark.parametrize(("hours", "calls"), [(23, ["tokens/refresh/"]), (25, ["tokens/refresh/", "sessions/enter/"])])
async def test_a_machine_that_slept_needs_one_exchange_or_one_recovery(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched, hours: int, calls: list[str]
) -> None:
    is_expired = hours > 24
    api.answers = [entered()]
    client, _, peer = await start(server, storage, headers={"Authorization": "Token x"})
    api.calls.clear()
    identities: list[Any] = []
    client.on("identity", identities.append)
    receipt = {"verdict": "state_only", "recovered_from": "s-1"}
    recovered = entered("recovered", "s-2", tokens=3, receipt=receipt)
    api.answers = [refusal("session_expired"), recovered] if is_expired else [pair(2)]
    # Asleep, with its timers; only the machine's clock has gone on.
    clock.time += hours * 3600
    peer.cut()
    opening, _ = await come_back(server)
    assert (api.paths, opening["token"]) == (calls, "sma_3" if is_expired else "sma_2")
    assert [told["verdict"] for told in identities] == (["recovered"] if is_expired else [])
    await client.close()


@pytest.mark.parametrize("status", [200, 302, 403, 404, 511])
async def test_the_page_of_a_portal_costs_no_session(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched, status: int
) -> None:
    client, peer = await begin(server, api, storage)
    api.answers = [httpx.Response(status, text="<html>Log in to our network</html>"), pair(2)]
    clock.time += LIFE
    peer.cut()
    opening, _ = await come_back(server)
    assert (api.paths, opening["token"]) == (["tokens/refresh/"] * 2, "sma_2")
    assert len({call.body["nonce"] for call in api.calls}) == 1
    await client.close()


async def test_a_clock_that_was_set_back_does_not_keep_old_tokens(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    api.answers = [pair(2)]
    clock.time -= 3600
    peer.cut()
    opening, _ = await come_back(server)
    assert opening["token"] == "sma_2"
    await client.close()


async def test_tokens_that_cannot_be_stored_are_not_used_and_nobody_waits_for_ever(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, peer = await begin(server, api, storage)
    waiting = asyncio.create_task(client.topics.subscribe("orders:42", print))
    await peer.receive("subscribe")
    api.answers = [pair(2)]

    def is_full(self: Watched, saved: Saved) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Watched, "save", is_full)
    clock.time += LIFE
    peer.cut()
    with pytest.raises(Stopped, match="client_failed"):
        await asyncio.wait_for(waiting, WAIT)
    assert client.status == "failed"
    monkeypatch.undo()
    await client.close()


@pytest.mark.parametrize("is_away", [False, True], ids=["connected", "away"])
async def test_a_write_that_cannot_be_stored_is_not_sent_and_stops_the_client(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    client, peer = await begin(server, api, storage)
    if is_away:
        gone = asyncio.Event()
        client.on("disconnected", lambda _: gone.set())
        clock.sleep = lambda _: asyncio.Event().wait()  # type: ignore[method-assign]
        peer.cut()
        await gone.wait()

    def is_full(self: Watched, saved: Saved) -> None:
        raise OSError("no space left on device")

    frames: list[Any] = []
    monkeypatch.setattr(Link, "send_frame", lambda self, frame: frames.append(frame))
    with monkeypatch.context() as patched:
        patched.setattr(Watched, "save", is_full)
        answers = [client.state.set("/n", 1), client.send(1)]
        for answer in answers:
            with pytest.raises(Stopped, match="client_failed"):
                await answer
    assert (frames, client.status, client.is_connected()) == ([], "failed", False)
    assert storage.load().writes == []
    # Neither the connection nor the attempts go on.
    assert client._shell._runner
    await asyncio.wait_for(asyncio.gather(client._shell._runner, return_exceptions=True), WAIT)
    await client.close()


async def test_an_exchange_of_a_session_that_was_ended_ends_the_client(
    server: FakeServer, api: Api, clock: FakeClock, storage: Watched
) -> None:
    client, peer = await begin(server, api, storage)
    ended: asyncio.Queue[Any] = asyncio.Queue()
    client.on("ended", ended.put_nowait)
    api.answers = [refusal("session_terminated")]
    clock.time += LIFE
    peer.cut()
    assert (await asyncio.wait_for(ended.get(), WAIT))["reason"] == "session_terminated"
    assert (client.status, storage.load()) == ("failed", Saved())
    await client.close()

"""Changes of the transport at the worst moment: each call is held where another attachment overtakes it."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db.models import F

from session_mgmt.actions.sessions import lifecycle, refreshing
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Client, ClientSession, Connection, SessionEvent
from session_mgmt.registry import topic
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.http_peer import HttpPeer
from tests.http_transports.test_fences import refused, until_held, update
from tests.http_transports.test_streams import open_stream, real, until

__all__ = ["real"]

pytestmark = pytest.mark.django_db(transaction=True)
MAIN, ROOM = "state:main", "topic:room:1"


class Hold:
    """Point in the work of the server that the next call reaches, and where it waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached, self._goes_on = asyncio.Event(), asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self._goes_on.wait()

    def let_go(self) -> None:
        self._goes_on.set()


@pytest.fixture
def hold_proved(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Hold]:
    """Hold the next call behind its proof; those after it go on."""

    def hold() -> Hold:
        held, proofs = Hold(), hub().proofs
        prove = proofs.prove

        async def prove_and_wait(call: Any) -> Any:
            monkeypatch.setattr(proofs, "prove", prove)
            proved = await prove(call)
            await held.wait()
            return proved

        monkeypatch.setattr(proofs, "prove", prove_and_wait)
        return held

    return hold


def increase(seq: int) -> dict[str, Any]:
    return {"type": "update", "seq": seq, "doc": "main", "ops": [["inc", "/n", 1]]}


def build_call(tab: HttpPeer, *frames: dict[str, Any]) -> dict[str, Any]:
    return {"client_id": tab.client_id, "generation": tab.generation, "logs": {}, "frames": list(frames)}


async def test_a_write_that_was_proved_before_the_next_attachment_uses_up_no_number(
    tabs: Any, peers: Any, created: Any, hold_proved: Any
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({MAIN: None})
    held = hold_proved()
    late = asyncio.ensure_future(tab.call("frames/", build_call(tab, increase(1))))
    await held.reached.wait()
    socket = peers()
    await socket.open(created.token.secret, client_id=tab.client_id, logs={MAIN: None})
    held.let_go()
    assert refused(await late, 409, "replaced", 4507, reconnect=False)
    await socket.say(**increase(1))
    receipt = await socket.receipt(1)
    assert receipt["ok"] and "replayed" not in receipt
    assert await bridge().read(state.get, created.session) == {"n": 1}


async def test_a_write_whose_answer_was_lost_at_the_change_is_answered_from_its_receipt(
    tabs: Any, peers: Any, created: Any
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({MAIN: None, ROOM: None})
    await tab.poll(hold=0)
    places = {name: log["position"] for name, log in tab.logs.items()}
    publication = {"type": "publish", "seq": 2, "topic": "room:1", "data": "once"}
    # Both answers are lost on the way: that of the writes, and that of the poll which has brought their entries.
    lost = (await tab.call("frames/", build_call(tab, increase(1), publication))).json()["frames"]
    assert (await tab.call("poll/", tab.build_poll(0))).json()["frames"]
    socket = peers()
    await socket.open(created.token.secret, client_id=tab.client_id, logs=places)
    for frame in (increase(1), publication):
        await socket.say(**frame)
        receipt = await socket.receipt(frame["seq"])
        first = next(one for one in lost if one["type"] == "receipt" and one["seq"] == frame["seq"])
        assert receipt == {**first, "replayed": True}
    await socket.say(type="ping", id=1)
    await socket.until_type("pong")
    entries = [
        (f["log"], e[2].get("ops", e[2]) if isinstance(e[2], dict) else e[2])
        for f in socket.seen
        if f["type"] == "entries"
        for e in f["entries"]
    ]
    assert sorted(entries, key=str) == sorted([(MAIN, [["inc", "/n", 1]]), (ROOM, "once")], key=str)
    assert await bridge().read(state.get, created.session) == {"n": 1}


async def test_a_poll_that_was_overtaken_ends_at_once_and_takes_nobodys_place(
    tabs: Any, peers: Any, created: Any, hold_proved: Any
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({ROOM: None})
    held = hold_proved()
    late = asyncio.ensure_future(tab.poll())
    await held.reached.wait()
    socket = peers()
    await socket.open(created.token.secret, client_id=tab.client_id, logs={ROOM: None})
    held.let_go()
    (bye,) = await late
    assert (bye["type"], bye["code"]) == ("bye", 4507)
    # The socket is still known as the client's, so the next attachment ends it.
    await tab.attach({ROOM: None})
    assert await socket.closed() == 4507


@pytest.mark.parametrize("call", ["poll/", "frames/"])
async def test_a_call_that_the_next_attachment_over_http_has_overtaken_is_refused(
    tabs: Any, created: Any, hold_proved: Any, call: str
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({ROOM: None})
    held = hold_proved()
    body = tab.build_poll() if call == "poll/" else build_call(tab, {"type": "ping", "id": 1})
    late = asyncio.ensure_future(tab.call(call, body))
    await held.reached.wait()
    new = tabs(created.token.secret)
    new.client_id = tab.client_id
    await new.attach({ROOM: None})
    held.let_go()
    assert refused(await late, 409, "replaced", 4507, reconnect=False)


async def test_a_subscription_on_its_way_at_the_change_is_one_subscription(tabs: Any, peers: Any, created: Any) -> None:
    go_on, asked = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @topic("club:{name}")
    def may_follow(session: Any, name: str) -> bool:
        loop.call_soon_threadsafe(asked.set)
        return go_on.wait(30)

    tab = tabs(created.token.secret)
    await tab.attach({})
    wish = {"type": "subscribe", "id": 1, "log": "topic:club:1", "position": None}
    late = asyncio.ensure_future(tab.call("frames/", build_call(tab, wish)))
    await asked.wait()
    socket = peers()
    opening = asyncio.ensure_future(
        socket.open(created.token.secret, client_id=tab.client_id, logs={"topic:club:1": None})
    )
    go_on.set()
    connected = await opening
    assert connected["logs"]["topic:club:1"]["mode"] == "up_to_date"
    answer = await late
    # Whichever came first; what the ended transport says is not read.
    assert answer.status_code in (200, 409)
    (feed,) = [feed for feed in hub().serving.feeds.values() if feed.row.name == "topic:club:1"]
    assert feed.following == 1
    for number in range(3):
        await bridge().read(verbs.publish, "club:1", number)
    heard: list[Any] = []
    while len(heard) < 3:
        heard += [entry[2] for entry in await socket.entry("topic:club:1")]
    assert heard == [0, 1, 2]


async def test_a_large_snapshot_that_was_half_read_comes_whole_by_the_next_transport(
    real: httpx.AsyncClient, peers: Any, created: Any
) -> None:
    text = "x" * 200_000
    await bridge().read(state.replace, created.session, {"text": text})
    tab = HttpPeer(real, created.token.secret, transport="sse")
    await tab.attach({MAIN: None})
    async with open_stream(tab) as answer:
        chunks = answer.aiter_raw()
        while b"xxx" not in await anext(chunks):
            pass
    socket = peers()
    # The place before it: half a snapshot is none.
    await socket.open(created.token.secret, client_id=tab.client_id, logs={MAIN: None})
    snapshot = await socket.until_type("snapshot")
    assert snapshot["data"] == {"text": text}
    await until(lambda: hub().held == 0)
    await bridge().read(state.update, created.session, {"after": 1})
    await socket.entry(MAIN)
    assert [frame["type"] for frame in socket.seen].count("snapshot") == 1


async def test_a_process_that_drains_in_the_middle_of_a_change_leaves_the_attachment_to_the_others(
    tabs: Any, peers: Any, created: Any
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({ROOM: None})
    held = asyncio.ensure_future(tab.poll())
    await until_held(held)
    hub().drain()
    (bye,) = await held
    assert (bye["type"], bye["name"], bye["reconnect"]) == ("bye", "draining", True)
    socket = peers()
    await socket.handshake()
    await socket.say(type="connect", token=created.token.secret, client_id=tab.client_id, logs={ROOM: None}, acked=0)
    assert await socket.closed() == 4000
    for call in ("", "poll/", "frames/"):
        body = {**tab.build_poll(0), "transport": "sse", "frames": [], "logs": {}}
        assert refused(await tab.call(call, body), 503, "draining", 4000, reconnect=True)
    await bridge().read(verbs.publish, "room:1", "meanwhile")
    # Another process: the attempt has raised no generation, and the attachment of before goes on.
    hub().draining = False
    await tab.exchange(update(1))
    assert [entry[2] for frame in await tab.poll(hold=0) for entry in frame["entries"]] == ["meanwhile"]
    told = await peers().open(created.token.secret, client_id=tab.client_id, logs={})
    assert told["generation"] == tab.generation + 1


async def test_a_token_refreshed_in_the_middle_of_a_change_cuts_off_neither_side(
    tabs: Any, peers: Any, transactional_db: None
) -> None:
    nonce = "n" * 43
    made = await bridge().call(lifecycle.create_session, nonce=nonce)
    assert made.pair is not None
    tab = tabs(made.pair.access.secret)
    await tab.attach({MAIN: None})
    await tab.poll(hold=0)
    held = asyncio.ensure_future(tab.poll())
    await until_held(held)
    refreshed = await bridge().call(refreshing.refresh_tokens, made.pair.refresh.secret, "m" * 43)
    # What began with the token of before ends by its own time, and its writes count.
    frames = await tab.exchange(increase(1))
    assert frames[-1]["ok"]
    await held
    socket = peers()
    await socket.open(refreshed.pair.access.secret, client_id=tab.client_id, logs={}, acked=1)
    assert refused(await tab.call("frames/", build_call(tab, increase(2))), 409, "replaced", 4507, reconnect=False)
    await socket.say(**increase(2))
    assert "replayed" not in await socket.receipt(2)
    assert await bridge().read(state.get, made.session) == {"n": 2}


async def test_a_call_whose_client_is_cut_off_takes_effect_once_whatever_was_decided(
    real: httpx.AsyncClient, created: Any, hold_proved: Any
) -> None:
    """Cut before the commit; after it, the answer is lost (above)."""
    tab = HttpPeer(real, created.token.secret)
    await tab.attach({MAIN: None})
    held = hold_proved()
    cut = asyncio.ensure_future(tab.call("frames/", build_call(tab, increase(1))))
    await held.reached.wait()
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    held.let_go()
    receipts = [frame for frame in await tab.exchange(increase(1)) if frame["type"] == "receipt"]
    assert [receipt["ok"] for receipt in receipts] == [True]
    assert await bridge().read(state.get, created.session) == {"n": 1}
    assert (await bridge().read(Client.objects.get)).last_seq == 1


async def test_a_token_that_is_voided_ends_a_held_poll_and_the_next_call(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({ROOM: None})
    held = asyncio.ensure_future(tab.poll())
    await until_held(held)
    await bridge().read(void_tokens)
    await hub().rounds.check_sessions()
    (bye,) = await held
    assert (bye["type"], bye["code"]) == ("bye", 4006)
    await bridge().read(verbs.publish, "room:1", "not for that token")
    for call in ("", "poll/", "frames/", "leave/"):
        body = {**tab.build_poll(0), "transport": "sse", "frames": [increase(1)], "logs": {}}
        answer = await tab.call(call, body)
        assert (answer.status_code, json.loads(answer.text)["close"]) == (401, 4501), call
    assert await bridge().read(SessionEvent.objects.filter(type="connection_restored").count) == 0


def void_tokens() -> None:
    ClientSession.objects.update(auth_version=F("auth_version") + 1)


async def test_a_generation_that_a_restored_backup_took_back_replaces_nobody(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    for _ in range(3):
        await tab.attach({ROOM: None})
    # Of its own, so that what it is told is not taken for what the newer attachment is told.
    older = copy.deepcopy(tab, {id(tab.http): tab.http})
    held = asyncio.ensure_future(older.poll())
    await until_held(held)
    # The attachments of this process were made long ago, and the database knows nothing of them.
    before: Any = [one.attachment for one in (*hub().visitors._by_client.values(), *hub().serving.connections)]
    for attachment in before:
        attachment.at -= timedelta(hours=1)
    await bridge().read(take_back_generations)
    connected = await tab.attach({ROOM: None})
    assert connected["generation"] == 1
    await bridge().read(verbs.publish, "room:1", "on")
    await tab.poll_until("entries")
    assert [entry[2] for entry in tab.entries[ROOM]] == ["on"]
    held.cancel()


def take_back_generations() -> None:
    Connection.objects.all().delete()
    Client.objects.update(generation=0)

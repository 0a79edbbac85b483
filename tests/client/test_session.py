"""The asyncio shell against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.client import Refused, SessionClient, Stopped, Unanswered
from session_mgmt.client.storage import FileStorage, Saved
from session_mgmt.protocol.position import Position
from tests.client.fake_server import WAIT, FakeServer, Peer, connected, entries, fake_server, snapshot


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def joined(server: FakeServer, storage: Path | None = None, **changes: Any) -> tuple[SessionClient, Peer]:
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_test", storage=storage))
    peer = await server.accept()
    await peer.welcome(**changes)
    client = await starting
    await peer.send(snapshot("state:main", 0, {}))
    return client, peer


def heard(client: SessionClient, event: str) -> asyncio.Queue[Any]:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    client.on(event, queue.put_nowait)
    return queue


async def test_a_set_resolves_with_its_receipt_and_is_seen_before(server: FakeServer) -> None:
    client, peer = await joined(server)
    seen: list[Any] = []
    client.state.on("/cart/coupon", seen.append)
    answer = client.state.set("/cart/coupon", "WELCOME")
    assert client.state.get("/cart/coupon") == "WELCOME"
    update = await peer.receive("update")
    assert update["ops"] == [["set", "/cart/coupon", "WELCOME"]]
    await peer.send({"type": "receipt", "seq": update["seq"], "ok": True, "position": ["e1", 1, "t1"]})
    assert (await answer)["position"] == ["e1", 1, "t1"]
    await client.close()


async def test_an_unanswered_write_is_sent_again_after_a_cut(server: FakeServer) -> None:
    client, peer = await joined(server)
    answer = client.topics.publish("chat", {"text": "hello"})
    first = await peer.receive("publish")
    peer.cut()
    peer = await server.accept()
    opening = await peer.welcome(generation=2)
    assert opening["client_id"] == "c_one"
    assert await peer.receive("publish") == first
    await peer.send({"type": "receipt", "seq": 1, "ok": True, "replayed": True})
    assert (await answer)["replayed"]
    assert client.stats().losses == 1
    await client.close()


async def test_a_refused_write_raises_its_code_and_tells_the_event(server: FakeServer) -> None:
    client, peer = await joined(server)
    refusals = heard(client, "refused")
    answer = client.send({"do": "checkout"})
    await peer.receive("send")
    error = {"code": 254, "name": "no_handler", "temporary": False, "message": "…"}
    await peer.send({"type": "receipt", "seq": 1, "ok": False, "error": error})
    with pytest.raises(Refused) as refused:
        await answer
    assert (refused.value.name, refused.value.code) == ("no_handler", 254)
    assert (await refusals.get())["seq"] == 1
    await client.close()


async def test_a_subscription_returns_when_it_holds_and_hands_entries_over_once(server: FakeServer) -> None:
    client, peer = await joined(server)
    got: asyncio.Queue[Any] = asyncio.Queue()
    subscribing = asyncio.create_task(client.topics.subscribe("orders:42", got.put_nowait))
    asked = await peer.receive("subscribe")
    assert asked["log"] == "topic:orders:42"
    verdict = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
    await peer.send({"type": "reply", "id": asked["id"], "verdict": verdict})
    unsubscribe = await subscribing
    await peer.send(entries("topic:orders:42", 4, "four"), entries("topic:orders:42", 4, "four", "five"))
    assert [await got.get(), await got.get()] == ["four", "five"]
    unsubscribe()
    assert (await peer.receive("unsubscribe"))["log"] == "topic:orders:42"
    await client.close()


async def test_a_subscription_may_begin_earlier_and_tells_what_was_there_before(server: FakeServer) -> None:
    client, peer = await joined(server)
    got: asyncio.Queue[Any] = asyncio.Queue()
    place = Position("e1", 3, "t3")
    told: list[Any] = []
    for number, (since, sent) in enumerate(
        [
            ({"last": 2}, {"last": 2}),
            ({"position": place}, {"position": ["e1", 3, "t3"]}),
            ({"time": datetime(2026, 11, 23, tzinfo=UTC)}, {"time": "2026-11-23T00:00:00+00:00"}),
        ]
    ):
        topic = f"chat:{number}"
        take = (lambda data, place: got.put_nowait((data, place))) if number == 0 else told.append
        asking = client.topics.subscribe(topic, take, since=since, with_place=number == 0)
        subscribing = asyncio.create_task(asking)
        asked = await peer.receive("subscribe")
        assert (asked["position"], asked["since"]) == (sent.get("position"), sent)
        verdict = {"mode": "entries", "from": 3, "to": 5, "position": ["e1", 3, "t3"], "complete": number != 2}
        await peer.send({"type": "reply", "id": asked["id"], "verdict": verdict})
        assert (await subscribing).complete == (number != 2)
    await peer.send(entries("topic:chat:0", 4, "four", "five"), entries("topic:chat:0", 6, "six"))
    places = [("four", ("e1", 4, "t4", False)), ("five", ("e1", 5, "t5", False)), ("six", ("e1", 6, "t6", True))]
    assert [await got.get() for _ in range(3)] == places
    await peer.send({"type": "ephemeral", "topic": "chat:0", "data": "now"})
    assert await got.get() == ("now", (None, None, None, True))
    peer.cut()
    opening = await (peer := await server.accept()).welcome()
    assert opening["logs"]["topic:chat:0"] == ["e1", 6, "t6"]
    # A wish counts without a position only.
    assert opening["since"].keys() == {"topic:chat:0", "topic:chat:1", "topic:chat:2"}
    await client.close()


async def test_a_position_that_is_given_counts_before_the_stored_one(server: FakeServer, tmp_path: Path) -> None:
    FileStorage(tmp_path / "c.json").save(Saved(token="sma_test", positions={"topic:t": ["e1", 3, "t3"]}))
    client, peer = await joined(server, tmp_path / "c.json")
    asking = asyncio.create_task(client.topics.subscribe("t", print, since={"position": Position("e1", 7, "t7")}))
    asked = await peer.receive("subscribe")
    assert asked["position"] == ["e1", 7, "t7"]
    await peer.send({"type": "reply", "id": asked["id"], "verdict": {"mode": "up_to_date"}})
    (await asking)()
    await client.close()


async def test_the_past_of_a_topic_is_asked_over_the_connection(server: FakeServer) -> None:
    client, peer = await joined(server)
    asking = asyncio.create_task(client.topics.history("chat", before=Position("e1", 9, "t9"), limit=1))
    asked = await peer.receive("history")
    assert asked == {"type": "history", "id": asked["id"], "log": "topic:chat", "before": ["e1", 9, "t9"], "limit": 1}
    page = {"epoch": "e1", "entries": [[8, "t8", {"n": 8}, "2026-11-23T12:05:00.000000Z"]], "more": True}
    await peer.send({"type": "reply", "id": asked["id"], **page})
    told = await asking
    assert told.entries == [(Position("e1", 8, "t8"), {"n": 8}, "2026-11-23T12:05:00.000000Z")] and told.more
    lost = asyncio.create_task(client.topics.history("chat"))
    await peer.receive("history")
    peer.cut()
    with pytest.raises(Unanswered):
        await lost
    await client.close()
    with pytest.raises(Stopped):
        await client.topics.history("chat")


async def test_a_denied_subscription_raises(server: FakeServer) -> None:
    client, peer = await joined(server)
    subscribing = asyncio.create_task(client.topics.subscribe("secret", print))
    asked = await peer.receive("subscribe")
    await peer.send({"type": "error", "id": asked["id"], "code": 250, "name": "topic_denied", "temporary": False})
    with pytest.raises(Refused, match="topic_denied"):
        await subscribing
    await client.close()


async def test_a_reader_ends_when_the_right_to_its_topic_does(server: FakeServer) -> None:
    client, peer = await joined(server)
    got: list[Any] = []

    async def read_topic() -> None:
        async for data in client.topics.iterate("orders:42"):
            got.append(data)

    reading = asyncio.create_task(read_topic())
    asked = await peer.receive("subscribe")
    verdict = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
    denied = {"type": "error", "code": 250, "name": "topic_denied", "temporary": False}
    await peer.send({"type": "reply", "id": asked["id"], "verdict": verdict})
    await peer.send(entries("topic:orders:42", 4, "four"), {**denied, "log": "topic:orders:42"})
    with pytest.raises(Refused, match="topic_denied"):
        await asyncio.wait_for(reading, WAIT)
    assert got == ["four"]
    await client.close()


async def test_the_changes_of_a_value_are_read_in_a_loop(server: FakeServer) -> None:
    client, peer = await joined(server)
    changes = client.state.iterate("/n")
    reading = asyncio.create_task(anext(changes))
    await peer.send(entries("state:main", 1, {"ops": [["set", "/other", 1]]}, {"ops": [["set", "/n", 1]]}))
    assert await reading == 1
    await peer.send(entries("state:main", 3, {"ops": [["inc", "/n", 1]]}))
    assert await anext(changes) == 2
    await client.close()
    for reading_late in (changes, client.state.iterate("/n"), client.messages()):
        with pytest.raises(Stopped):
            await anext(reading_late)


async def test_messages_and_events_of_the_session_log_reach_their_listeners(server: FakeServer) -> None:
    client, peer = await joined(server)
    messages: asyncio.Queue[Any] = asyncio.Queue()
    client.on_message(messages.put_nowait)
    updated = heard(client, "session_updated")
    rows = [{"type": "message", "data": {"n": 1}, "at": "…"}, {"type": "session_updated", "data": {}, "at": "…"}]
    await peer.send(entries("session", 1, *rows))
    assert await messages.get() == {"n": 1}
    assert (await updated.get())["type"] == "session_updated"
    await client.close()


async def test_a_callback_that_raises_does_not_stop_the_others(server: FakeServer) -> None:
    client, peer = await joined(server)
    messages: asyncio.Queue[Any] = asyncio.Queue()
    client.on_message(lambda data: 1 / 0)
    client.on_message(messages.put_nowait)
    await peer.send(entries("session", 1, {"type": "message", "data": 1, "at": "…"}))
    assert await messages.get() == 1
    await client.close()


async def test_silence_beyond_the_deadline_makes_a_new_connection(server: FakeServer) -> None:
    silent = {"interval": 0.01, "missed_limit": 3, "deadline": 0.05}
    client, _ = await joined(server, heartbeat=silent)
    peer = await server.accept()
    await peer.welcome(generation=2)
    assert "4102" in str(client.stats().last_close)
    await client.close()


async def test_a_ping_is_answered_with_what_was_acknowledged(server: FakeServer) -> None:
    client, peer = await joined(server)
    await peer.send({"type": "ping", "ping": 3, "rtt_ms": 21.5})
    assert await peer.receive("pong") == {"type": "pong", "ping": 3, "acked": 0}
    assert client.stats().latency.last_ms == 21.5
    await client.close()


async def test_a_terminated_session_stops_the_client_and_its_waiting_writes(server: FakeServer) -> None:
    client, peer = await joined(server)
    answer = client.send(1)
    await peer.receive("send")
    stopped = heard(client, "stopped")
    await peer.send({"type": "bye", "code": 4503, "name": "session_terminated", "reconnect": False})
    with pytest.raises(Stopped, match="session_terminated"):
        await answer
    assert (await stopped.get())["code"] == 4503
    with pytest.raises(Stopped):
        await client.send(2)
    await client.close()


async def test_a_bye_may_name_the_time_to_come_back(server: FakeServer) -> None:
    client, peer = await joined(server)
    await peer.send({"type": "bye", "code": 4000, "name": "draining", "reconnect": True, "retry_after": 0.0})
    peer = await server.accept()
    assert (await peer.welcome(generation=2))["client_id"] == "c_one"
    await client.close()


async def test_a_new_process_sends_the_stored_writes_under_their_numbers(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    client, peer = await joined(server, path)
    client.state.inc("/n")
    client.topics.publish("chat", "hello")
    before = [await peer.receive("update"), await peer.receive("publish")]
    await client.close()
    client, peer = await joined(server, path, last_seq=1, generation=2)
    assert [await peer.receive("update"), await peer.receive("publish")] == before
    await client.close()


async def test_a_position_is_on_disk_when_its_entry_is_handed_over(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    topic = {"mode": "up_to_date", "reason": "from_now", "position": ["e1", 3, "t3"]}
    FileStorage(path).save(Saved(token="sma_test", positions={"topic:a": None}))
    client, peer = await joined(server, path, logs={"topic:a": topic})
    stored: asyncio.Queue[Any] = asyncio.Queue()
    subscribing = asyncio.create_task(
        client.topics.subscribe("a", lambda _: stored.put_nowait(FileStorage(path).load().positions["topic:a"]))
    )
    asked = await peer.receive("subscribe")
    await peer.send({"type": "reply", "id": asked["id"], "verdict": topic}, entries("topic:a", 4, "x", "y"))
    await subscribing
    assert [await stored.get(), await stored.get()] == [["e1", 4, "t4"], ["e1", 5, "t5"]]
    await client.close()


async def test_an_answer_that_is_not_understood_leads_to_a_new_connection(server: FakeServer) -> None:
    client, peer = await joined(server)
    await peer.send({"type": "entries", "log": "session"})
    peer = await server.accept()
    await peer.welcome()
    await client.close()


async def test_closing_a_client_without_storage_says_disconnect(server: FakeServer) -> None:
    client, peer = await joined(server)
    closing = asyncio.create_task(client.close())
    await peer.receive("disconnect")
    await peer.close(1000)
    await closing
    assert client.stats().state == "disconnected"


async def test_a_refusal_at_the_first_connect_is_raised_by_start(server: FakeServer) -> None:
    starting = asyncio.create_task(SessionClient.start(server.url, token="sma_wrong"))
    peer = await server.accept()
    await peer.receive("connect")
    await peer.send({"type": "bye", "code": 4501, "name": "invalid_token", "reconnect": False})
    with pytest.raises(Stopped, match="invalid_token"):
        await starting


async def test_flushed_waits_for_every_answer(server: FakeServer) -> None:
    client, peer = await joined(server)
    client.send(1)
    client.send(2)
    waiting = asyncio.create_task(client.flushed())
    for seq in (1, 2):
        await peer.receive("send")
        await peer.send({"type": "receipt", "seq": seq, "ok": True})
    await asyncio.wait_for(waiting, WAIT)
    await client.close()


def test_connected_frames_of_the_fake_have_the_fields_of_the_protocol() -> None:
    assert {"session", "client_id", "generation", "last_seq", "logs", "heartbeat", "limits", "retry"} <= set(
        connected()
    )


async def test_a_cancelled_close_leaves_nobody_waiting(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = await joined(server)
    reached = asyncio.Event()

    async def hang(_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    answer, settling = client.send(1), asyncio.ensure_future(client.flushed())
    with monkeypatch.context() as patched:
        patched.setattr(client._shell._link, "stop", hang)
        closing = asyncio.ensure_future(client.close())
        await reached.wait()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
    for waiting in (answer, settling, client.state.info()):
        with pytest.raises(Stopped, match="closed"):
            await waiting
    await client.close()


def test_a_client_whose_loop_has_ended_says_so_on_the_next_one() -> None:
    async def leave_open() -> SessionClient:
        async with fake_server() as server:
            client, _ = await joined(server)
            return client

    async def use(client: SessionClient) -> None:
        assert client.status == "disconnected"
        calls = (lambda: client.send(1), client.state.info, lambda: client.topics.subscribe("chat", print))
        for call in (*calls, lambda: anext(client.messages()), client.sessions.list):
            with pytest.raises(Stopped, match="closed"):
                await call()
        await client.flushed()
        await client.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as first:
        client = first.run(leave_open())
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as second:
        second.run(use(client))

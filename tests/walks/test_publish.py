"""Walk two: a publication reaches every follower once, in order, whoever published it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from session_mgmt.actions import access
from session_mgmt.actions.timeline import messages
from session_mgmt.bridge import bridge
from session_mgmt.consumers import writes
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Outbox, Publication
from session_mgmt.registry import on_message
from session_mgmt.writes import verbs
from tests.away import raise_away

ROOM = "topic:room:1"


async def test_a_client_publishes_and_everybody_gets_the_same_entry(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await two.open(created.token.secret, logs={ROOM: None})
    await one.say(type="publish", seq=1, topic="room:1", data={"text": "hello"})
    receipt = await one.receipt(1)
    assert receipt["ok"] and receipt["position"][1] == 1
    assert await two.entry(ROOM) == [[1, receipt["position"][2], {"text": "hello"}]]


async def test_direct_and_outbox_publications_share_one_order(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await bridge().call(_publish_in_a_transaction, "room:1", [1, 2])
    await bridge().read(verbs.publish, "room:1", 3)
    seen: list[Any] = []
    while len(seen) < 3:
        seen += await one.entry(ROOM)
    assert [(entry[0], entry[2]) for entry in seen] == [(1, 1), (2, 2), (3, 3)]
    assert not await bridge().read(Outbox.objects.exists)


async def test_a_rolled_back_publication_never_happened(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await bridge().call(_publish_and_roll_back, "room:1")
    await bridge().read(verbs.publish, "room:1", "after")
    assert [entry[2] for entry in await one.entry(ROOM)] == ["after"]


async def test_an_idempotency_key_makes_a_second_publish_harmless(transactional_db: Any) -> None:
    first = await bridge().read(verbs.publish, "room:1", 1, key="k")
    assert await bridge().read(verbs.publish, "room:1", 1, key="k") == first
    assert await bridge().read(Publication.objects.count) == 1


async def test_a_topic_that_may_not_be_read_looks_like_one_that_does_not_exist(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={"topic:room:secret": None, "topic:nowhere": None})
    denied = {name: verdict["error"]["name"] for name, verdict in connected["logs"].items()}
    assert denied == {"topic:room:secret": "topic_denied", "topic:nowhere": "topic_denied"}
    await one.say(type="subscribe", id=1, log="topic:nowhere", position=None)
    assert (await one.until_type("error"))["name"] == "topic_denied"
    await one.say(type="publish", seq=1, topic="nowhere", data=1)
    assert (await one.receipt(1))["error"]["name"] == "publish_denied"
    await one.say(type="publish", seq=2, topic="room:1", data=1)
    assert (await one.receipt(2))["ok"]


async def test_an_ephemeral_publication_has_no_place_in_the_log(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await two.open(created.token.secret, logs={ROOM: None})
    await two.until_following(ROOM)
    await one.say(type="publish", topic="room:1", data={"typing": True}, ephemeral=True)
    assert (await two.until_type("ephemeral")) == {"type": "ephemeral", "topic": "room:1", "data": {"typing": True}}
    assert await bridge().read(Publication.objects.count) == 0


async def test_ephemeral_publications_are_asked_about_once_in_a_while_and_keep_their_order(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    check = access.check_publish

    def count(session: Any, topic: str) -> None:
        asked.append(topic)
        check(session, topic)

    monkeypatch.setattr(access, "check_publish", count)
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await one.say(type="publish", seq=1, topic="room:1", data="kept")
    assert (await one.receipt(1))["ok"]
    for number in range(20):
        await one.say(type="publish", topic="room:1", data=number, ephemeral=True)
    assert [(await one.until_type("ephemeral"))["data"] for _ in range(20)] == list(range(20))
    assert asked == ["room:1"]
    monkeypatch.setattr(writes, "PERMISSION_SECONDS", 0.0)
    hub().serving.clients.copy().popitem()[1].writes.note_publishable("room:1")  # type: ignore[attr-defined]
    for number in range(3):
        await one.say(type="publish", topic="room:1", data=number, ephemeral=True)
    assert [(await one.until_type("ephemeral"))["data"] for _ in range(3)] == [0, 1, 2]
    assert asked == ["room:1"] * 4


async def test_an_ephemeral_publication_that_is_asked_about_is_overtaken_by_none(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, may_answer, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def hesitate(session: Any, topic: str) -> None:
        loop.call_soon_threadsafe(is_asked.set)
        assert may_answer.wait(10)

    monkeypatch.setattr(access, "check_publish", hesitate)
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await one.say(type="publish", topic="room:1", data="first", ephemeral=True)
    await is_asked.wait()
    hub().serving.clients.copy().popitem()[1].writes.note_publishable("room:1")  # type: ignore[attr-defined]
    await one.say(type="publish", topic="room:1", data="second", ephemeral=True)
    await one.say(type="ping", id=1)
    await one.until_type("pong")
    assert [frame for frame in one.seen if frame["type"] == "ephemeral"] == []
    may_answer.set()
    assert [(await one.until_type("ephemeral"))["data"] for _ in range(2)] == ["first", "second"]


async def test_send_is_answered_once_and_its_effects_are_kept_once(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.say(type="send", seq=1, data={"n": 21})
    assert (await one.receipt(1))["data"] == {"double": 42}
    await one.say(type="send", seq=1, data={"n": 21})
    assert (await one.receipt(1))["replayed"] is True
    await one.say(type="send", seq=2, data="fail")
    assert (await one.receipt(2))["error"]["name"] == "handler_failed"
    await one.say(type="send", seq=3, data={"n": 1})
    assert (await one.receipt(3))["ok"]


async def test_a_publication_is_denied_by_nothing_but_the_application(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server itself cannot ask, the number stays free, and the client comes again."""

    def fail(*_: Any) -> None:
        raise RuntimeError("as declared")

    one = peers()
    await one.open(created.token.secret)
    with monkeypatch.context() as patch:
        patch.setattr(access, "check_publish", fail)
        await one.say(type="publish", seq=1, topic="room:1", data=1)
        assert (await one.receipt(1))["error"]["name"] == "unavailable"
    await one.say(type="publish", seq=1, topic="room:1", data=1)
    assert (await one.receipt(1))["ok"]


async def test_a_message_whose_handler_meets_an_outage_keeps_its_number(peers: Any, created: Any) -> None:
    answers = iter([raise_away, lambda: {"done": 1}])

    @on_message
    def handle(session: Any, data: Any) -> Any:
        return next(answers)()

    one = peers()
    await one.open(created.token.secret)
    await one.say(type="send", seq=1, data={})
    assert (await one.receipt(1))["error"]["name"] == "unavailable"
    await one.say(type="send", seq=1, data={})
    told = await one.receipt(1)
    assert (told["data"], told.get("replayed")) == ({"done": 1}, None)


async def test_a_handler_that_fails_by_what_a_faster_attempt_wrote_has_no_fault(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that stood still may find its message answered by another one: in the end, and not before."""

    def fail() -> Any:
        raise IntegrityError("there already")

    answers = iter([lambda: {"done": 1}, fail, fail])

    @on_message
    def answer(session: Any, data: Any) -> Any:
        return next(answers)()

    one = peers()
    await one.open(created.token.secret)
    await one.say(type="send", seq=1, data={})
    assert (await one.receipt(1))["data"] == {"done": 1}
    with monkeypatch.context() as patched:
        patched.setattr(messages, "_find_answer", lambda *_: None)
        await one.say(type="send", seq=1, data={})
        told = await one.receipt(1)
    assert (told["data"], told["replayed"]) == ({"done": 1}, True)
    assert "handler failed" not in caplog.text
    await one.say(type="send", seq=2, data={})
    assert (await one.receipt(2))["error"]["name"] == "handler_failed"
    assert "The message handler failed" in caplog.text and "there already" in caplog.text


async def test_what_a_failing_handler_wrote_is_undone_and_its_answer_kept(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.say(type="send", seq=1, data="publish and fail")
    assert (await one.receipt(1))["error"]["name"] == "handler_failed"
    await one.say(type="send", seq=1, data="publish and fail")
    assert (await one.receipt(1))["replayed"] is True
    await one.say(type="publish", seq=2, topic="room:1", data="after")
    await one.entry(ROOM)
    assert [entry[2] for f in one.seen if f["type"] == "entries" for entry in f["entries"]] == ["after"]


async def test_a_message_of_the_server_is_an_entry_of_the_sessions_own_log(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"session": created.position.as_json()})
    await bridge().read(verbs.send, created.session.pk, {"hello": "you"})
    found = None
    while not found:
        found = [entry[2] for entry in await one.entry("session") if entry[2]["type"] == "message"]
    assert found[0]["data"] == {"hello": "you"}


def _publish_in_a_transaction(topic: str, values: list[Any]) -> None:
    with transaction.atomic():
        for value in values:
            verbs.publish(topic, value)


def _publish_and_roll_back(topic: str) -> None:
    with transaction.atomic():
        verbs.publish(topic, "never")
        transaction.set_rollback(True)

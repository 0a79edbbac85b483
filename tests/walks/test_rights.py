"""Rights and limits of logs: a log that is refused is refused alone, and no project code runs inside our locks."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from django.db import connection

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.bridge.crossing import replace_bridge
from session_mgmt.registry import topic

ROOM = "topic:room:1"
BROKEN = "topic:broken:1"
PATIENCE = 60.0


@pytest.fixture
def broken(declared: None) -> None:
    """Declare a topic whose function has a fault of its own."""

    @topic("broken:{name}")
    def fail(session: Any, name: str) -> bool:
        raise RuntimeError("a bug in the project")


def errors_about(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.levelno == logging.ERROR and text in r.getMessage()]


async def test_a_topic_function_that_raises_denies_its_topic_alone(
    peers: Any, created: Any, broken: None, caplog: pytest.LogCaptureFixture
) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={BROKEN: None, ROOM: None})
    assert connected["type"] == "connected"
    assert connected["logs"][BROKEN]["mode"] == "denied"
    assert connected["logs"][BROKEN]["error"]["name"] == "topic_denied"
    assert len(errors_about(caplog, "broken:1")) == 1
    await one.say(type="publish", seq=1, topic="room:1", data="hello")
    assert [entry[2] for entry in await one.entry(ROOM)] == ["hello"]


async def test_a_topic_function_that_raises_denies_a_later_subscription(
    peers: Any, created: Any, broken: None, caplog: pytest.LogCaptureFixture
) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.say(type="subscribe", id=1, log=BROKEN, position=None)
    refusal = await one.until_type("error")
    assert (refusal["id"], refusal["name"]) == (1, "topic_denied")
    assert len(errors_about(caplog, "broken:1")) == 1
    await one.say(type="ping", id=2)
    await one.until_type("pong")


async def test_a_topic_function_whose_query_fails_spoils_no_transaction(
    peers: Any, created: Any, declared: None
) -> None:
    @topic("query:{name}")
    def ask_wrongly(session: Any, name: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")
        return True

    one = peers()
    connected = await one.open(created.token.secret, logs={"topic:query:1": None, ROOM: None})
    assert connected["logs"]["topic:query:1"]["mode"] == "denied"
    assert connected["logs"][ROOM]["mode"] == "up_to_date"


@pytest.mark.parametrize("way", ["connect", "subscribe"])
async def test_a_slow_topic_function_holds_up_nobody_who_writes(
    peers: Any, created: Any, declared: None, way: str
) -> None:
    asked, answer = threading.Event(), threading.Event()

    @topic("slow:{name}")
    def think(session: Any, name: str) -> bool:
        asked.set()
        return answer.wait(PATIENCE)

    writer, slow = peers(), peers()
    await writer.open((await bridge().call(lifecycle.create_session)).token.secret, logs={"state:main": None})
    await slow.handshake()
    if way == "connect":
        await slow.say(type="connect", token=created.token.secret, logs={"topic:slow:1": None})
    else:
        await slow.say(type="connect", token=created.token.secret, logs={})
        await slow.next()
        await slow.say(type="subscribe", id=1, log="topic:slow:1", position=None)
    assert await bridge().read(asked.wait, PATIENCE)
    await writer.say(type="update", seq=1, ops=[["set", "/a", 1]])
    assert (await writer.receipt(1))["ok"]
    assert not answer.is_set()
    answer.set()
    told = await slow.until(lambda frame: frame["type"] in ("connected", "reply"))
    assert (told["logs"]["topic:slow:1"] if way == "connect" else told["verdict"])["mode"] == "up_to_date"


async def test_topic_functions_that_hang_keep_nobody_from_connecting(
    peers: Any, created: Any, declared: None, settings: Any
) -> None:
    settings.SESSION_MGMT = {"read_threads": 2, "handler_threads": 2}
    before = replace_bridge(None)
    answer, asked = threading.Event(), threading.Semaphore(0)

    @topic("slow:{name}")
    def think(session: Any, name: str) -> bool:
        asked.release()
        return answer.wait(PATIENCE)

    try:
        for _ in range(4):
            hanging = peers()
            await hanging.handshake()
            token = (await bridge().call(lifecycle.create_session)).token.secret
            await hanging.say(type="connect", token=token, logs={"topic:slow:1": None})
        for _ in range(2):
            assert await bridge().control(asked.acquire, True, PATIENCE)
        one = peers()
        assert (await one.open(created.token.secret, logs={"state:main": None}))["type"] == "connected"
        await one.say(type="update", seq=1, ops=[["set", "/a", 1]])
        assert (await one.receipt(1))["ok"]
        assert not answer.is_set()
    finally:
        answer.set()
        used = replace_bridge(before)
        if used is not None:
            await asyncio.to_thread(used.close)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, RecursionError])
async def test_a_topic_function_that_quits_ends_no_connection(
    peers: Any, created: Any, declared: None, error: type[BaseException]
) -> None:
    @topic("quits:{name}", publish=lambda session, name: stop())
    def stop(*arguments: Any, **parts: Any) -> bool:
        raise error

    one = peers()
    connected = await one.open(created.token.secret, logs={"topic:quits:1": None, ROOM: None})
    assert connected["logs"]["topic:quits:1"]["mode"] == "denied"
    await one.say(type="subscribe", id=1, log="topic:quits:2", position=None)
    assert (await one.until_type("error"))["name"] == "topic_denied"
    await one.say(type="publish", seq=1, topic="quits:1", data=1)
    assert (await one.receipt(1))["error"]["name"] == "publish_denied"
    await one.say(type="publish", seq=2, topic="room:1", data=2)
    assert (await one.receipt(2))["ok"]


async def test_what_is_left_after_it_was_followed_stays_left(peers: Any, created: Any, declared: None) -> None:
    one = peers()
    await one.open(created.token.secret)
    for number in range(20):
        await one.say(type="subscribe", id=2 * number, log=ROOM, position=None)
        await one.say(type="unsubscribe", id=2 * number + 1, log=ROOM)
    for number in range(40):
        await one.until(lambda frame, number=number: frame["type"] == "reply" and frame["id"] == number)
    again = peers()
    assert (await again.open(created.token.secret))["subscriptions"] == []


async def test_topics_beyond_the_limit_are_denied_one_by_one(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={f"topic:room:{n}": None for n in range(105)})
    assert connected["type"] == "connected"
    modes = [verdict["mode"] for verdict in connected["logs"].values()]
    assert (modes.count("up_to_date"), modes.count("denied")) == (100, 5)
    errors = {v["error"]["name"] for v in connected["logs"].values() if v["mode"] == "denied"}
    assert errors == {"subscription_limit"}
    assert len(connected["subscriptions"]) == connected["limits"]["subscriptions"] == 100


async def test_any_number_of_logs_is_answered_log_by_log(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={f"topic:room:{n}": None for n in range(400)})
    modes = [verdict["mode"] for verdict in connected["logs"].values()]
    assert (modes.count("up_to_date"), modes.count("denied")) == (100, 300)


async def test_documents_beyond_the_limit_are_denied_one_by_one(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={f"state:d{n}": None for n in range(18)})
    modes = [verdict["mode"] for verdict in connected["logs"].values()]
    assert (modes.count("snapshot"), modes.count("denied")) == (16, 2)
    errors = {v["error"]["name"] for v in connected["logs"].values() if v["mode"] == "denied"}
    assert errors == {"document_limit"}
    assert connected["limits"]["documents"] == 16


async def test_the_limit_of_topics_counts_for_the_session_at_connect_too(
    peers: Any, created: Any, settings: Any
) -> None:
    settings.SESSION_MGMT = {"max_subscriptions": 2}
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={"topic:room:1": None, "topic:room:2": None})
    connected = await two.open(created.token.secret, logs={"topic:room:2": None, "topic:room:3": None})
    assert connected["logs"]["topic:room:2"]["mode"] == "up_to_date"
    assert connected["logs"]["topic:room:3"]["error"]["name"] == "subscription_limit"
    await two.say(type="subscribe", id=1, log="topic:room:4", position=None)
    assert (await two.until_type("error"))["name"] == "subscription_limit"
    await one.say(type="unsubscribe", id=2, log="topic:room:1")
    await one.until_type("reply")
    await two.say(type="subscribe", id=3, log="topic:room:3", position=None)
    assert (await two.until_type("reply"))["verdict"]["mode"] == "up_to_date"

"""Rows that are deleted under a connection: whoever followed them is told, and goes on."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions import cleanup
from session_mgmt.bridge import bridge
from session_mgmt.models import Stream
from session_mgmt.shortcuts import publish, send

ROOM = "topic:room:1"


async def test_a_socket_that_subscribes_to_made_up_topics_leaves_no_stream(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    for number in range(120):
        log = f"topic:room:made-up-{number}"
        await one.say(type="subscribe", id=number, log=log, position=None)
        await one.until(lambda frame, number=number: frame["type"] == "reply" and frame["id"] == number)
        await one.say(type="unsubscribe", id=1000 + number, log=log)
        await one.until(lambda frame, number=number: frame["type"] == "reply" and frame["id"] == 1000 + number)
    assert await bridge().read(Stream.objects.count) == 0


async def test_a_tab_goes_on_following_a_topic_that_another_tab_has_left(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await two.open(created.token.secret, logs={ROOM: None})
    await two.until_following(ROOM)
    # A subscription is the session's: what one tab leaves, the other one follows without it.
    await one.say(type="unsubscribe", id=1, log=ROOM)
    await one.until(lambda frame: frame["type"] == "reply" and frame["id"] == 1)
    assert await bridge().read(Stream.objects.count) == 0
    await bridge().read(publish, "room:1", "heard")
    assert [entry[2] for entry in await two.entry(ROOM)] == ["heard"]


async def test_a_reader_of_a_trimmed_session_log_gets_a_gap_and_what_is_left(
    peers: Any, created: Any, settings: Any
) -> None:
    settings.SESSION_MGMT = {"event_entries": 3}
    for number in range(10):
        await bridge().read(send, created.session, number)
    await bridge().read(cleanup.run_cleanup)
    one = peers()
    position = [created.position.epoch, created.position.offset, created.position.tag]
    connected = await one.open(created.token.secret, logs={"session": position})
    verdict = connected["logs"]["session"]
    assert (verdict["mode"], verdict["reason"], verdict["from"]) == ("gap", "trimmed", 2)
    assert connected["verdict"] == "none"

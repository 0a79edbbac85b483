"""The first publication of a topic makes its stream; everybody who follows it receives it once, whenever they came."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest

from session_mgmt.actions import notify
from session_mgmt.actions.group_commit import Group, Write, write_group
from session_mgmt.actions.sessions import looking
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.serving import Serving
from session_mgmt.models import Stream
from session_mgmt.protocol.logs import stream_key
from session_mgmt.shortcuts import publish
from tests.walks.conftest import BOTH_WAYS

ROOM = "topic:room:1"
KEY = stream_key("room:1")


def publish_elsewhere(data: bytes = b'"first"') -> None:
    """Publish as another process does whose bell is lost: nothing here hears of it."""
    write_group("default", [Write(Publication("room:1", data))], Group(), wait=True)


async def entries_until_pong(peer: Any) -> list[Any]:
    """Collect the entries that were received up to the answer to a ping."""
    await peer.say(type="ping", id=77)
    await peer.until(lambda frame: frame.get("id") == 77)
    return [entry for frame in peer.seen if frame["type"] == "entries" for entry in frame["entries"]]


@BOTH_WAYS
async def test_a_follower_of_a_topic_without_a_stream_receives_the_first_publication(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    verdict = connected["logs"][ROOM]
    assert (verdict["mode"], verdict["reason"], verdict["position"][1]) == ("up_to_date", "from_now", 0)
    await one.until_following(ROOM)
    assert await bridge().read(Stream.objects.count) == 0
    position = await bridge().read(publish, "room:1", "first")
    ((offset, tag, data),) = await one.entry(ROOM)
    assert [position.epoch, offset, tag] == position.as_json() == [verdict["position"][0], 1, tag]
    assert data == "first"
    await one.drop()
    back = peers()
    again = await back.open(created.token.secret, client_id=connected["client_id"], logs={ROOM: position.as_json()})
    assert again["logs"][ROOM] == {"mode": "up_to_date", "position": position.as_json()}


async def test_a_lost_bell_of_the_first_publication_is_made_good_by_the_position_check(
    peers: Any, created: Any
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().call(publish_elsewhere)
    await hub().rounds.check_positions()
    assert [entry[2] for entry in await one.entry(ROOM)] == ["first"]


async def test_a_bell_from_another_process_brings_the_first_publication(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().call(publish_elsewhere)
    hub()._handle_ring({KEY: 1}, None)
    hub()._handle_ring({KEY: 1}, None)
    await one.entry(ROOM)
    await bridge().read(publish, "room:1", "second")
    await one.entry(ROOM)
    assert [(entry[0], entry[2]) for entry in await entries_until_pong(one)] == [(1, "first"), (2, "second")]


async def test_a_first_publication_between_the_verdict_and_the_feed_is_not_missed(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client was told that nothing is there; then, before its process serves the log, something is."""
    look = looking.look_at_logs

    def look_and_be_late(statements: Any, *args: Any) -> Any:
        looked = look(statements, *args)
        statements.connection.run_on_commit.append((set(), publish_elsewhere, True))
        return looked

    monkeypatch.setattr(looking, "look_at_logs", look_and_be_late)
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    assert connected["logs"][ROOM]["reason"] == "from_now"
    assert [(entry[0], entry[2]) for entry in await one.entry(ROOM)] == [(1, "first")]
    assert len(await entries_until_pong(one)) == 1


async def test_a_first_publication_of_this_process_before_its_feed_comes_once(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane has written it before anybody here follows the topic, and the loop hears of it after that."""
    follow_log = Serving.follow_log

    def publish_and_follow(serving: Serving, row: Any, head: Any) -> Any:
        monkeypatch.undo()
        publisher = Thread(target=publish, args=("room:1", "first"))
        publisher.start()
        publisher.join()
        return follow_log(serving, row, head)

    monkeypatch.setattr(Serving, "follow_log", publish_and_follow)
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    assert [(entry[0], entry[2]) for entry in await one.entry(ROOM)] == [(1, "first")]
    assert len(await entries_until_pong(one)) == 1


async def test_a_client_that_was_away_at_the_first_publication_gets_it_with_the_rest(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    place = connected["logs"][ROOM]["position"]
    await one.drop()
    # As after a kill: nothing of the topic is in memory.
    hub().serving.feeds.clear()
    await bridge().call(publish_elsewhere)
    await bridge().read(publish, "room:1", "second")
    back = peers()
    again = await back.open(created.token.secret, client_id=connected["client_id"], logs={ROOM: place})
    assert again["logs"][ROOM] == {"mode": "entries", "from": 0, "to": 2, "position": place}
    frame = await back.until_type("entries")
    assert ([entry[2] for entry in frame["entries"]], frame["recovered"]) == (["first", "second"], True)
    assert again["verdict"] == "full"


async def test_a_restored_backup_without_the_stream_is_told_to_live_followers(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().read(publish, "room:1", "lost")
    await one.entry(ROOM)
    await bridge().call(lambda: Stream.objects.all().delete())
    await hub().rounds.check_positions()
    gap = await one.until_type("gap")
    assert (gap["reason"], gap["position"][1]) == ("history_lost", 0)
    await bridge().read(publish, "room:1", "new")
    assert [(entry[0], entry[2]) for entry in await one.entry(ROOM)] == [(1, "new")]
    back = peers()
    again = await back.open(created.token.secret, logs={ROOM: gap["position"]})
    assert again["logs"][ROOM]["mode"] == "entries"


async def test_an_ephemeral_message_needs_no_stream(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().read(lambda: publish("room:1", "typing", ephemeral=True))
    assert (await one.until_type("ephemeral"))["data"] == "typing"
    await bridge().read(notify.send_ephemeral, KEY, "room:1", "again")
    assert (await one.until_type("ephemeral"))["data"] == "again"
    assert await bridge().read(Stream.objects.count) == 0

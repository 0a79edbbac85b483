"""Replay by a process whose feed is late: all that the verdict promised is replayed."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions import group_commit
from session_mgmt.actions.group_commit import Group, Write
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.bridge import bridge
from session_mgmt.writes import verbs

ROOM = "topic:room:1"


def publish_without_a_doorbell(data: bytes) -> None:
    """Publish as another process does whose doorbell is late."""
    group_commit.write_group(bridge().using, [Write(Publication("room:1", data))], Group(), wait=True)


async def test_entries_beyond_the_feed_are_replayed_and_marked_as_recovered(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret, logs={ROOM: None})
    await bridge().read(verbs.publish, "room:1", "first")
    ((offset, tag, _),) = await one.entry(ROOM)
    place = [connected["logs"][ROOM]["position"][0], offset, tag]
    other = peers()
    await other.open(created.token.secret, logs={ROOM: None})
    await other.until_following(ROOM)
    await one.drop()
    await bridge().call(publish_without_a_doorbell, b'"second"')
    two = peers()
    await two.open(created.token.secret, client_id=connected["client_id"], logs={ROOM: place})
    recovery = await two.until_type("recovery")
    frames = [frame for frame in two.seen if frame["type"] == "entries"]
    assert [entry[2] for frame in frames for entry in frame["entries"]] == ["second"]
    assert frames[-1]["recovered"]
    assert recovery["receipt"]["replayed"] == {ROOM: [2, 2]}
    assert [entry[2] for entry in await other.entry(ROOM)] == ["second"]

"""Entries of other processes: a feed that hears of entry 3 while it stands at 1 reads 2 first, and hands nothing on
twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from session_mgmt.actions import group_commit
from session_mgmt.actions.group_commit import Group, Write
from session_mgmt.actions.state import bodies, prepare
from session_mgmt.actions.topics.ledger import Publication
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import clock

ROOM = "topic:room:1"
MAIN = "state:main"
PATIENCE = 60.0


async def test_an_own_write_behind_an_unheard_one_is_acknowledged_after_both_entries(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await one.until_following(MAIN)
    await bridge().call(_elsewhere, lambda: prepare.prepare_blind(_document(created), "merge", {"theirs": 1}))
    await one.say(type="update", seq=1, ops=[["set", "/mine", 1]])
    receipt = await one.receipt(1)
    assert receipt["position"][1] == 2
    frames = [f for f in one.seen if f["type"] in ("entries", "receipt") and f.get("log", MAIN) == MAIN]
    assert [entry[0] for frame in frames[:-1] for entry in frame["entries"]] == [1, 2]
    assert frames[-1] is receipt


async def test_an_own_publication_behind_an_unheard_one_arrives_in_order(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().call(_elsewhere, lambda: Publication("room:1", b'"theirs"'))
    await one.say(type="publish", seq=1, topic="room:1", data="mine")
    seen: list[Any] = []
    while len(seen) < 2:
        seen += await one.entry(ROOM)
    assert [(entry[0], entry[2]) for entry in seen] == [(1, "theirs"), (2, "mine")]


async def test_entries_that_are_told_twice_are_handed_on_once(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    group = Group()
    await bridge().call(_write, group, Publication("room:1", b"1"))
    hub().take_group(group, [])
    hub().take_group(group, [])
    await one.say(type="publish", seq=1, topic="room:1", data=2)
    await one.receipt(1)
    entries = [entry[0] for f in one.seen if f["type"] == "entries" and f["log"] == ROOM for entry in f["entries"]]
    assert entries == [1, 2]


@pytest.mark.requirement("OWASP WebSocket: idle")
async def test_a_reader_that_stops_reading_is_fed_from_the_log_afterwards(
    peers: Any, created: Any, settings: Any
) -> None:
    settings.SESSION_MGMT = {"max_outbound_bytes": 1000}
    slow, other = peers(), peers()
    await slow.open(created.token.secret, logs={ROOM: None})
    await slow.until_following(ROOM)
    await other.open(created.token.secret)
    resume = slow.stop_reading()
    for seq in range(1, 41):
        await other.say(type="publish", seq=seq, topic="room:1", data="x" * 100)
        await other.receipt(seq)
    resume()
    seen: list[Any] = []
    while len(seen) < 40:
        seen += await slow.entry(ROOM)
    assert [entry[0] for entry in seen] == list(range(1, 41))


@pytest.mark.parametrize("log", [ROOM, MAIN])
async def test_a_replay_ahead_of_a_log_that_was_cut_is_told_and_does_not_turn_for_ever(
    peers: Any, created: Any, log: str
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={log: None})
    await one.until_following(log)
    (connection,) = hub().serving.connections
    following = connection.followings[log]
    following.feed.live.pop(following)
    following.place = replace(following.place, offset=99)
    await asyncio.wait_for(following._catch_up(), PATIENCE)
    told = await one.until_type("snapshot" if log == MAIN else "gap")
    assert (told["reason"], told["position"][1]) == ("history_lost", 0)
    assert following in following.feed.live


async def test_a_replay_never_joins_a_feed_of_another_epoch_where_the_offset_fits(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    (connection,) = hub().serving.connections
    following = connection.followings[ROOM]
    following.feed.live.pop(following)
    following.place = replace(following.place, epoch="of the restored backup")
    await asyncio.wait_for(following._catch_up(), PATIENCE)
    told = await one.until_type("gap")
    position = [following.feed.epoch, 0, following.log.mark]
    assert (told["reason"], told["position"]) == ("history_lost", position)


def _document(created: Any) -> int:
    return bodies.ensure_document("default", created.session.pk, "main", most=10, at=clock.read("default"))


def _elsewhere(work: Any) -> None:
    """Written by another process, whose doorbell was lost."""
    _write(Group(), work())


def _write(group: Group, work: Any) -> None:
    group_commit.write_group("default", [Write(work)], group, wait=True)

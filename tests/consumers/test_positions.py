"""Position checks: what the database said a moment ago is not news about what was handed on since."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions import logs
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import StateDocument, Stream
from session_mgmt.protocol.position import Position
from session_mgmt.writes import verbs

ROOM = "topic:room:1"


async def kinds_until_pong(peer: Any) -> list[str]:
    """Collect the types of the frames that come before the answer to a ping."""
    before = len(peer.seen)
    await peer.say(type="ping", id=77)
    await peer.until(lambda frame: frame.get("id") == 77)
    return [frame["type"] for frame in peer.seen[before:-1]]


async def test_an_answer_that_entries_have_overtaken_is_no_lost_history(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().read(verbs.publish, "room:1", "first")
    await one.entry(ROOM)
    find_moved = logs.find_moved

    def find_moved_between_entries(known: Any) -> Any:
        verbs.publish("room:1", "second")
        found = find_moved(known)
        assert [position.offset for position in found.values()] == [2]
        verbs.publish("room:1", "third")
        return found

    monkeypatch.setattr(logs, "find_moved", find_moved_between_entries)
    await hub().rounds.check_positions()
    assert set(await kinds_until_pong(one)) == {"entries"}


async def test_positions_are_compared_again_only_after_a_write_a_new_follower_or_a_difference(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    # Its own timers would ask in between.
    hub().rounds.stop()
    mark, moved, compared = [0], dict[str, Position](), list[set[str]]()
    check_positions = hub().serving.check_positions

    async def note_comparison(keys: Any, run: Any) -> bool:
        # A new log is compared by itself too, whenever its turn comes.
        if run == bridge().control:
            compared.append(set(keys))
        return await check_positions(keys, run)

    monkeypatch.setattr(logs, "read_mark", lambda using: tuple(mark))
    monkeypatch.setattr(logs, "find_moved", lambda known: moved)
    monkeypatch.setattr(hub().serving, "check_positions", note_comparison)

    async def count_comparisons() -> int:
        before = len(compared)
        await hub().rounds.check_positions()
        return len(compared) - before

    assert [await count_comparisons() for _ in range(3)] == [1, 0, 0]
    mark[0] += 1
    assert [await count_comparisons() for _ in range(3)] == [1, 0, 0]
    await one.say(type="subscribe", id=1, log="topic:room:2")
    await one.until(lambda frame: frame.get("id") == 1)
    assert [await count_comparisons() for _ in range(3)] == [1, 0, 0]
    assert {key for key, feed in hub().serving.feeds.items() if feed.following} == compared[-1]
    mark[0] += 1
    moved["of nobody here"] = Position("another", 1, "")
    assert [await count_comparisons() for _ in range(3)] == [1, 1, 1]


async def test_a_log_that_was_deleted_ends_the_connections_that_follow_it(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"state:main": None})
    await one.until_following("state:main")
    await bridge().call(lambda: StateDocument.objects.all().delete())
    await hub().rounds.check_positions()
    assert await one.closed() == 4004


async def test_logs_that_have_not_moved_are_left_out_and_each_kind_takes_one_query(
    peers: Any, created: Any, django_assert_num_queries: Any
) -> None:
    logs_ = {"session": None, ROOM: None, "topic:room:2": None, "state:main": None, "state:other": None}
    one = peers()
    await one.open(created.token.secret, logs=logs_)
    for name in logs_:
        await one.until_following(name)
    known = {key: (feed.epoch, feed.head, feed.tag) for key, feed in hub().serving.feeds.items()}
    moved = next(key for key, feed in hub().serving.feeds.items() if feed.name == "state:other")

    def look() -> Any:
        with django_assert_num_queries(3):
            assert logs.find_moved(known) == {}
        StateDocument.objects.filter(name="other").update(epoch="another")
        return logs.find_moved(known)

    assert await bridge().read(look) == {moved: Position("another", 0, "")}


async def test_a_head_smaller_than_what_was_handed_on_before_the_question_is_lost_history(
    peers: Any, created: Any
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().read(verbs.publish, "room:1", "first")
    await one.entry(ROOM)
    await bridge().call(lambda: Stream.objects.filter(topic="room:1").update(head=0, head_tag="", oldest=1))
    await hub().rounds.check_positions()
    gap = await one.until_type("gap")
    assert (gap["reason"], gap["position"][1]) == ("history_lost", 0)

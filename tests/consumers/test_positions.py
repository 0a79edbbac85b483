"""Position checks: what the database said a moment ago is not news about what was handed on since."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions import logs
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Stream
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
    heads = logs.read_heads

    def heads_and_then_an_entry(keys: Any) -> Any:
        found = heads(keys)
        verbs.publish("room:1", "second")
        return found

    monkeypatch.setattr(logs, "read_heads", heads_and_then_an_entry)
    await hub().rounds.check_positions()
    assert await kinds_until_pong(one) == ["entries"]


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

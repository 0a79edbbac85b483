"""Clients over HTTP: attach, poll, write and leave, with the promises that sockets keep."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_mgmt.bridge import bridge
from session_mgmt.consumers.http_outlets import MOST_BYTES
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Attendance, Connection
from session_mgmt.registry import topic
from session_mgmt.writes import verbs

pytestmark = pytest.mark.django_db(transaction=True)
MAIN, ROOM = "state:main", "topic:room:1"


def update(seq: int, path: str = "/a", value: Any = 1) -> dict[str, Any]:
    return {"type": "update", "seq": seq, "doc": "main", "ops": [["set", path, value]]}


async def test_a_client_attaches_writes_and_is_given_entries_before_receipts(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    connected = await tab.attach({MAIN: None, ROOM: None, "session": None})
    assert connected["recovery"] is None and connected["logs"][ROOM]["grant"]
    assert [frame["type"] for frame in await tab.poll(hold=0)] == ["snapshot"]
    frames = await tab.exchange(update(1), update(2, "/b"), {"type": "ping", "id": 9})
    types = [(frame["type"], frame.get("seq")) for frame in frames if frame["type"] != "pong"]
    assert types[-2:] == [("receipt", 1), ("receipt", 2)] or types == [
        ("entries", None),
        ("receipt", 1),
        ("entries", None),
        ("receipt", 2),
    ]
    assert tab.logs[MAIN]["position"][1] == 2
    row = await bridge().read(Connection.objects.get)
    assert (row.transport, row.closed_at) == ("longpoll", None)


async def test_a_message_whose_number_is_none_has_one_answer_and_the_others_theirs(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    wrong = [None, True, 0, -1, 1.5, "1", "", [], [1], {}]
    sent = [{"type": "send", "seq": seq, "data": 1} for seq in wrong]
    answers = await tab.exchange(update(1), {"type": "send", "data": 1}, *sent, {"type": "ping", "id": 2})
    assert [frame["seq"] for frame in answers if frame["type"] == "receipt"] == [1]
    errors = [frame for frame in answers if frame["type"] == "error"]
    assert [(error["field"], "id" in error) for error in errors] == [("seq", False)] * (len(wrong) + 1)
    assert len(answers) == len(errors) + 2


async def test_beats_are_no_matter_of_calls_and_no_answer_waits_for_a_window(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    wish = {"type": "configure", "id": 1, "batch": 1.0, "interval": 5}
    frames = await tab.exchange(wish, {"type": "ping", "id": 2}, {**wish, "id": 3, "batch": 9})
    reply, pong, refusal = frames
    assert (reply["config"]["batch"], reply["config"]["interval"]) == (0.0, 25.0)
    assert (pong["type"], pong["id"]) == ("pong", 2)
    assert (refusal["id"], refusal["name"], refusal["field"]) == (3, "invalid_field", "batch")


async def test_a_held_poll_is_answered_by_a_publication(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({ROOM: None})
    held = asyncio.ensure_future(tab.poll())
    while not tab_is_held():
        await asyncio.wait([held], timeout=0.01)
    await bridge().read(verbs.publish, "room:1", {"status": "paid"})
    assert [entry[2] for frame in await held for entry in frame["entries"]] == [{"status": "paid"}]


def tab_is_held() -> bool:
    from session_mgmt.consumers.hub import hub

    return bool(hub().held) and all(c.followings for c in hub().serving.connections)


async def test_pages_of_the_past_in_one_call_are_bounded_together(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    for _ in range(5):
        await bridge().read(verbs.publish, "room:1", "x" * 60_000)
    asked = [{"type": "history", "id": number, "log": ROOM} for number in range(20)]
    frames = await tab.exchange(*asked)
    assert {frame["id"] for frame in frames} == set(range(20))
    told = [frame for frame in frames if frame["type"] == "reply"]
    assert 0 < sum(len(frame["entries"]) * 60_000 for frame in told) < 2 * MOST_BYTES
    assert {frame["name"] for frame in frames if frame["type"] == "error"} == {"busy"}


async def test_an_earlier_place_is_wished_for_at_the_attach_and_with_a_frame(tabs: Any, created: Any) -> None:
    for number in range(5):
        await bridge().read(verbs.publish, "room:1", number)
    tab = tabs(created.token.secret)
    connected = await tab.attach({ROOM: None}, since={ROOM: {"last": 2}})
    assert (connected["logs"][ROOM]["from"], connected["logs"][ROOM]["to"]) == (3, 5)
    assert [entry[2] for frame in await tab.poll(hold=0) for entry in frame["entries"]] == [3, 4]
    other = tabs(created.token.secret)
    await other.attach({})
    asked = {"type": "subscribe", "id": 1, "log": ROOM, "position": None, "since": {"time": "2020-01-01T00:00:00Z"}}
    (reply,) = await other.exchange(asked)
    other.follow(ROOM, reply["verdict"], None)
    assert [entry[2] for frame in await other.poll(hold=0) for entry in frame["entries"]] == [0, 1, 2, 3, 4]


async def test_a_poll_that_is_denied_a_topic_ends_the_presence_there(tabs: Any, created: Any) -> None:
    allowed = {"guarded"}

    @topic("guarded:{name}", presence=True)
    def open_guarded(session: Any, name: str) -> bool:
        return "guarded" in allowed

    guarded = "topic:guarded:1"
    tab = tabs(created.token.secret)
    await tab.attach({guarded: None})
    (reply,) = await tab.exchange({"type": "enter", "id": 1, "log": guarded})
    assert "member" in reply
    allowed.clear()
    tab.logs[guarded]["grant"] = None
    hub().arrivals.grants.forget(created.session.pk)
    (error,) = await tab.poll(hold=0)
    assert (error["name"], error["log"]) == ("topic_denied", guarded)
    async with asyncio.timeout(60):
        while await bridge().read(Attendance.objects.count):
            pass

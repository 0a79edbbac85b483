"""The value of a topic over HTTP: it meets what polls bring after it, and a failure leaves the other frames alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import F

from session_mgmt.bridge import bridge
from session_mgmt.consumers import http_polls
from session_mgmt.models import Publication, Stream
from session_mgmt.registry import registry, topic
from session_mgmt.shortcuts import publish

pytestmark = pytest.mark.django_db(transaction=True)
LIST, BROKEN = "topic:names:1", "topic:names:broken"


def read_names(session: Any, name: str) -> Any:
    if name == "broken":
        raise ValueError("as declared")
    return [*Group.objects.order_by("pk").values_list("name", flat=True)]


@pytest.fixture(autouse=True)
def lists(declared: None) -> Iterator[None]:
    before = list(registry.topics)

    @topic("names:{name}", snapshot=read_names)
    def may_read(session: Any, name: str) -> bool:
        return name != "closed"

    yield
    registry.topics[:] = before


@pytest.fixture
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """End streams after a moment: without a server, a client reads one when it is over."""
    monkeypatch.setattr(http_polls, "PING_SECONDS", 0.02)
    monkeypatch.setattr(http_polls, "LONGEST_STREAM", 0.05)


def commit(name: str) -> None:
    with transaction.atomic():
        Group.objects.create(name=name)
        publish("names:1", name)


def value(id_: int, log: str = LIST) -> dict[str, Any]:
    return {"type": "value", "id": id_, "log": log}


async def test_the_value_and_what_polls_bring_meet_whatever_is_committed_meanwhile(tabs: Any, created: Any) -> None:
    await bridge().call(commit, "a")
    tab = tabs(created.token.secret)
    await tab.attach({LIST: None})
    await bridge().call(commit, "b")
    # In the call in which the client asks for more: no answer is left out.
    frames = await tab.exchange(value(1), value(2), {"type": "ping", "id": 3})
    answers = {frame["id"]: frame for frame in frames}
    assert set(answers) == {1, 2, 3}
    await bridge().call(commit, "d")
    await bridge().call(bridge().drain)
    # The client goes over to another attachment, as with a change of the transport, and keeps its place.
    tab.transport = "sse"
    await tab.attach()
    while not (told := tab.entries.get(LIST)) or told[-1][2] != "d":
        await tab.poll()
    for answer in (answers[1], answers[2]):
        _, offset, _ = answer["position"]
        after = [data for number, _, data in told if number > offset]
        assert [*answer["data"], *after] == await bridge().read(read_names, None, "1")


async def read_to(tab: Any, last: str) -> None:
    """Read, by streams or polls as the client has attached, until this name has come."""
    while not any(data == last for _, _, data in tab.entries.get(LIST, [])):
        if tab.transport == "sse":
            await read_stream(tab)
        else:
            await tab.poll()


async def read_stream(tab: Any) -> None:
    headers = {"Authorization": f"Bearer {tab.token}", "Accept": "text/event-stream"}
    answer = await tab.http.post("/api/connections/poll/", json=tab.build_poll(), headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.text.splitlines()
    tab.take([json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")])


def trim_all() -> None:
    Publication.objects.all().delete()
    Stream.objects.update(oldest=F("head") + 1, oldest_tag=F("head_tag"))


async def ask(tab: Any, numbers: Iterator[int]) -> dict[str, Any]:
    number = next(numbers)
    return next(frame for frame in await tab.exchange(value(number)) if frame.get("id") == number)


async def meets(tab: Any, answer: dict[str, Any]) -> bool:
    """Tell whether a value and the publications that lie behind it are the rows as they are now."""
    _, offset, _ = answer["position"]
    after = [data for at, _, data in tab.entries.get(LIST, []) if at > offset]
    return [*answer["data"], *after] == await bridge().read(read_names, None, "1")


@pytest.mark.parametrize("transport", ["sse", "longpoll"])
async def test_a_value_meets_what_comes_after_it_and_is_read_again_after_a_gap(
    transport: str, tabs: Any, created: Any, short_streams: None
) -> None:
    numbers = count(1)
    await bridge().call(commit, "a")
    tab = tabs(created.token.secret, transport)
    await tab.attach({LIST: None})
    # The value comes by a call of its own, while a stream or a poll is held.
    reading = asyncio.ensure_future(read_to(tab, "b"))
    first = await ask(tab, numbers)
    await bridge().call(commit, "b")
    await reading
    assert await meets(tab, first)
    # While the client is away, all that it has is trimmed.
    for name in ("c", "d"):
        await bridge().call(commit, name)
    await bridge().call(bridge().drain)
    await bridge().read(trim_all)
    verdict = (await tab.attach())["logs"][LIST]
    assert verdict["mode"] == "gap", verdict
    again = await ask(tab, numbers)
    await bridge().call(commit, "e")
    await read_to(tab, "e")
    assert again["data"] == ["a", "b", "c", "d"] and await meets(tab, again)


async def test_a_value_that_is_asked_for_holds_over_changes_of_the_transport(
    tabs: Any, created: Any, short_streams: None
) -> None:
    numbers = count(1)
    await bridge().call(commit, "a")
    tab = tabs(created.token.secret)
    await tab.attach({LIST: None})
    answers = [await ask(tab, numbers)]
    for name, transport in (("b", "sse"), ("c", "longpoll"), ("d", "sse")):
        # Committed before the client comes by the other way, which it does with what it has.
        await bridge().call(commit, name)
        tab.transport = transport
        await tab.attach()
        answers.append(await ask(tab, numbers))
        await read_to(tab, name)
    assert [await meets(tab, answer) for answer in answers] == [True] * 4


async def test_a_failed_or_denied_value_is_refused_alone(tabs: Any, created: Any) -> None:
    await bridge().call(commit, "a")
    tab = tabs(created.token.secret)
    await tab.attach({LIST: None})
    asked = [value(1, BROKEN), value(2, "topic:names:closed"), value(3, "state:main"), value(4)]
    frames = {frame["id"]: frame for frame in await tab.exchange(*asked)}
    assert {number: frame.get("name") for number, frame in frames.items()} == {
        1: "handler_failed",
        2: "topic_denied",
        3: "invalid_field",
        4: None,
    }
    assert frames[4]["data"] == ["a"]
    # And nothing of it is followed that was not followed before.
    assert set(tab.logs) == {LIST}

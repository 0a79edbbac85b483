"""The value of a topic over HTTP: it meets what polls bring after it, and a failure leaves the other frames alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from session_mgmt.bridge import bridge
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

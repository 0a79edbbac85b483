"""A topic begins with its value: publications after it are all that it has not, whatever is committed meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.utils.functional import lazy

from session_mgmt.actions.topics import snapshots
from session_mgmt.bridge import bridge
from session_mgmt.models import Publication
from session_mgmt.registry import registry, topic
from session_mgmt.shortcuts import publish
from tests.away import raise_away

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "topic:list:1"


def read_names(session: Any, name: str) -> Any:
    if name == "broken":
        raise ValueError("as declared")
    if name == "large":
        return "x" * 2_000_000
    if name == "away":
        # Fails only as it is encoded.
        return lazy(raise_away, str)()
    if name == "writes":
        Group.objects.create(name="read now")
    return [*Group.objects.order_by("pk").values_list("name", flat=True)]


@pytest.fixture(autouse=True)
def lists() -> Iterator[None]:
    before = list(registry.topics)

    @topic("list:{name}", snapshot=read_names)
    def may_read(session: Any, name: str) -> bool:
        return name != "closed"

    @topic("bare:{name}")
    def may_read_bare(session: Any, name: str) -> bool:
        return True

    yield
    registry.topics[:] = before


def commit(name: str) -> None:
    """Commit a row with its publication, on a connection of its own."""

    def write() -> None:
        with transaction.atomic():
            Group.objects.create(name=name)
            publish("list:1", name)
        connection.close()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(write).result()


async def ask(peer: Any, log: str = LIST, id_: int = 30) -> dict[str, Any]:
    await peer.say(type="value", id=id_, log=log)
    return dict(await peer.until(lambda frame: frame.get("id") == id_))


def list_entries(peer: Any) -> list[Any]:
    frames = [frame for frame in peer.seen if frame["type"] == "entries" and frame["log"] == LIST]
    return [entry for frame in frames for entry in frame["entries"]]


def commit_before(monkeypatch: pytest.MonkeyPatch, step: str, names: Iterator[str]) -> None:
    """Commit a row before a step of each snapshot, as long as there are names."""
    original: Callable[..., Any] = getattr(snapshots, step)

    def commit_first(*args: Any) -> Any:
        for name in names:
            commit(name)
            break
        return original(*args)

    monkeypatch.setattr(snapshots, step, commit_first)


@pytest.mark.parametrize("step", ["_is_waited_for", "find_places", "open_snapshot"])
async def test_the_value_and_what_comes_after_it_meet(
    step: str, peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bridge().call(commit, "a")
    peer = peers()
    await peer.open(created.token.secret, logs={LIST: None})
    commit_before(monkeypatch, step, iter("bc"))
    answer = await ask(peer)
    await bridge().call(commit, "d")
    await bridge().call(bridge().drain)
    _, offset, _ = answer["position"]
    committed = await bridge().read(Publication.objects.count)
    while not (told := list_entries(peer)) or told[-1][0] < committed:
        await peer.next()
    after = [name for number, _, name in told if number > offset]
    assert [*answer["data"], *after] == await bridge().read(read_names, None, "1")


async def test_a_value_that_nobody_may_read_or_that_is_none_is_refused(
    peers: Any, created: Any, caplog: pytest.LogCaptureFixture
) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    names = ("list:closed", "nothing:1", "bare:1", "list:broken", "list:large", "list:writes", "list:away")
    refused = {name: (await ask(peer, f"topic:{name}", id_))["name"] for id_, name in enumerate(names, start=40)}
    assert refused == {
        "list:closed": "topic_denied",
        "nothing:1": "topic_denied",
        "bare:1": "invalid_field",
        "list:broken": "handler_failed",
        "list:large": "handler_failed",
        "list:writes": "handler_failed",
        "list:away": "unavailable",
    }
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 3
    assert (await ask(peer, "state:main", 50))["name"] == "invalid_field"
    # The thread is free again, and reads outside of any moment.
    assert (await ask(peer, id_=51))["data"] == []


async def test_a_topic_that_is_published_to_before_each_look_is_busy(
    peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = peers()
    await peer.open(created.token.secret)
    monkeypatch.setattr(bridge(), "nudge", lambda: None)
    commit_before(monkeypatch, "_is_waited_for", iter("abcde"))
    assert (await ask(peer))["name"] == "busy"


def test_a_function_that_cannot_be_called_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="snapshot of topic"):
        topic("list:{name}", snapshot=lambda session: [])

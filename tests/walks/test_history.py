"""The past of a topic: pages backwards from a place, under the right to follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import following, lifecycle
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import InvalidField, UnknownPosition
from session_mgmt.models import Publication, Stream
from session_mgmt.protocol.position import Position
from session_mgmt.registry import registry, topic
from session_mgmt.shortcuts import ahistory, apublish, history
from session_mgmt.testing import inline_bridge
from session_mgmt.writes import verbs

ROOM = "topic:room:1"


async def ask(peer: Any, **more: Any) -> dict[str, Any]:
    await peer.say(**{"type": "history", "id": 7, "log": ROOM, **more})
    return dict(await peer.until(lambda frame: frame.get("id") == 7))


def place(page: dict[str, Any], at: int = 0) -> list[Any]:
    """Return the position of an entry of a page."""
    return [page["epoch"], *page["entries"][at][:2]]


def numbers(page: dict[str, Any]) -> list[int]:
    return [entry[0] for entry in page["entries"]]


def publish_all(first: int, last: int) -> None:
    for number in range(first, last + 1):
        verbs.publish("room:1", {"n": number})


def trim(to: int) -> None:
    """Remove the entries before one, as the cleanup does."""
    stream = Stream.objects.get(topic="room:1")
    gone = Publication.objects.filter(stream=stream, offset__lt=to)
    Stream.objects.filter(pk=stream.pk).update(oldest=to, oldest_tag=gone.get(offset=to - 1).tag)
    gone.delete()


async def test_pages_go_back_to_the_first_entry_and_have_what_followers_were_given(peers: Any, created: Any) -> None:
    one, before = peers(), datetime.now(UTC)
    await one.open(created.token.secret, logs={ROOM: None})
    assert (await ask(one))["entries"] == []
    await bridge().read(publish_all, 1, 7)
    told: list[Any] = []
    while len(told) < 7:
        told += await one.entry(ROOM)
    page, found = await ask(one, limit=3), []
    while page["more"]:
        found = page["entries"] + found
        page = await ask(one, limit=3, before=place(page))
    found = page["entries"] + found
    assert numbers(page) == [1]
    assert [entry[:3] for entry in found] == told
    moments = [datetime.fromisoformat(entry[3]) for entry in found]
    assert moments == sorted(moments) and all(at.tzinfo is not None and at.year >= before.year for at in moments)
    assert (await ask(one, before=place(page)))["entries"] == []
    # A place before the first publication carries a mark in place of a tag.
    assert (await ask(one, before=[page["epoch"], 0, "00061e5a5c3e5a00"]))["more"] is False


async def test_a_place_of_another_history_is_refused_and_one_that_was_trimmed_has_nothing_before_it(
    peers: Any, created: Any
) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().read(publish_all, 1, 6)
    page = await ask(one)
    epoch, offset, tag = place(page, 3)
    for wrong in (
        [epoch, offset, "0" * 16],
        ["0" * 16, offset, tag],
        [epoch, 7, tag],
        [epoch, 6, tag],
        [epoch, 5, tag],
    ):
        assert (await ask(one, before=wrong))["name"] == "unknown_position", wrong
    await bridge().read(trim, 4)
    for gone in range(4):
        answer = await ask(one, before=place(page, gone))
        assert (answer["entries"], answer["more"]) == ([], False), "nothing is left before it"
    assert numbers(answer := await ask(one, before=place(page, 5))) == [4, 5] and not answer["more"]
    assert (await ask(one, before=[epoch, 4, "0" * 16]))["name"] == "unknown_position"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": True}, "limit"),
        ({"before": ["e", -1, "t"]}, "before"),
        ({"before": 7}, "before"),
        ({"log": "session"}, "log"),
        ({"log": "state:main"}, "log"),
    ],
)
@pytest.mark.sqlite
async def test_a_question_that_cannot_be_meant_names_its_field(
    peers: Any, created: Any, wrong: dict[str, Any], field: str
) -> None:
    one = peers()
    await one.open(created.token.secret)
    refused = await ask(one, **wrong)
    assert (refused["name"], refused["field"]) == ("invalid_field", field)


async def test_a_page_costs_a_fixed_number_of_statements_and_a_bounded_number_of_bytes(
    transactional_db: None, created: Created, settings: Any
) -> None:
    settings.SESSION_MGMT = {"REPLAY_PAGE_BYTES": 2000}

    def read(before: Position | None, limit: int) -> tuple[list[int], int]:
        with CaptureQueriesContext(connection) as statements:
            page = following.read_past(created.session.pk, "room:1", before, limit)
        return [row[0] for row in page.rows], len(statements)

    def measure() -> list[tuple[list[int], int]]:
        with inline_bridge():
            publish_all(1, 40)
            verbs.publish("room:1", "x" * 5000)
        at = [entry.position for entry in history("room:1", before=history("room:1").entries[0].position).entries]
        return [read(None, 200), read(at[-1], 5), read(at[-1], 200)]

    newest, few, many = await bridge().read(measure)
    # One that is larger than a page is a page.
    assert newest == ([41], 4)
    assert few == ([35, 36, 37, 38, 39], 5)
    assert many[1] == 5 and many[0][-1] == 39


@pytest.fixture
def changing() -> Iterator[list[Callable[[], None]]]:
    """Declare a topic whose function does whatever is in the list; then it allows."""
    before, acts = list(registry.topics), []

    def act(session: Any, name: str) -> bool:
        for one in acts:
            one()
        return name != "secret"

    topic("changing:{name}")(act)
    yield acts
    registry.topics[:] = before


async def test_nothing_is_told_of_a_topic_that_may_not_be_followed_or_by_a_session_that_ends_meanwhile(
    peers: Any, created: Created, changing: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await apublish("changing:secret", "not for them")
    await apublish("changing:1", "not for the dead")
    one = peers()
    await one.open(created.token.secret)
    # Rights to follow decide, and no subscription is needed or made.
    for log in ("topic:changing:secret", "topic:nowhere", "topic:"):
        assert (await ask(one, log=log))["name"] == "topic_denied", log
    assert (await ask(one, log="topic:changing:1"))["entries"][0][2] == "not for the dead"
    monkeypatch.setattr(Doorbell, "ring", lambda *args: None)
    changing.append(lambda: lifecycle.terminate_session(SERVER, created.session.pk) and None)
    refused = await ask(one, log="topic:changing:1")
    assert refused["name"] == "session_terminated" and "entries" not in refused


async def test_a_page_is_made_once_the_client_has_read_the_one_before(
    peers: Any, created: Created, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apublish("room:1", "x" * 40_000)
    one, idle = peers(), []
    await one.open(created.token.secret)
    (connection,) = hub().serving.connections
    original = following.read_past

    def read(*asked: Any) -> Any:
        idle.append(connection.outlet.is_idle)
        return original(*asked)

    monkeypatch.setattr(following, "read_past", read)
    go_on = one.stop_reading()
    for number in range(6):
        await one.say(type="history", id=number, log=ROOM, limit=1)
    # The first page is on its way, and the others have had their chances to be made.
    while connection.outlet.is_idle:
        await bridge().read(bool)
    for _ in range(6):
        await bridge().read(bool)
    go_on()
    answers = [await one.until(lambda frame: frame.get("id") in range(6)) for _ in range(6)]
    assert [len(frame["entries"]) for frame in answers] == [1] * 6
    assert idle == [True] * 6


async def test_python_reads_the_past_inside_a_transaction_too(transactional_db: None, declared: None) -> None:
    positions = [await apublish("room:1", number) for number in range(3)]
    page = await ahistory("room:1", before=positions[2], limit=1)
    assert [(entry.position, entry.data) for entry in page.entries] == [(positions[1], 1)]
    assert page.more and page.entries[0].at.tzinfo is not None
    assert (await ahistory("never:1")).entries == []
    for wrong in ({"topic": " "}, {"topic": "room:1", "before": 7}, {"topic": "room:1", "limit": 0}):
        with pytest.raises(InvalidField):
            await ahistory(**wrong)  # type: ignore[arg-type] # that is what is tested
    with pytest.raises(UnknownPosition):
        await ahistory("room:2", before=positions[2])

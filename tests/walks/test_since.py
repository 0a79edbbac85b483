"""Begin to follow a topic at an earlier place: by a position, by a moment, or so many entries before the newest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.topics import starts
from session_mgmt.bridge import bridge
from session_mgmt.bridge.crossing import Bridge
from session_mgmt.models import Publication, Stream, Subscription, clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.since import Since
from session_mgmt.writes import verbs
from tests.walks.test_history import publish_all, trim

ROOM = "topic:room:1"
LONG_AGO = {"time": "2020-01-01T00:00:00Z"}


async def subscribe(peer: Any, **more: Any) -> dict[str, Any]:
    """Return the verdict, or the error."""
    await peer.say(**{"type": "subscribe", "id": 5, "log": ROOM, "position": None, **more})
    frame = await peer.until(lambda frame: frame.get("id") == 5)
    return dict(frame.get("verdict", frame))


async def hear(peer: Any, last: int) -> list[int]:
    """Return the offsets that come, up to one."""
    seen: list[int] = []
    while not seen or seen[-1] < last:
        seen += [entry[0] for entry in await peer.entry(ROOM)]
    return seen


def date(offset: int, at: datetime) -> None:
    Publication.objects.filter(offset=offset).update(at=at)


def read_head() -> int:
    return Stream.objects.get(topic="room:1").head


@pytest.fixture
async def dated(transactional_db: None, declared: None) -> datetime:
    """Ten publications, one each minute; return the moment of the first, an hour ago."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

    def publish() -> None:
        publish_all(1, 10)
        for number in range(10):
            date(number + 1, start + timedelta(minutes=number))

    await bridge().read(publish)
    return start


@pytest.mark.parametrize(("last", "first"), [(1, 10), (3, 8), (10, 1), (1000, 1)])
async def test_last_begins_so_many_entries_before_the_newest(
    peers: Any, created: Created, dated: datetime, last: int, first: int
) -> None:
    one = peers()
    await one.open(created.token.secret)
    verdict = await subscribe(one, since={"last": last})
    assert (verdict["mode"], verdict["from"], verdict["to"]) == ("entries", first - 1, 10)
    assert "complete" not in verdict
    assert await hear(one, 10) == list(range(first, 11))
    await bridge().read(publish_all, 11, 11)
    assert await hear(one, 11) == [11]


@pytest.mark.parametrize(
    ("minutes", "first"), [(-30, 1), (0, 1), (4, 5), (4.5, 6), (9, 10), (9.5, None)], ids=lambda value: str(value)
)
async def test_time_begins_right_before_the_first_entry_that_is_not_older(
    peers: Any, created: Created, dated: datetime, minutes: float, first: int | None
) -> None:
    one = peers()
    await one.open(created.token.secret)
    # Any zone says the same.
    moment = (dated + timedelta(minutes=minutes)).astimezone().isoformat()
    verdict = await subscribe(one, since={"time": moment})
    assert "complete" not in verdict
    if first is None:
        assert (verdict["mode"], verdict["position"][1]) == ("up_to_date", 10)
    else:
        assert await hear(one, 10) == list(range(first, 11))


async def test_an_entry_that_stands_behind_a_younger_one_is_not_left_out(
    peers: Any, created: Created, dated: datetime
) -> None:
    # The transaction of 5 had to wait for that of 4, which began later.
    await bridge().read(date, 4, dated + timedelta(minutes=4, seconds=20))
    one = peers()
    await one.open(created.token.secret)
    await subscribe(one, since={"time": (dated + timedelta(minutes=4, seconds=10)).isoformat()})
    assert await hear(one, 10) == list(range(4, 11))


async def test_a_time_before_what_is_kept_is_told_to_be_incomplete(
    peers: Any, created: Created, dated: datetime
) -> None:
    await bridge().read(trim, 4)
    told = []
    for minutes in (0, 3, 3.5):
        one = peers()
        await one.open(created.token.secret)
        verdict = await subscribe(one, since={"time": (dated + timedelta(minutes=minutes)).isoformat()})
        told.append((verdict["mode"], verdict["from"], verdict.get("complete")))
    # Nobody knows whether 3, which was removed, was younger than the entry 4 would have it.
    assert told == [("entries", 3, False), ("entries", 3, False), ("entries", 4, None)]


async def test_no_more_is_replayed_than_may_be_and_the_rest_is_told_to_be_missing(
    peers: Any, created: Created, dated: datetime, settings: Any
) -> None:
    settings.SESSION_MGMT = {"REPLAY_MOST": 4}
    told = []
    for since in (LONG_AGO, {"time": (dated + timedelta(minutes=6)).isoformat()}, {"last": 9}):
        one = peers()
        await one.open(created.token.secret)
        verdict = await subscribe(one, since=since)
        assert await hear(one, 10) == [7, 8, 9, 10]
        told.append(verdict.get("complete"))
    assert told == [False, None, None]


async def test_a_topic_without_publications_is_complete_as_long_as_it_would_have_kept_them(
    peers: Any, created: Created
) -> None:
    one = peers()
    await one.open(created.token.secret)
    recent = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    told = []
    for number, since in enumerate((LONG_AGO, {"time": recent}, {"last": 5})):
        verdict = await subscribe(one, since=since, log=f"topic:room:{number + 2}")
        assert (verdict["mode"], verdict["position"][1], len(verdict["position"][2])) == ("up_to_date", 0, 16)
        told.append(verdict.get("complete"))
    assert told == [False, None, None]


async def test_a_position_of_its_own_goes_before_and_one_in_the_wish_keeps_its_gap(
    peers: Any, created: Created, dated: datetime
) -> None:
    one = peers()
    await one.open(created.token.secret)
    place = (await subscribe(one, since={"last": 2}))["position"]
    two = peers()
    connected = await two.open(created.token.secret, logs={ROOM: place}, since={ROOM: {"last": 9}})
    assert connected["logs"][ROOM]["from"] == 8
    three = peers()
    await three.open(created.token.secret)
    assert (await subscribe(three, since={"position": place}))["from"] == 8
    four = peers()
    await four.open(created.token.secret)
    lost = await subscribe(four, since={"position": [place[0], 8, "0" * 16]})
    assert (lost["mode"], lost["reason"]) == ("gap", "history_lost")


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "wrong",
    [
        *(7, [], "x", {}, {"last": 0}, {"last": 1001}, {"last": True}, {"last": 1.5}, {"time": 7}, {"time": "x"}),
        *({"time": "2026-11-23T12:00:00"}, {"time": "0001-01-01T00:00:00+23:59"}, {"time": "9" * 50}),
        *({"last": 1, "time": "2026-11-23T12:00:00Z"}, {"position": None}, {"first": 1}),
    ],
    ids=str,
)
async def test_a_wish_that_cannot_be_meant_denies_its_own_log_only(peers: Any, created: Created, wrong: Any) -> None:
    one = peers()
    connected = await one.open(
        created.token.secret, logs={ROOM: None, "topic:room:2": None}, since={ROOM: wrong, "topic:room:2": {"last": 1}}
    )
    error = connected["logs"][ROOM]["error"]
    assert (error["name"], error["field"]) == ("invalid_field", "since")
    assert connected["logs"]["topic:room:2"]["mode"] == "up_to_date"
    assert (await subscribe(one, since=wrong))["field"] == "since"
    topics = await bridge().read(lambda: list(Subscription.objects.values_list("topic", flat=True)))
    assert topics == ["room:2"]


@pytest.mark.sqlite
async def test_documents_have_no_earlier_place_and_topics_only_for_those_who_may(peers: Any, created: Created) -> None:
    one = peers()
    await one.open(created.token.secret)
    assert (await subscribe(one, log="state:main", since={"last": 1}))["field"] == "since"
    assert (await subscribe(one, log="session", since={"last": 1}))["field"] == "since"
    assert (await subscribe(one, log="topic:room:secret", since={"last": 1}))["name"] == "topic_denied"
    assert (await subscribe(one, log="topic:room:secret", since=7))["name"] == "topic_denied"


async def test_all_wishes_of_a_group_cost_three_statements(dated: datetime) -> None:
    def count() -> int:
        statements, now = Statements(connection), clock.read("default")
        wishes = [Since(last=3), Since(time=dated), Since(time=dated + timedelta(minutes=3))]
        asked = [(topic, since) for topic in ("room:1", "room:2", "room:1") for since in wishes]
        with CaptureQueriesContext(connection) as captured:
            found = starts.find_starts(statements, asked, now)
        assert [found["room:1", since].place.offset for since in wishes] == [7, 0, 3]
        return len(captured)

    assert await bridge().read(count) == 3


def publish_in_a_transaction(topic: str, data: Any) -> None:
    with transaction.atomic():
        verbs.publish(topic, data)


class Publisher:
    """Commits publications before everything that the server waits for, half of them in transactions of the project."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._is_active, self._original, self._lock = 0, True, Bridge._run_on, asyncio.Lock()
        publisher = self

        async def run_on(one: Bridge, *job: Any) -> Any:
            await publisher.act(one)
            return await publisher._original(one, *job)

        monkeypatch.setattr(Bridge, "_run_on", run_on)

    async def stop(self) -> None:
        """Publish no more; nothing is on its way afterwards."""
        async with self._lock:
            self._is_active = False

    async def act(self, one: Bridge) -> None:
        async with self._lock:
            for publish in (verbs.publish, publish_in_a_transaction) if self._is_active else ():
                self.count += 1
                await self._original(one, one._reads, partial(publish, "room:1", "x"))


@pytest.fixture
def publishing(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    return Publisher(monkeypatch)


@pytest.mark.parametrize("since", [{"last": 3}, LONG_AGO, "position"], ids=["last", "time", "position"])
@pytest.mark.parametrize("by", ["connect", "subscribe"])
async def test_what_is_replayed_and_what_comes_live_meet_while_others_publish_at_every_await(
    peers: Any, created: Created, dated: datetime, publishing: Publisher, since: Any, by: str
) -> None:
    one, other = peers(), peers()
    if since == "position":
        connected = await other.open(created.token.secret, logs={ROOM: None})
        since = {"position": connected["logs"][ROOM]["position"]}
    if by == "connect":
        connected = await one.open(created.token.secret, logs={ROOM: None}, since={ROOM: since})
        verdict = connected["logs"][ROOM]
    else:
        await one.open(created.token.secret)
        verdict = await subscribe(one, since=since)
    assert verdict["mode"] == "entries" and verdict["to"] - verdict["from"] >= 3
    seen = await hear(one, verdict["to"])
    await publishing.stop()
    await bridge().read(bridge().drain)
    await bridge().read(verbs.publish, "room:1", "last")
    head = await bridge().read(read_head)
    seen += await hear(one, head)
    assert seen == list(range(verdict["from"] + 1, head + 1))
    assert head == 10 + publishing.count + 1 and publishing.count > 6

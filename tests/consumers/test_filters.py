"""Filtered readers of a topic: each is given the entries that it wants and no others, and knows how far it is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypedDict

import pytest

from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.bridge import bridge
from session_mgmt.consumers.following import Following
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import Publication, Stream
from session_mgmt.protocol import filters
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode
from session_mgmt.registry import topic
from session_mgmt.writes import verbs
from tests.consumers.crowd import KB, Room, Tab, look, look_at
from tests.turns import pass_turn

KEYS = ("region", "kind")
EU, US = filters.read({"region": "eu"}, KEYS), filters.read({"region": "us"}, KEYS)
in_database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(room: Room) -> Iterator[Room]:
    @topic("room:{name}", keys=KEYS, slow=("replay", "latest"), latest_by="symbol")
    def everybody(session: Any, name: str) -> bool:
        return True

    yield room


def in_region(*regions: Any) -> list[dict[str, Any]]:
    return [{"region": region, "symbol": number % 2} for number, region in enumerate(regions)]


async def publish(*bodies: Any) -> None:
    await bridge().read(lambda: [verbs.publish("room:1", body) for body in bodies])


async def publish_live(room: Room, *bodies: Any) -> None:
    """Publish, and wait until the feed has handed all on."""
    await publish(*bodies)
    room.feed.hear_of(room.feed.head + len(bodies))
    await room.feed.wait_for_read()


async def follow(room: Room, only: Filter, *, place: int = 1, slow: str = "replay") -> Tab:
    """Let a tab follow the topic from an entry on, until it is at the present."""
    tab = Tab()
    tab.slow = {"topic:room:1": slow}
    log = (await bridge().read(look, [place]))[place]
    replay = room.follow(tab, log._replace(only=only))
    if replay is not None:
        await replay
    # The feed is compared with the database once, which must not come between what a test does next.
    if (opening := room.serving._opening) is not None:
        await asyncio.wait([opening])
    return tab


def read_ranges(tab: Tab) -> list[tuple[int, list[int], int]]:
    """Return of each frame where its range begins, the offsets in it, and where it ends."""
    frames = [frame for frame in tab.frames if frame["type"] == "entries"]
    return [(f["prev"], [entry[0] for entry in f["entries"]], f["position"][1]) for f in frames]


def purge(oldest: int) -> None:
    before = Publication.objects.get(offset=oldest - 1)
    Publication.objects.filter(offset__lt=oldest).delete()
    Stream.objects.update(oldest=oldest, oldest_tag=before.tag)


class Client:
    """Client as PROTOCOL section 4 describes it: it has a place, and takes what begins no later than that."""

    def __init__(self, only: Filter | None) -> None:
        self.only = only
        self.place: list[Any] = []
        self.heard: list[Any] = []
        self.gaps: list[tuple[int, int]] = []
        self.tab, self._taken = Tab(), 0
        self.following: Following | None = None

    def attach(self, room: Room, log: Log) -> None:
        """Begin another connection from the place of the client, and take the verdict."""
        self.tab, self._taken = Tab(), 0
        if log.verdict.mode is Mode.LOST:
            self._skip(log.verdict.first, log.verdict.last, log.head.as_json())
        elif log.verdict.mode is Mode.UP_TO_DATE:
            self.place = log.head.as_json()
        feed = room.serving.follow_log(LogRow(log.key, log.name), log.head)
        self.following = Following(self.tab, feed, log._replace(only=self.only))
        self.following.start()

    def detach(self, room: Room) -> None:
        """Lose the connection, and what was sent and not read."""
        assert self.following is not None
        self.following.stop()
        room.serving.unfollow_log(self.following.feed)
        self.following = None

    def take(self) -> None:
        """Read what has come."""
        frames, self._taken = self.tab.frames[self._taken :], len(self.tab.frames)
        for frame in frames:
            if frame["type"] == "gap":
                self._skip(frame["from"], frame["to"], frame["position"])
                continue
            epoch, at, _ = self.place
            assert frame["epoch"] == epoch
            assert frame["prev"] <= at if "prev" in frame else frame["entries"][0][0] <= at + 1, "a hole"
            assert ("prev" in frame) is (self.only is not None), "a whole frame says nothing of its range"
            for offset, tag, body in frame["entries"]:
                if offset > self.place[1]:
                    self.place = [epoch, offset, tag]
                    self.heard.append((offset, body["region"]))
            if "position" in frame and frame["position"][1] > self.place[1]:
                self.place = frame["position"]

    def _skip(self, first: int | None, last: int, position: list[Any]) -> None:
        assert first == self.place[1] + 1
        self.gaps.append((first, last))
        self.place = position


async def settle(clients: list[Client]) -> None:
    """Wait until everybody has been given what there is, and has read it."""
    for client in clients:
        if client.following is not None:
            await client.following.feed.wait_for_read()
            await client.following.wait_for_replay()
            await client.tab.outlet.wait_until_sent()
            client.take()


class Model:
    """Clients that come and go while entries are published and purged; ``log`` has the region of each entry."""

    def __init__(self, room: Room, seed: int) -> None:
        self.room, self.chance = room, random.Random(seed)
        some = [None, EU, US, filters.read({"region": {"in": ["eu", "asia"]}}, KEYS), filters.read({"region": 1}, KEYS)]
        self.clients = [Client(self.chance.choice(some)) for _ in range(8)]
        self.log: list[Any] = ["eu"]
        self.oldest = 1

    async def begin(self) -> None:
        await publish(*in_region(*self.log))
        start = (await bridge().read(look, [1]))[1].head.as_json()
        for client in self.clients:
            client.place = start

    async def take_step(self) -> None:
        client = self.chance.choice(self.clients)
        step = self.chance.choice(["publish", "publish", "cut", "come", "come", "beat", "purge"])
        if step == "publish":
            regions = [self.chance.choice(["eu", "us", "asia", True, 1]) for _ in range(self.chance.choice([1, 3, 12]))]
            await publish(*in_region(*regions))
            self.log += regions
            for feed in self.room.serving.feeds.values():
                feed.hear_of(len(self.log))
        elif step == "purge" and self.oldest < len(self.log):
            self.oldest = self.chance.randint(self.oldest + 1, len(self.log))
            await bridge().call(purge, self.oldest)
        elif step == "beat" and client.following is not None:
            client.following.tell_place()
        elif step == "cut" and client.following is not None:
            client.detach(self.room)
        elif step == "come" and client.following is None:
            await self.attach(client)

    async def attach(self, client: Client) -> None:
        client.attach(self.room, await bridge().read(look_at, Position(*client.place)))

    def judge(self, client: Client) -> None:
        assert client.place[1] == len(self.log), "the place moves without entries too"
        lost = {offset for first, last in client.gaps for offset in range(first, last + 1)}
        wanted = [
            (offset, region)
            for offset, region in enumerate(self.log, 1)
            if offset > 1 and (client.only is None or client.only.matches({"region": region}))
        ]
        assert client.heard == [entry for entry in wanted if entry[0] not in lost]


@in_database
@pytest.mark.parametrize("seed", range(6))
async def test_what_a_client_has_heard_is_the_log_filtered_whatever_is_cut_and_purged(
    room: Room, settings: Any, seed: int
) -> None:
    settings.SESSION_MGMT = {"replay_page": 5}
    model = Model(room, seed)
    await model.begin()
    for _ in range(40):
        await model.take_step()
        if model.chance.random() < 0.6:
            await settle(model.clients)
    for client in model.clients:
        if client.following is None:
            await model.attach(client)
    await settle(model.clients)
    for client in model.clients:
        assert client.following is not None
        client.following.tell_place()
        client.take()
        model.judge(client)


@in_database
async def test_a_live_reader_is_given_what_it_wants_and_its_place_moves_on_a_beat_or_after_a_page(
    room: Room, settings: Any
) -> None:
    settings.SESSION_MGMT = {"replay_page": 4}
    await publish(*in_region("eu"))
    tab = await follow(room, EU)
    await publish_live(room, *in_region("us", "eu", "us"))
    assert read_ranges(tab) == [(1, [3], 4)]
    await publish_live(room, *in_region("us", "us"))
    assert len(tab.frames) == 1
    room.followings[0].tell_place()
    room.followings[0].tell_place()
    assert read_ranges(tab)[1:] == [(4, [], 6)]
    # Without a beat an audience lags by a page at most, which is all that is read again after a cut.
    await publish_live(room, *in_region("us"))
    await publish_live(room, *in_region("us", "us", "us"))
    assert read_ranges(tab)[2:] == [(4, [], 10)]


@in_database
async def test_a_replay_says_that_it_is_whole_also_where_nothing_of_it_is_wanted(room: Room, settings: Any) -> None:
    settings.SESSION_MGMT = {"replay_page": 2}
    await publish(*in_region("eu", "us", "eu", "us", "us"))
    tab = await follow(room, EU)
    assert read_ranges(tab) == [(1, [3], 3), (3, [], 5)] and tab.recovered == [False, True]
    assert room.followings[0].replayed == (2, 5)


@in_database
async def test_each_filter_is_evaluated_once_whoever_shares_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(*in_region("eu", "us", "eu"))
    asked: Counter[Filter] = Counter()
    matches = Filter.matches

    def count(self: Filter, body: Any) -> bool:
        asked[self] += 1
        return matches(self, body)

    monkeypatch.setattr(Filter, "matches", count)
    # Equal filters that were read from other texts are one.
    same = filters.read({"region": {"in": ["eu", "eu"]}}, KEYS)
    tabs = [await follow(room, only) for only in (EU, US, same) * 20]
    assert asked == {EU: 2, US: 2}
    await publish_live(room, *in_region("eu", "us"))
    assert asked == {EU: 4, US: 4}
    assert [tab.offsets for tab in tabs[:3]] == [[3, 4], [2, 5], [3, 4]]
    room.feed.hand_on_ephemeral({"data": {"region": "us"}})
    await pass_turn()
    assert asked == {EU: 5, US: 5}
    assert [[f for f in tab.frames if f["type"] == "ephemeral"] != [] for tab in tabs[:3]] == [False, True, False]
    # Whoever stands inside a page is given the rest of it.
    assert read_ranges(await follow(room, EU, place=2)) == [(2, [3], 3), (3, [4], 5)]


@in_database
async def test_a_gap_begins_after_what_a_reader_has_passed(room: Room) -> None:
    await publish(*in_region("eu"))
    tab = await follow(room, EU)
    await publish_live(room, *in_region("us", "us"))
    await publish(*in_region("eu", "eu", "eu"))
    await bridge().call(purge, 6)
    room.feed.hear_of(6)
    await room.feed.wait_for_read()
    await room.followings[0].wait_for_replay()
    assert read_ranges(tab) == [(1, [], 3)] and tab.gaps == [(4, 6, "trimmed")]


@in_database
async def test_a_reader_that_is_behind_reads_its_part_later_or_of_that_the_newest_of_each_key(room: Room) -> None:
    await publish(*in_region("eu"))
    whole, latest = await follow(room, EU), await follow(room, EU, slow="latest")
    resumes = [tab.stop_reading() for tab in (whole, latest)]
    large = [{**body, "more": "x" * 60 * KB} for body in in_region(*["eu", "us", "eu", "asia"] * 15)]
    for body in large:
        await publish_live(room, body)
    for resume in resumes:
        resume()
    for following, tab in zip(room.followings, (whole, latest), strict=True):
        await tab.outlet.wait_until_sent()
        await following.wait_for_replay()
        await tab.outlet.wait_until_sent()
    wanted = [offset for offset in range(2, 62) if offset % 2 == 0]
    assert whole.offsets == wanted and not any("conflated" in frame for frame in whole.frames)
    (newest,) = [frame for frame in latest.frames if frame.get("conflated")]
    # All in this region have one key.
    assert [entry[0] for entry in newest["entries"]] == [60]
    assert newest["position"][1] == 61 and newest["prev"] == latest.offsets[-2]


@pytest.mark.parametrize(
    ("wanted", "body", "is_wanted"),
    [
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": False}, {"a": 0}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {}, False),
        ({"a": {"in": ["x", 2]}}, {"a": 2, "b": 9}, True),
        ({"a": "x", "b": "y"}, {"a": "x"}, False),
        ({"a": "x", "b": "y"}, {"a": "x", "b": "y"}, True),
        ({"a": "x"}, {"a": ["x"]}, False),
        ({"a": "x"}, {"a": {"x": 1}}, False),
        ({"a": "x"}, "x", False),
        ({"a": "x"}, None, False),
    ],
    ids=repr,
)
def test_values_are_compared_as_json_compares_them(wanted: Any, body: Any, is_wanted: bool) -> None:
    assert filters.read(wanted, ("a", "b")).matches(body) is is_wanted


@pytest.mark.parametrize(
    "bad",
    [
        *("x", [], {}, 1, {"a": []}, {"a": {}}, {"a": {"in": []}}, {"a": {"in": "x"}}, {"a": {"in": [[]]}}),
        *({"a": {"not": 1}}, {"a": {"in": [1], "or": 2}}, {"a": "x" * 201}, {"c": 1}, dict.fromkeys("abdefg", 1)),
        *({"a": {"in": list(range(51))}}, {"a": {"in": list(range(30))}, "b": {"in": list(range(30))}}),
    ],
    ids=lambda bad: repr(bad)[:40],
)
def test_a_filter_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidField) as caught:
        filters.read(bad, ("a", "b", "d", "e", "f", "g"))
    assert caught.value.as_dict()["field"] == "filter"


class Order(TypedDict):
    region: str
    kind: str


@pytest.mark.parametrize(
    ("keys", "error", "hint"),
    [
        ("region", TypeError, r"write keys=\('region',\)"),
        (1, TypeError, "is a list of names"),
        (("region", ""), TypeError, "is a list of names"),
        (("region", 1), TypeError, "is a list of names"),
        (("region", "region"), ValueError, "has 'region' twice"),
        (("regoin",), ValueError, "Order has no member 'regoin'. Did you mean 'region'?"),
        (("zone",), ValueError, "It has region, kind."),
    ],
    ids=repr,
)
def test_keys_that_cannot_work_are_refused_where_they_are_declared(keys: Any, error: Any, hint: str) -> None:
    with pytest.raises(error, match=hint):
        topic("orders:{pk}", keys=keys, data=Order)

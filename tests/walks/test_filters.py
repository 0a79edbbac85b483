"""Filters on the wire, over sockets and over HTTP: asked for, refused, followed, and asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from session_mgmt.actions.sessions import looking
from session_mgmt.actions.sessions.looking import LogWish
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.slow_ways import find_way
from session_mgmt.models import clock
from session_mgmt.models.sql import Statements
from session_mgmt.registry import topic
from session_mgmt.writes import verbs
from tests.http_transports.conftest import http, tabs
from tests.http_transports.test_streams import until

__all__ = ["http", "tabs"]

OFFERS = "topic:offers:x"
EU = {"region": "eu"}


@pytest.fixture
def offers(declared: None) -> Iterator[None]:
    @topic("offers:{name}", keys=("region", "kind"))
    def everybody(session: Any, name: str) -> bool:
        return True

    yield


@pytest.fixture
def priced(declared: None) -> None:
    @topic("offers:{name}", keys=("region",), slow=("replay", "latest"), latest_by="region")
    def everybody(session: Any, name: str) -> bool:
        return True


async def publish(*regions: str) -> None:
    await bridge().read(lambda: [verbs.publish("offers:x", {"region": region}) for region in regions])


def read_regions(frame: dict[str, Any]) -> list[tuple[int, str]]:
    return [(entry[0], entry[2]["region"]) for entry in frame["entries"]]


async def test_a_filter_is_refused_by_its_log_alone(peers: Any, created: Any, offers: None) -> None:
    one = peers()
    wishes = {OFFERS: {"zone": 1}, "topic:room:1": EU, "state:main": EU, "topic:room:secret": EU, "session": None}
    connected = await one.open(created.token.secret, logs=dict.fromkeys(wishes), filter=wishes)
    errors = {name: verdict.get("error") for name, verdict in connected["logs"].items()}
    assert errors.pop("session") is None
    # How a topic is declared is nobody's business who may not follow it.
    assert errors.pop("topic:room:secret")["name"] == "topic_denied"
    assert {(error["name"], error["field"]) for error in errors.values()} == {("invalid_field", "filter")}
    assert [errors[name].get("allowed") for name in (OFFERS, "topic:room:1")] == [["region", "kind"], []]
    await one.say(type="subscribe", id=1, log=OFFERS, position=None, filter={"region": []})
    error = await one.until_type("error")
    assert (error["id"], error["name"], error["field"]) == (1, "invalid_field", "filter")
    other = peers()
    await other.handshake()
    await other.say(type="connect", token=created.token.secret, logs={}, filter=1)
    assert (await other.until_type("error"))["field"] == "filter"


async def test_a_filtered_topic_is_followed_from_an_earlier_place_and_again_after_a_cut(
    peers: Any, created: Any, offers: None
) -> None:
    await publish("us", "eu", "us")
    one = peers()
    connected = await one.open(created.token.secret, logs={})
    await one.say(type="subscribe", id=1, log=OFFERS, position=None, filter=EU, since={"last": 3})
    frame = await one.until_type("entries")
    assert (frame["prev"], read_regions(frame), frame["position"][1]) == (0, [(2, "eu")], 3)
    await one.say(type="publish", topic="offers:x", ephemeral=True, data=EU)
    await publish("us", "eu")
    while not (frame := await one.until_type("entries"))["entries"]:
        pass
    assert read_regions(frame) == [(5, "eu")]
    await one.drop()
    await publish("us", "us", "eu", "us")
    again, place = peers(), frame["position"]
    about = {"client_id": connected["client_id"], "logs": {OFFERS: place}, "filter": {OFFERS: EU}}
    connected = await again.open(created.token.secret, **about)
    assert connected["logs"][OFFERS]["to"] == 9
    frame = await again.until_type("entries")
    assert (frame["prev"], read_regions(frame), frame["position"][1]) == (5, [(8, "eu")], 9)
    assert frame["recovered"] is True
    assert (await again.until_type("recovery"))["receipt"]["replayed"] == {OFFERS: [6, 9]}
    # Of a quiet part the place comes with the next beat, before the ping.
    await publish("us", "us")
    (connection,) = [c for c in hub().serving.connections if OFFERS in c.followings]
    feed = connection.followings[OFFERS].feed  # type: ignore[attr-defined]
    feed.catch_up()
    await feed.wait_for_read()
    connection.heartbeat.due_at = connection.heartbeat.heard_at = 0.0  # type: ignore[attr-defined]
    connection.beat(connection._loop.time())  # type: ignore[attr-defined]
    frames = [await again.until_type("entries")]
    while frames[-1]["position"][1] < 11:
        frames.append(await again.until_type("entries"))
    assert [frame["entries"] for frame in frames] == [[]] * len(frames) and frames[0]["prev"] == 9
    assert (await again.next())["type"] == "ping"


async def test_clients_that_come_together_from_one_place_have_each_its_own_part(created: Any, offers: None) -> None:
    def look() -> list[Any]:
        logs, granted = {OFFERS: None}, frozenset(["offers:x"])
        parts = [EU, None, {"region": {"in": ["eu"]}}, {"region": "us"}]
        wishes = [LogWish(created.session.pk, logs, granted, filters={OFFERS: part}) for part in parts]
        statements = Statements(connections["default"])
        looked = looking.look_again(statements, wishes, clock.read("default"))
        return [one.logs[OFFERS].only for one in looked]

    eu, everything, same, us = await bridge().read(look)
    assert everything is None and eu == same != us and us.matches({"region": "us"})


async def test_polls_say_their_filter_anew_and_learn_their_place_where_nothing_comes(
    tabs: Any, created: Any, offers: None
) -> None:
    tab = tabs(created.token.secret)
    await publish("us")
    await tab.attach({OFFERS: None}, filter={OFFERS: EU})
    tab.logs[OFFERS]["filter"] = EU
    await publish("us", "eu", "us")
    (frame,) = await tab.poll()
    assert (frame["prev"], read_regions(frame), frame["position"][1]) == (1, [(3, "eu")], 4)
    tab.logs[OFFERS]["position"] = frame["position"]
    assert await tab.poll(hold=0) == []
    await publish("us", "us")
    (frame,) = await tab.poll()
    assert (frame["prev"], frame["entries"], frame["position"][1]) == (4, [], 6)
    tab.logs[OFFERS] |= {"position": frame["position"], "grant": "spoilt"}
    await publish("eu")
    # The application is asked again, and the filter holds all the same.
    frames = await tab.poll()
    assert frames[0]["type"] == "grants"
    tab.logs[OFFERS]["grant"] = frames[0]["grants"][OFFERS]
    while (frame := frames[-1])["type"] != "entries":
        frames = await tab.poll()
    assert read_regions(frame) == [(7, "eu")]
    tab.logs[OFFERS]["filter"] = {"zone": 1}
    (error,) = await tab.poll(hold=0)
    assert (error["log"], error["name"], error["field"]) == (OFFERS, "invalid_field", "filter")


async def test_a_held_poll_tells_the_place_as_it_ends(tabs: Any, created: Any, offers: None) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({OFFERS: None}, filter={OFFERS: EU})
    tab.logs[OFFERS]["filter"] = EU
    held = asyncio.create_task(tab.poll(hold=55))
    await until(lambda: any(feed.audiences for feed in hub().serving.feeds.values()))
    feeds = [feed for feed in hub().serving.feeds.values() if feed.audiences]
    await publish("us", "us")
    feeds[0].catch_up()
    await feeds[0].wait_for_read()
    # Another poll ends it, with what it has.
    await tab.poll(hold=0)
    (frame,) = await held
    assert (frame["prev"], frame["entries"], frame["position"][1]) == (0, [], 2)


async def test_the_last_subscribe_decides_which_entries_come_and_how(peers: Any, created: Any, priced: None) -> None:
    one = peers()
    await one.open(created.token.secret, logs={})

    async def ask(request: int, **wishes: Any) -> Any:
        await one.say(type="subscribe", id=request, log=OFFERS, position=None, **wishes)
        return await one.until(lambda frame: frame.get("id") == request)

    async def read_to(offset: int) -> list[tuple[int, str]]:
        """Return all that has come up to an offset; each frame must continue where the one before ended."""
        found, place = [], first["verdict"]["position"][1]
        while True:
            for frame in [frame for frame in one.seen if frame["type"] == "entries"]:
                entries = frame["entries"]
                assert frame.get("prev", entries and entries[0][0] - 1) <= place
                found += [(entry[0], entry[2]["region"]) for entry in entries if entry[0] > place]
                place = frame["position"][1] if "position" in frame else entries[-1][0]
            if place >= offset:
                return found
            await one.until_type("entries")
            found, place = [], first["verdict"]["position"][1]

    first = await ask(1, filter=EU)
    assert (first["slow"], first["filter"]) == ("replay", EU)
    await publish("us", "eu", "us")
    assert await read_to(2) == [(2, "eu")]
    feed = find_connection().followings[OFFERS].feed
    feed.catch_up()
    await feed.wait_for_read()
    second = await ask(2, slow="latest", since={"last": 3})
    assert (second["slow"], "filter" in second, second["verdict"]["mode"]) == ("latest", False, "up_to_date")
    await publish("us")
    # Everything from now on. The first `us` were not wanted when they were sent, and are not sent again.
    assert await read_to(4) == [(2, "eu"), (4, "us")]
    third = await ask(3, filter={"region": "us"})
    assert (third["slow"], third["filter"], third["verdict"]["position"][1]) == ("replay", {"region": "us"}, 4)
    # What is refused changes nothing.
    assert (await ask(4, slow="disconnect"))["field"] == "slow"
    assert (await ask(5, filter={"zone": 1}))["field"] == "filter"
    await publish("eu", "us")
    assert await read_to(6) == [(2, "eu"), (4, "us"), (6, "us")]
    assert find_way(OFFERS, find_connection().slow) == "replay"


def find_connection() -> Any:
    (connection,) = [one for one in hub().serving.connections if OFFERS in one.followings]
    return connection


@pytest.mark.parametrize("log", ["state:main", "session"])
async def test_only_a_topic_is_read_in_part_or_in_another_way(peers: Any, created: Any, log: str) -> None:
    one = peers()
    await one.open(created.token.secret, logs={log: None})
    for number, (name, wish) in enumerate([("slow", "latest"), ("filter", EU)]):
        await one.say(type="subscribe", id=number, log=log, position=None, **{name: wish})
        refusal = await one.until(lambda frame, number=number: frame.get("id") == number)
        assert (refusal["name"], refusal["field"]) == ("invalid_field", name)

"""A reader that never reads: it costs its cap, slows nobody, and goes on as its topic declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_mgmt import registry as registry_module
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings as conf_settings
from session_mgmt.consumers.hub import hub
from session_mgmt.registry import topic
from session_mgmt.writes import verbs
from tests.walks.conftest import BOTH_WAYS

KB = 1024
NUMBER, SIZE = 60, 40 * KB


@pytest.fixture
def slow(request: pytest.FixtureRequest) -> Iterator[str]:
    """Declare the topic with one way for slow readers."""
    before = registry_module.registry.topics[:]

    way = request.param
    latest_by = "symbol" if "latest" in way else None

    @topic("prices:{name}", slow=way, latest_by=latest_by)
    def everybody(session: Any, name: str) -> bool:
        return True

    yield way
    registry_module.registry.topics[:] = before


PRICES = "topic:prices:x"


def make_price(number: int) -> dict[str, Any]:
    return {"symbol": f"S{number % 3}", "number": number, "more": "x" * SIZE}


def read_number(entry: list[Any]) -> int:
    return int(entry[2]["number"])


async def fill(reader: Any) -> tuple[Any, list[int]]:
    """Publish far more than the cap while one peer reads nothing; give its connection, and what the reader got."""
    (stuck,) = [c for c in hub().serving.connections if c.attachment.client_id == reader["stuck"]]
    got: list[int] = []
    for number in range(1, NUMBER + 1):
        await bridge().read(verbs.publish, "prices:x", make_price(number))
        while len(got) < number:
            got += [entry[0] for entry in await reader["peer"].entry(PRICES)]
        assert stuck.outlet._queued <= conf_settings().max_outbound_bytes + SIZE + KB
    return stuck, got


async def open_two(peers: Any, created: Any) -> tuple[Any, dict[str, Any]]:
    one, other = peers(), peers()
    connected = await one.open(created.token.secret, logs={PRICES: None})
    await one.until_following(PRICES)
    await other.open(created.token.secret, logs={PRICES: None})
    await other.until_following(PRICES)
    return one, {"peer": other, "stuck": connected["client_id"]}


@BOTH_WAYS
@pytest.mark.parametrize("slow", ["drop_oldest"], indirect=True)
async def test_a_reader_that_is_behind_goes_on_from_now_after_a_gap(peers: Any, created: Any, slow: str) -> None:
    one, reader = await open_two(peers, created)
    resume = one.stop_reading()
    _, got = await fill(reader)
    assert got == list(range(1, NUMBER + 1)), "nobody else waits for it"
    resume()
    seen: list[int] = []
    while (frame := await one.next())["type"] != "gap":
        seen += [entry[0] for entry in frame["entries"]]
    assert seen == list(range(1, len(seen) + 1)) and len(seen) < NUMBER
    assert (frame["reason"], frame["from"], frame["to"]) == ("dropped", len(seen) + 1, NUMBER)
    await bridge().read(verbs.publish, "prices:x", "fresh")
    assert [entry[2] for entry in await one.entry(PRICES)] == ["fresh"]


@BOTH_WAYS
@pytest.mark.parametrize("slow", ["replay"], indirect=True)
async def test_without_another_way_all_is_read_later(peers: Any, created: Any, slow: str) -> None:
    one, reader = await open_two(peers, created)
    resume = one.stop_reading()
    await fill(reader)
    resume()
    seen: list[int] = []
    while len(seen) < NUMBER:
        seen += [entry[0] for entry in await one.entry(PRICES)]
    assert seen == list(range(1, NUMBER + 1))


@BOTH_WAYS
@pytest.mark.parametrize("slow", ["disconnect"], indirect=True)
async def test_a_reader_may_be_closed_at_its_cap(peers: Any, created: Any, slow: str) -> None:
    one, reader = await open_two(peers, created)
    resume = one.stop_reading()
    stuck, _ = await fill(reader)
    assert stuck.closed_with == 4003
    resume()
    assert await one.closed() == 4003


@BOTH_WAYS
@pytest.mark.parametrize("slow", ["latest"], indirect=True)
async def test_a_reader_that_is_behind_is_given_the_newest_of_each_key(peers: Any, created: Any, slow: str) -> None:
    one, reader = await open_two(peers, created)
    resume = one.stop_reading()
    _, got = await fill(reader)
    assert got == list(range(1, NUMBER + 1)), "nobody else waits for it, and who keeps up is given all"
    resume()
    seen: list[int] = []
    while "prev" not in (frame := await one.until_type("entries")):
        seen += map(read_number, frame["entries"])
    assert seen == list(range(1, len(seen) + 1)) and len(seen) < NUMBER - 3
    # Of all that it has missed, in the order of the log, and at the place where the log stands.
    assert list(map(read_number, frame["entries"])) == [NUMBER - 2, NUMBER - 1, NUMBER]
    assert (frame["prev"], frame["conflated"], frame["position"][1]) == (len(seen), True, NUMBER)
    assert frame["position"][2] == frame["entries"][-1][1]
    await bridge().read(verbs.publish, "prices:x", "fresh")
    assert await one.entry(PRICES) == [[NUMBER + 1, one.seen[-1]["entries"][0][1], "fresh"]]


@pytest.mark.parametrize("slow", [("replay", "latest", "drop_oldest")], indirect=True, ids=["three"])
@pytest.mark.parametrize("wish", ["latest", "drop_oldest", None])
async def test_a_client_may_ask_for_a_way_that_the_topic_names(
    peers: Any, created: Any, slow: Any, wish: str | None
) -> None:
    one, other = peers(), peers()
    connected = await one.open(created.token.secret, logs={})
    await one.say(type="subscribe", id=1, log=PRICES, position=None, slow=wish)
    await one.until_type("reply")
    await other.open(created.token.secret, logs={PRICES: None})
    await other.until_following(PRICES)
    resume = one.stop_reading()
    await fill({"peer": other, "stuck": connected["client_id"]})
    resume()
    found = await one.until(lambda f: f["type"] == "gap" or (f["type"] == "entries" and f["entries"][-1][0] == NUMBER))
    told = found.get("reason") if found["type"] == "gap" else "conflated" if found.get("conflated") else "all"
    assert told == {"latest": "conflated", "drop_oldest": "dropped", None: "all"}[wish]


@pytest.mark.parametrize("slow", [("replay", "latest")], indirect=True, ids=["two"])
async def test_a_way_that_the_topic_does_not_name_is_refused_by_its_log_alone(
    peers: Any, created: Any, slow: Any
) -> None:
    one = peers()
    wishes = {PRICES: "drop_oldest", "state:main": "latest", "topic:room:secret": "nonsense"}
    await one.handshake()
    logs = dict.fromkeys([*wishes, "topic:room:1"])
    await one.say(type="connect", token=created.token.secret, logs=logs, slow=wishes)
    verdicts = (await one.next())["logs"]
    assert verdicts["topic:room:1"]["mode"] == "up_to_date"
    refused = verdicts[PRICES]["error"]
    assert (refused["name"], refused["field"], refused["allowed"]) == ("invalid_field", "slow", ["replay", "latest"])
    assert verdicts["state:main"]["error"]["field"] == "slow"
    # How a topic is declared is nobody's business who may not follow it.
    assert verdicts["topic:room:secret"]["error"]["name"] == "topic_denied"
    await one.say(type="subscribe", id=1, log=PRICES, position=None, slow="disconnect")
    error = await one.until_type("error")
    assert (error["id"], error["name"], error["allowed"]) == (1, "invalid_field", ["replay", "latest"])


@pytest.mark.parametrize(
    "value", ["oldest", "", None, True, (), ("replay", "oldest"), "latest"], ids=lambda value: repr(value)
)
def test_a_way_that_is_none_is_refused_where_it_is_declared(value: Any) -> None:
    with pytest.raises(ValueError, match="slow of topic"):
        topic("prices:{name}", slow=value)


@pytest.mark.parametrize("key", ["", 1, ("a", "b")], ids=["empty", "number", "several"])
def test_a_key_that_is_none_is_refused_where_it_is_declared(key: Any) -> None:
    with pytest.raises(TypeError, match="latest_by of topic"):
        topic("prices:{name}", slow="latest", latest_by=key)
    with pytest.raises(ValueError, match="latest needs latest_by"):
        topic("prices:{name}", latest_by="symbol")

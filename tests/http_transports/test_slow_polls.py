"""Polls of a reader that has missed much: they have no queue, and so each page is what the topic's way leaves of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_mgmt import registry as registry_module
from session_mgmt.bridge import bridge
from session_mgmt.registry import topic
from session_mgmt.writes import verbs

pytestmark = pytest.mark.django_db(transaction=True)
PRICES = "topic:prices:x"
PAGE, NUMBER = 10, 35


@pytest.fixture
def prices(settings: Any) -> Iterator[None]:
    before = registry_module.registry.topics[:]
    settings.SESSION_MGMT = {"replay_page": PAGE}

    @topic("prices:{name}", slow=("replay", "latest", "drop_oldest"), latest_by="symbol")
    def everybody(session: Any, name: str) -> bool:
        return True

    yield
    registry_module.registry.topics[:] = before


async def miss(tab: Any, slow: str | None, number: int = NUMBER) -> None:
    """Follow the topic in one way, and let so much be published between two polls."""
    await tab.attach({PRICES: None})
    await tab.poll(hold=0)
    tab.logs[PRICES]["slow"] = slow
    await bridge().read(publish_many, number)


def publish_many(number: int) -> None:
    for at in range(1, number + 1):
        verbs.publish("prices:x", {"symbol": at % 4, "at": at})


async def poll_to(tab: Any, offset: int) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while tab.logs[PRICES]["position"][1] < offset:
        frames += await tab.poll()
    return frames


async def test_the_newest_of_each_key_come_for_all_that_was_missed(tabs: Any, created: Any, prices: None) -> None:
    tab = tabs(created.token.secret)
    await miss(tab, "latest")
    (frame,) = await poll_to(tab, NUMBER)
    assert [entry[0] for entry in frame["entries"]] == [NUMBER - 3, NUMBER - 2, NUMBER - 1, NUMBER]
    assert (frame["prev"], frame["position"][1], frame["conflated"]) == (0, NUMBER, True)


async def test_what_is_older_than_a_page_is_dropped_with_a_gap(tabs: Any, created: Any, prices: None) -> None:
    tab = tabs(created.token.secret)
    await miss(tab, "drop_oldest")
    gap, *frames = await poll_to(tab, NUMBER)
    assert (gap["type"], gap["reason"], gap["from"], gap["to"]) == ("gap", "dropped", 1, NUMBER - PAGE)
    assert [entry[0] for frame in frames for entry in frame["entries"]] == list(range(NUMBER - PAGE + 1, NUMBER + 1))
    assert gap["position"][1] == NUMBER - PAGE


@pytest.mark.parametrize("slow", ["drop_oldest", None])
async def test_a_reader_is_given_all_that_fits_or_all_by_default(
    tabs: Any, created: Any, prices: None, slow: str | None
) -> None:
    tab = tabs(created.token.secret)
    number = PAGE if slow else NUMBER
    await miss(tab, slow, number)
    frames = await poll_to(tab, number)
    assert [entry[0] for frame in frames for entry in frame["entries"]] == list(range(1, number + 1))
    assert not any("prev" in frame for frame in frames)


@pytest.mark.parametrize("slow", ["latest", "drop_oldest"])
async def test_a_recovery_leaves_nothing_out_that_it_has_promised(
    tabs: Any, created: Any, prices: None, slow: str
) -> None:
    tab = tabs(created.token.secret)
    await miss(tab, slow)
    place = tab.logs[PRICES]["position"]
    body = {"client_id": tab.client_id, "acked": 0, "transport": "longpoll", "logs": {PRICES: place}}
    (connected,) = (await tab.call("", {**body, "slow": {PRICES: slow}})).json()["frames"]
    tab.generation, tab.recovery = connected["generation"], connected["recovery"]
    tab.logs[PRICES] = {"position": place, "grant": connected["logs"][PRICES]["grant"], "slow": slow}
    frames = await poll_to(tab, NUMBER)
    offsets = [entry[0] for frame in frames for entry in frame.get("entries", ())]
    assert offsets == list(range(1, NUMBER + 1)) and "gap" not in {frame["type"] for frame in frames}


async def test_a_way_that_the_topic_does_not_name_denies_the_log(tabs: Any, created: Any, prices: None) -> None:
    tab = tabs(created.token.secret)
    await miss(tab, "disconnect")
    (error,) = await tab.poll(hold=0)
    assert (error["log"], error["name"], error["field"]) == (PRICES, "invalid_field", "slow")

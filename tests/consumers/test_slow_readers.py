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

    @topic("prices:{name}", slow=request.param)
    def everybody(session: Any, name: str) -> bool:
        return True

    yield request.param
    registry_module.registry.topics[:] = before


PRICES = "topic:prices:x"


async def fill(reader: Any) -> tuple[Any, list[int]]:
    """Publish far more than the cap while one peer reads nothing; give its connection, and what the reader got."""
    (stuck,) = [c for c in hub().serving.connections if c.attachment.client_id == reader["stuck"]]
    got: list[int] = []
    for number in range(1, NUMBER + 1):
        await bridge().read(verbs.publish, "prices:x", f"{number}".ljust(SIZE, "x"))
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


@pytest.mark.parametrize("value", ["latest", "", None, True])
def test_a_way_that_is_none_is_refused_where_it_is_declared(value: Any) -> None:
    with pytest.raises(ValueError, match="slow of topic"):
        topic("prices:{name}", slow=value)

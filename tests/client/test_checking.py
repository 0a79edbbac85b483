"""What no server takes never leaves the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from session_mgmt.client import Refused
from session_mgmt.client.checking import check_data, check_operations
from tests.bad_input.held import is_the_same
from tests.bad_input.values import AS_PYTHON, LIMITS, NOTHING, Value
from tests.client.fake_server import FakeServer, fake_server
from tests.client.test_session import joined

TOLD = {name.removeprefix("max_"): value for name, value in LIMITS.items()}


def is_plain(value: Any) -> bool:
    """Return True for a value of JSON's own types; the rest only the server's encoder takes, which needs Django."""
    # Level by level: some values of the table are nested far deeper than Python calls.
    level, seen = [value], 0
    while level and seen < 100:
        if not all(type(item) in (dict, list, str, int, float, bool, type(None)) for item in level):
            return False
        if not all(type(key) is str for item in level if type(item) is dict for key in item):
            return False
        inner = [item.values() if type(item) is dict else item for item in level if type(item) in (dict, list)]
        level, seen = [item for items in inner for item in items], seen + 1
    return True


@pytest.mark.parametrize("row", [row for row in AS_PYTHON if not is_plain(row.python)], ids=lambda row: row.name)
def test_a_value_that_is_not_json_is_refused(row: Value) -> None:
    with pytest.raises(Refused):
        check_data({"a": row.python}, TOLD)


def test_values_are_judged_as_the_server_judges_them() -> None:
    wrong = []
    for row in [row for row in AS_PYTHON if is_plain(row.python)]:
        try:
            data, ops = check_data({"a": row.python}, TOLD), check_operations([["set", "/a", row.python]], TOLD)
            right = is_the_same(data["a"], row.kept) and is_the_same(ops, [["set", "/a", row.kept]])
        except Refused as refused:
            right = row.kept is NOTHING and refused.name == row.python_error
        if not right:
            wrong.append(row.name)
    assert wrong == []


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def test_a_write_that_is_refused_at_the_call_takes_no_number(server: FakeServer) -> None:
    client, peer = await joined(server)
    with pytest.raises(Refused, match="invalid_json"):
        client.send("cut in the middle of an emoji: \ud83d")
    with pytest.raises(Refused, match="number_out_of_range"):
        client.state.inc("/n", float("nan"))
    with pytest.raises(Refused, match="frame_too_large"):
        client.topics.publish("room:1", "s" * 300_000)
    assert client.state.get() == {}
    client.send(1.0)
    sent = await peer.receive("send")
    assert list(sent.items()) == [("type", "send"), ("seq", 1), ("data", 1)]
    await client.close()


async def test_a_publication_over_the_servers_limit_is_refused_at_the_call(server: FakeServer) -> None:
    client, _ = await joined(server, limits={"publication_bytes": 100})
    for ephemeral in (False, True):
        with pytest.raises(Refused) as refused:
            client.topics.publish("room:1", ["short"] * 20, ephemeral=ephemeral)
        assert (refused.value.name, refused.value.code) == ("publication_too_large", 108)
    assert client.pending == 0
    await client.close()

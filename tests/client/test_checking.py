"""What no server takes never leaves the client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from session_mgmt.client import Refused
from session_mgmt.client.checking import check_data, check_operations
from tests.bad_input.held import is_the_same
from tests.bad_input.values import AS_PYTHON, LIMITS, NOTHING
from tests.client.fake_server import FakeServer, fake_server
from tests.client.test_session import joined

TOLD = {name.removeprefix("max_"): value for name, value in LIMITS.items()}


def test_values_are_judged_as_the_server_judges_them() -> None:
    wrong = []
    for row in AS_PYTHON:
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

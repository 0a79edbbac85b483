"""Beats of the Python client: asked for as the program wants them, missed ones told, round trips summed up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_mgmt.client import Refused, link
from session_mgmt.client.stats import Latency, Stats
from tests.client.fake_server import FakeServer
from tests.client.test_session import heard, joined, server

__all__ = ["server"]

HELD = {"interval": 2.0, "missed_limit": 3, "batch": 0.5, "deadline": 7.0}


async def test_beats_are_asked_of_the_server_now_and_for_each_later_connection(server: FakeServer) -> None:
    client, peer = await joined(server)
    asking = asyncio.create_task(client.set_connection_config(interval=2, batch=0.5))
    asked = await peer.receive("configure")
    await peer.send({"type": "reply", "id": asked["id"], "config": HELD})
    assert await asking == HELD
    peer.cut()
    again = await server.accept()
    await again.welcome(generation=2)
    repeated = await again.receive("configure")
    assert (repeated["interval"], repeated["batch"]) == (2, 0.5)
    await again.send({"type": "reply", "id": repeated["id"], "config": HELD}, {"type": "ping", "ping": 1})
    await again.receive("pong")
    assert client._shell.core.heartbeat == HELD
    await client.close()


async def test_a_refused_wish_is_told_with_the_range_and_not_repeated(server: FakeServer) -> None:
    client, peer = await joined(server)
    asking = asyncio.create_task(client.set_connection_config(interval=0.5))
    asked = await peer.receive("configure")
    error = {"code": 103, "name": "invalid_field", "temporary": False, "field": "interval", "allowed": [2, 55]}
    await peer.send({"type": "error", "id": asked["id"], "message": "…", **error})
    with pytest.raises(Refused) as refused:
        await asking
    assert refused.value.facts["allowed"] == [2, 55]
    assert client._shell.core.wishes == {}
    await client.close()


async def test_missed_beats_are_told_one_by_one_before_the_connection_is_given_up(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BEAT_LATE", 0.0)
    client, _ = await joined(server, heartbeat={"interval": 0.1, "missed_limit": 3, "deadline": 0.35})
    told = heard(client, "heartbeat_missed")
    peer = await server.accept()
    await peer.welcome(generation=2)
    assert [told.get_nowait()["missed"] for _ in range(3)] == [1, 2, 3]
    assert told.empty() and client.stats().missed_beats == 3
    assert "4102" in str(client.stats().last_close)
    await client.close()


def test_round_trips_are_summed_up() -> None:
    stats = Stats()
    latencies: list[Any] = [None, *[10.0] * 18, 50.0, 30.0]
    for milliseconds in latencies:
        stats.add_latency(milliseconds)
    assert stats.latency == Latency(last_ms=30.0, average_ms=13.0, p95_ms=30.0, jitter_ms=pytest.approx(60 / 19))

"""Server-side disconnect and reconnect: on whatever process the connection is, with a doorbell and without one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import Hub, hub
from session_mgmt.models import Connection, SessionEvent
from session_mgmt.shortcuts import adisconnect, ais_connected, areconnect, asend
from tests.walks.test_two_places import CHANGE, attach_elsewhere, deaf

__all__ = ["deaf"]

MAIN = "state:main"
SENT_AWAY = {"disconnect": (adisconnect, 1000, False), "reconnect": (areconnect, 4005, True)}


@pytest.mark.parametrize("verb", SENT_AWAY)
async def test_a_doorbell_closes_all_connections_of_the_session_and_no_other(
    peers: Any, created: Any, verb: str
) -> None:
    send_away, code, comes_back = SENT_AWAY[verb]
    mine, also_mine, other = peers(), peers(), peers()
    await mine.open(created.token.secret)
    await also_mine.open(created.token.secret)
    stranger = await bridge().call(lifecycle.create_session)
    await other.open(stranger.token.secret)
    assert await send_away(created.session) == 2
    assert [await peer.closed() for peer in (mine, also_mine)] == [code, code]
    assert mine.seen[-1]["reconnect"] is comes_back
    await other.say(type="ping", id=1)
    await other.until_type("pong")


@pytest.mark.parametrize("verb", SENT_AWAY)
async def test_without_a_doorbell_one_control_query_is_enough(peers: Any, created: Any, deaf: None, verb: str) -> None:
    send_away, code, _ = SENT_AWAY[verb]
    one = peers()
    await one.open(created.token.secret)
    # The caller is another process, which nobody hears.
    assert await send_away(created.session) == 1
    assert await ais_connected(created.session)
    await hub().rounds.check_sessions()
    assert await one.closed() == code
    await one.leave()
    assert not await ais_connected(created.session)
    row = await bridge().read(Connection.objects.get)
    assert (row.close_code, row.closed_by) == (code, "server")
    lost = await bridge().read(SessionEvent.objects.filter(type="connection_lost").count)
    assert lost == (code != 1000)


async def test_the_connection_is_on_another_hub_than_the_caller(peers: Any, created: Any, deaf: None) -> None:
    """Two hubs of one process hear no bell of each other here; each has its own connections and asks for itself."""
    one = peers()
    connected = await one.open(created.token.secret)
    elsewhere = Hub()
    try:
        await areconnect(created.session)
        await elsewhere.rounds.check_sessions()
        assert [c.closed_with for c in hub().serving.connections] == [None]  # type: ignore[attr-defined]
        await hub().rounds.check_sessions()
        assert await one.closed() == 4005
    finally:
        await elsewhere.stop()
    again = peers()
    resumed = await again.open(created.token.secret, client_id=connected["client_id"])
    assert (resumed["verdict"], resumed["generation"] > connected["generation"]) == ("full", True)


async def test_what_is_written_after_the_order_is_refused_with_its_code_and_uses_up_no_number(
    peers: Any, created: Any, deaf: None
) -> None:
    one, two = peers(), peers()
    connected = await one.open(created.token.secret)
    await areconnect(created.session)
    await one.say(**CHANGE, seq=1)
    assert await one.closed() == 4005
    assert [frame for frame in one.seen if frame["type"] == "receipt"] == []
    assert (await two.open(created.token.secret, client_id=connected["client_id"]))["last_seq"] == 0
    await two.say(**CHANGE, seq=1)
    assert (await two.receipt(1))["ok"]


async def test_a_client_that_came_back_meanwhile_is_left_alone(peers: Any, created: Any, deaf: None) -> None:
    one, two = peers(), peers()
    connected = await one.open(created.token.secret)
    await areconnect(created.session)
    await two.open(created.token.secret, client_id=connected["client_id"])
    await hub().rounds.check_sessions()
    await two.say(**CHANGE, seq=1)
    assert (await two.receipt(1))["ok"]
    # The older one was replaced, which is the better reason.
    assert await one.closed() == 4507


async def test_an_order_to_a_process_that_died_keeps_nobody_out(peers: Any, created: Any, deaf: None) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    await one.drop()
    dead = await attach_elsewhere(created, connected["client_id"])
    assert await adisconnect(created.session) == 1
    again = await peers().open(created.token.secret, client_id=connected["client_id"])
    assert again["generation"] == dead.generation + 2
    row = await bridge().read(lambda: Connection.objects.get(pk=dead.connection))
    assert (row.close_code, row.closed_by) == (1006, "client")


async def test_a_message_reaches_a_process_that_hears_no_doorbell(peers: Any, created: Any, deaf: None) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"session": None})
    await one.until_following("session")
    await asend(created.session, {"hello": 1})
    await hub().rounds.check_positions()
    assert [entry[2]["data"] for entry in await one.entry("session")] == [{"hello": 1}]


async def test_two_orders_at_once_close_once(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    told = await asyncio.gather(areconnect(created.session), areconnect(created.session))
    assert max(told) == 1
    assert await one.closed() == 4005

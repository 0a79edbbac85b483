"""Walk three: beats keep a connection alive, measure it, and end it when nobody answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_mgmt import conf
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import closing, connections, lifecycle
from session_mgmt.actions.topics.beginnings import derive_epoch
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import Unavailable
from session_mgmt.models import Connection, Publication, SessionActivity, SessionEvent, Stream
from session_mgmt.protocol.codes import Close
from session_mgmt.signals import heartbeat_missed
from tests.walks.conftest import BOTH_WAYS

pytestmark = BOTH_WAYS


@pytest.fixture
def quick(settings: Any) -> Any:
    """Beats as fast as the wheel turns; everything else rests."""
    settings.SESSION_MGMT = {"heartbeat_interval": 0.1, "lease_flush_interval": 3600.0, "control_interval": 3600.0}
    return settings


async def test_a_ping_is_answered_and_the_next_carries_the_round_trip(quick: Any, peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    ping = await one.until_type("ping")
    assert ping["rtt_ms"] is None
    await one.say(type="pong", ping=ping["ping"], acked=0)
    assert (await one.until_type("ping"))["rtt_ms"] >= 0


@pytest.mark.requirement("OWASP WebSocket: idle")
async def test_a_client_that_never_answers_is_closed_after_the_missed_limit(
    quick: Any, peers: Any, created: Any
) -> None:
    one = peers()
    await one.open(created.token.secret)
    assert await one.closed() == 4002
    pings = [frame for frame in one.seen if frame["type"] == "ping"]
    assert len(pings) >= 3
    assert one.seen[-1] == {
        "type": "bye",
        "code": 4002,
        "name": "heartbeat_lost",
        "reconnect": True,
        "retry_after": None,
    }


async def test_a_client_chooses_its_beats_and_is_told_what_holds(peers: Any, created: Any) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    assert connected["heartbeat"] == {"interval": 25.0, "missed_limit": 3, "batch": 0.0, "deadline": 35.0}
    await one.say(type="configure", id=1, interval=5, missed_limit=2)
    assert (await one.until_type("reply"))["config"] == {
        "interval": 5.0,
        "missed_limit": 2,
        "batch": 0.0,
        "deadline": 11.0,
    }
    (connection,) = hub().serving.connections
    turns = [due for places in hub().rounds._wheel.values() for _, due in places if due == connection.beat_at]
    assert len(turns) == 1
    assert connection.beat_at - asyncio.get_running_loop().time() <= 5
    await one.say(type="configure", id=2, batch=0.25, missed_limit=None)
    assert (await one.until_type("reply"))["config"]["batch"] == 0.25


@pytest.mark.parametrize(
    ("name", "value"), [("interval", 1.9), ("interval", 56), ("missed_limit", 1), ("missed_limit", 11), ("batch", 1.01)]
)
async def test_a_wish_outside_its_range_is_refused_with_the_range_and_changes_nothing(
    peers: Any, created: Any, name: str, value: float
) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    await one.say(type="configure", id=1, **{"interval": 10, "batch": 0.5, name: value})
    error = await one.until_type("error")
    assert (error["id"], error["name"], error["field"]) == (1, "invalid_field", name)
    assert error["allowed"] == connected["ranges"][name]
    await one.say(type="configure", id=2)
    assert (await one.until_type("reply"))["config"] == connected["heartbeat"]


@pytest.mark.parametrize(
    "wish", [{"interval": "5"}, {"interval": True}, {"missed_limit": 2.5}, {"batch": []}, {"batch": -0.1}]
)
async def test_a_wish_that_is_no_number_is_refused_by_name(peers: Any, created: Any, wish: dict[str, Any]) -> None:
    one = peers()
    await one.open(created.token.secret)
    await one.say(type="configure", id=1, **wish)
    error = await one.until_type("error")
    assert (error["name"], error["field"]) == ("invalid_field", *wish)


async def test_missed_beats_are_told_one_by_one(quick: Any, peers: Any, created: Any) -> None:
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def hear(**facts: Any) -> None:
        loop.call_soon_threadsafe(told.put_nowait, facts)

    heartbeat_missed.connect(hear, weak=False)
    try:
        one = peers()
        connected = await one.open(created.token.secret)
        heard = [await told.get() for _ in range(3)]
    finally:
        heartbeat_missed.disconnect(hear)
    assert [(facts["missed"], facts["limit"]) for facts in heard] == [(1, 3), (2, 3), (3, 3)]
    assert {facts["client_id"] for facts in heard} == {connected["client_id"]}
    assert {facts["session_id"] for facts in heard} == {created.session.pk}


async def test_any_frame_counts_as_life_and_what_we_send_does_not(quick: Any, peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    for number in range(5):
        await one.until_type("ping")
        await one.say(type="ping", id=number)
    assert not any(frame["type"] == "bye" for frame in one.seen)


async def test_a_flush_writes_all_leases_with_one_statement_and_no_beat_writes(
    peers: Any, created: Any, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        await peers().open(created.token.secret)
    before = await bridge().read(lambda: list(Connection.objects.values_list("lease_expires_at", flat=True)))
    beats = [connection.report.build_figures() for connection in hub().serving.connections]

    def flush() -> dict[int, Close]:
        with django_assert_max_num_queries(5):  # BEGIN, clock, lock, update, COMMIT
            return connections.renew_leases(beats)

    assert await bridge().read(flush) == {}
    after = await bridge().read(lambda: list(Connection.objects.values_list("lease_expires_at", flat=True)))
    assert min(after) > min(before)


async def test_figures_that_are_stored_are_not_written_again(
    settings: Any, peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No round and no beat of its own comes in between.
    settings.SESSION_MGMT = dict.fromkeys(("heartbeat_interval", "lease_flush_interval", "control_interval"), 3600.0)
    one, two = peers(), peers()
    for peer in (one, two):
        await peer.open(created.token.secret)
    flushes, is_down = [], False
    original = connections.renew_leases

    def renew_leases(beats: Any, quiet: Any) -> Any:
        flushes.append((len(beats), len(quiet)))
        if is_down:
            raise Unavailable()
        return original(beats, quiet)

    async def say() -> None:
        await one.say(type="ping", id=len(flushes))
        await one.until_type("pong")

    def list_rows() -> list[Any]:
        return list(Connection.objects.order_by("pk").values_list("messages_in", "lease_expires_at"))

    monkeypatch.setattr(connections, "renew_leases", renew_leases)
    await hub().rounds.flush_leases()
    first = await bridge().read(list_rows)
    await say()
    is_down = True
    with pytest.raises(Unavailable):
        await hub().rounds.flush_leases()
    is_down = False
    # What a flush that failed has not told is told by the next one.
    await hub().rounds.flush_leases()
    await hub().rounds.flush_leases()
    assert flushes == [(2, 0), (1, 1), (1, 1), (0, 2)]
    rows = await bridge().read(list_rows)
    assert sorted(after[0] - before[0] for before, after in zip(first, rows, strict=True)) == [0, 1]
    assert all(after[1] > before[1] for before, after in zip(first, rows, strict=True))


async def test_a_connection_that_was_swept_is_closed_by_its_own_process(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(lambda: Connection.objects.update(lease_expires_at="2020-01-01T00:00:00Z"))
    assert await bridge().call(closing.close_dead, limit=10) == 1
    await hub().rounds.flush_leases()
    assert await one.closed() == 4004
    lost = await bridge().read(lambda: SessionEvent.objects.filter(type="connection_lost").count())
    assert lost == 1


async def test_a_revoked_session_is_closed_without_any_doorbell(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(lambda: SessionActivity.objects.update(live=False))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503


async def test_a_lost_doorbell_is_made_good_by_the_position_check(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"topic:room:1": None})
    await one.until_following("topic:room:1")
    await bridge().call(_publish_without_a_doorbell)
    await hub().rounds.check_positions()
    assert [entry[2] for entry in await one.entry("topic:room:1")] == ["unheard"]


async def test_terminate_reaches_the_socket_by_doorbell_alone(quick: Any, peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(lifecycle.terminate_session, SERVER, created.session.pk)
    assert await one.closed() == 4503


def _publish_without_a_doorbell() -> None:
    stream = Stream.objects.create(topic="room:1", epoch=derive_epoch("room:1"), created_at="2026-01-01T00:00:00Z")
    Publication.objects.create(
        stream=stream, offset=stream.head + 1, tag="a" * 16, data=b'"unheard"', at="2026-01-01T00:00:00Z"
    )
    Stream.objects.update(head=stream.head + 1, head_tag="a" * 16)


async def test_a_server_that_is_about_to_end_sends_newcomers_on(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret)
    hub().drain()
    assert await one.closed() == 4000
    await two.handshake()
    assert await two.closed() == 4000
    bye = two.seen[-1]
    assert (bye["name"], bye["reconnect"]) == ("draining", True)
    assert 0 <= bye["retry_after"] <= conf.settings().drain_spread


async def test_a_client_whose_quiet_connections_are_cut_gets_beats_in_time(peers: Any, created: Any) -> None:
    one, two, other = peers(), peers(), peers()
    connected = await one.open(created.token.secret)
    assert connected["heartbeat"]["interval"] == 25.0
    (connection,) = hub().serving.connections
    connection.lifetime.opened_at -= 10  # a proxy cut it after ten quiet seconds
    await one.drop()
    again = await two.open(created.token.secret, client_id=connected["client_id"])
    assert 5.0 < again["heartbeat"]["interval"] < 10 / 1.2
    assert (await other.open(created.token.secret))["heartbeat"]["interval"] == 25.0


async def test_a_connection_that_was_cut_before_any_beat_could_come_changes_no_interval(
    peers: Any, created: Any
) -> None:
    one, two = peers(), peers()
    connected = await one.open(created.token.secret)
    (connection,) = hub().serving.connections
    connection.lifetime.opened_at -= 3  # no proxy cuts so soon, but a network that flaps does
    await one.drop()
    again = await two.open(created.token.secret, client_id=connected["client_id"])
    assert again["heartbeat"]["interval"] == 25.0


async def test_a_close_that_a_client_asked_for_changes_no_interval(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    connected = await one.open(created.token.secret)
    await one.leave()
    again = await two.open(created.token.secret, client_id=connected["client_id"])
    assert again["heartbeat"]["interval"] == 25.0

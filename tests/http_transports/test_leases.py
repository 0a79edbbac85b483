"""Life of a client over HTTP: its calls are its signs of life, whichever process hears them."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.test import Client as Browser

from session_mgmt import conf
from session_mgmt.actions.sessions import connections, hearing
from session_mgmt.actions.sessions.hearing import Heard
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.rounds import SPREAD
from session_mgmt.models import Connection, SessionEvent, clock
from tests.api.calls import Caller
from tests.clocks import LoopTime

pytestmark = pytest.mark.django_db(transaction=True)
LONG = timedelta(hours=1)


def read_row() -> Connection:
    return Connection.objects.get()


async def test_calls_renew_the_lease_and_figures_of_two_processes_are_added(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    await tab.exchange({"type": "ping", "id": 1}, {"type": "ping", "id": 2})
    await hub().rounds.flush_leases()
    row = await bridge().read(read_row)
    assert (row.messages_in, row.messages_out) == (2, 2)
    elsewhere = Heard(row.pk, 0.0, messages_in=3, messages_out=4, bytes_in=5, bytes_out=6)
    await bridge().call(hearing.keep_heard, [elsewhere])
    await tab.exchange({"type": "ping", "id": 3})
    await hub().rounds.flush_leases()
    row = await bridge().read(read_row)
    assert (row.messages_in, row.messages_out) == (6, 7)


@pytest.mark.parametrize("ending", ["attaches", "attaches beside a poll", "leaves beside a poll"])
async def test_figures_of_a_client_that_attaches_again_or_leaves_before_the_flush_are_kept(
    tabs: Any, created: Any, ending: str
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    connection = (await bridge().read(read_row)).pk
    await tab.exchange({"type": "ping", "id": 1}, {"type": "ping", "id": 2})
    visitors: Any = hub().visitors
    (visitor,) = visitors._by_client.values()
    if ending.startswith("leaves"):
        await visitors.leave(visitor.attachment)
    else:
        await tab.attach({})
    if ending.endswith("poll"):
        # Its counters come when the poll ends, which is later.
        visitors.add_figures(visitor, Polled())
    await hub().rounds.flush_leases()
    row = await bridge().read(partial(Connection.objects.get, pk=connection))
    polled = 5 if ending.endswith("poll") else 0
    assert (row.messages_in, row.messages_out) == (2, 2 + polled)
    assert not visitors._former


class Polled:
    """Work of a poll that has sent five messages."""

    def build_figures(self) -> connections.Beat:
        return connections.Beat(0, None, None, 0, 0, messages_in=0, messages_out=5, bytes_in=0, bytes_out=0)

    def find_active(self) -> None:
        return None


async def begin_flush(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Future[None], threading.Event]:
    """Begin a flush whose statement is held up; return it, and the event that lets it go on."""
    begun, go_on, keep_heard = threading.Event(), threading.Event(), hearing.keep_heard

    def keep_when_told(heard: Any) -> None:
        begun.set()
        assert go_on.wait(60)
        keep_heard(heard)

    monkeypatch.setattr(hearing, "keep_heard", keep_when_told)
    flush = asyncio.ensure_future(hub().visitors.flush())
    assert await asyncio.to_thread(begun.wait, 60)
    return flush, go_on


@pytest.mark.parametrize("calls", [False, True])
async def test_figures_are_written_once_if_a_client_leaves_during_a_flush(
    tabs: Any, created: Any, monkeypatch: pytest.MonkeyPatch, calls: bool
) -> None:
    tab, visitors = tabs(created.token.secret), hub().visitors
    await tab.attach({})
    await tab.exchange({"type": "ping", "id": 1}, {"type": "ping", "id": 2})
    (visitor,) = visitors._by_client.values()
    flush, go_on = await begin_flush(monkeypatch)
    if calls:
        visitors.hear(visitor.attachment)
    leave = asyncio.ensure_future(visitors.leave(visitor.attachment))
    # After its first step, in which it begins to write, or leaves that to the flush.
    asyncio.get_running_loop().call_soon(go_on.set)
    await asyncio.gather(flush, leave)
    row = await bridge().read(read_row)
    assert (row.messages_in, row.messages_out) == (2, 2)


def test_a_lease_is_only_moved_on(created: Any) -> None:
    row = make_row(created)
    far = row.lease_expires_at
    hearing.keep_heard([Heard(row.pk, 40.0, 0, 0, 0, 0)], now=row.opened_at + timedelta(seconds=1))
    assert read_row().lease_expires_at == far
    hearing.keep_heard([Heard(row.pk, 1.0, 0, 0, 0, 0)], now=row.opened_at + timedelta(seconds=21))
    assert read_row().lease_expires_at == row.opened_at + timedelta(seconds=20) + connections.polling_lease()


def make_row(created: Any) -> Connection:
    from session_mgmt.protocol.frames import Connect
    from tests.attaching import attach_client

    attach_client(Connect(token=created.token.secret, client_id=None, acked=0, logs={}, agent=""))
    now = clock.read("default")
    Connection.objects.update(transport="sse", opened_at=now, lease_expires_at=now + connections.polling_lease())
    return read_row()


async def test_a_client_that_nobody_hears_is_lost_after_its_lease_and_not_before(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    await hub().rounds.flush_leases()
    visitors: Any = hub().visitors
    (visitor,) = visitors._by_client.values()
    visitor.lease_ends -= LONG.total_seconds()
    # Another process has heard it since: its lease holds.
    await hub().rounds.check_sessions()
    await hub().late_writes.flush()
    assert (await bridge().read(read_row)).closed_at is None
    await tab.poll(hold=0)
    await hub().rounds.flush_leases()
    (visitor,) = visitors._by_client.values()
    visitor.lease_ends -= LONG.total_seconds()
    await bridge().read(lambda: Connection.objects.update(lease_expires_at=clock.read("default") - LONG))
    await hub().rounds.check_sessions()
    await hub().late_writes.flush()
    row = await bridge().read(read_row)
    assert (row.close_code, row.closed_by) == (4002, "server")
    assert await bridge().read(SessionEvent.objects.filter(type="connection_lost").count) == 1
    answer = await tab.call("poll/", tab.build_poll(0))
    assert (answer.status_code, answer.json()["close"]) == (409, 4002)
    assert (await tab.attach({}))["generation"] == 2


async def test_a_client_is_not_forgotten_while_its_lease_is_being_renewed(
    tabs: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab, visitors = tabs(created.token.secret), hub().visitors
    await tab.attach({})
    flush, go_on = await begin_flush(monkeypatch)
    # A round of the process in this very moment.
    await visitors.close_silent()
    go_on.set()
    await flush
    (visitor,) = visitors._by_client.values()
    visitor.lease_ends -= LONG.total_seconds()
    await bridge().read(lambda: Connection.objects.update(lease_expires_at=clock.read("default") - LONG))
    await visitors.close_silent()
    await hub().late_writes.flush()
    assert (await bridge().read(read_row)).close_code == 4002


@pytest.mark.parametrize("slow", [0.0, 2.0], ids=["", "the database is told late"])
@pytest.mark.parametrize("phase", [0.0, 5.0, 11.0])
async def test_a_half_open_client_is_lost_after_its_beats_one_flush_and_one_control_round(
    tabs: Any, created: Any, monkeypatch: pytest.MonkeyPatch, slow: float, phase: float
) -> None:
    rounds, visitors = hub().rounds, hub().visitors
    time = LoopTime()
    keep_heard = hearing.keep_heard

    def keep_late(heard: Any) -> None:
        time.now += slow
        keep_heard(heard)

    monkeypatch.setattr(hearing, "keep_heard", keep_late)
    monkeypatch.setattr(clock, "read", time.read)
    for part in (rounds, visitors):
        monkeypatch.setattr(part, "_loop", time)
    now = conf.settings()
    # Rounds vary, so as late as they ever come.
    flush, control = (seconds * (1 + SPREAD) for seconds in (now.lease_flush_interval, now.control_interval))
    tab = tabs(created.token.secret)
    await tab.attach({})
    time.now += phase
    await tab.poll(hold=0)
    heard, looks = time.now, 0
    flush_at, look_at = heard - phase + flush, heard
    while (row := await bridge().read(read_row)).closed_at is None:
        if flush_at <= look_at:
            time.now, flush_at = max(time.now, flush_at), flush_at + flush
            await rounds.flush_leases()
        else:
            time.now, look_at = max(time.now, look_at), look_at + control
            await rounds.check_sessions()
            await hub().late_writes.flush()
            looks += 1
        assert looks < 100
    silence = now.heartbeat_interval * now.heartbeat_missed_limit + now.lease_flush_interval
    assert silence <= time.now - heard <= silence + slow + control
    assert (row.close_code, row.closed_by) == (4002, "server")


def test_a_wsgi_server_answers_polls_at_once_and_refuses_streams(created: Any, declared: None) -> None:
    """Django's test client is such a server: it knows no loop, and waits for each answer."""
    caller = Caller(Browser(), created.token.secret, str(created.session.pk))
    connected = caller.post("connections/", {"transport": "longpoll", "logs": {"topic:room:1": None}}).json()["frames"][
        0
    ]
    verdict = connected["logs"]["topic:room:1"]
    claim = {"client_id": connected["client_id"], "generation": connected["generation"]}
    poll = {**claim, "logs": {"topic:room:1": {"position": verdict["position"], "grant": verdict["grant"]}}}
    pauses = [caller.post("connections/poll/", poll).json()["next_in"] for _ in range(6)]
    assert pauses == [3.0, 6.0, 9.0, 12.0, 15.0, 15.0]
    written = {**claim, "frames": [{"type": "publish", "seq": 1, "topic": "room:1", "data": "x"}]}
    assert caller.post("connections/frames/", written).json()["frames"][0]["ok"]
    answer = caller.post("connections/poll/", poll).json()
    assert (answer["frames"][0]["type"], answer["next_in"]) == ("entries", 3.0)
    refused = caller.post("connections/poll/", poll, Accept="text/event-stream")
    assert (refused.status_code, refused.json()["name"]) == (406, "transport_unavailable")
    bridge().home.close()

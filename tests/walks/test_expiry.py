"""A session that runs out under an open socket is told as expired everywhere, and its client goes on in a successor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import controls, expiry, lifecycle, recovery
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.exceptions import SessionExpired, SessionNotFound, SessionTerminated, Unavailable
from session_mgmt.models import Connection, SessionActivity, SessionEvent, clock
from session_mgmt.protocol.codes import Close
from session_mgmt.shortcuts import publish, send, state, terminate_session
from session_mgmt.testing import inline_bridge

ROOM = "topic:room:1"


@pytest.fixture
async def resting(settings: Any) -> AsyncIterator[None]:
    """No round of its own: the test turns the one that it is about."""
    settings.SESSION_MGMT = {"lease_flush_interval": 3600.0, "control_interval": 3600.0}
    yield


def run_out(**by: float) -> None:
    """Move every deadline into the past, by a day unless it is said."""
    SessionActivity.objects.update(expires_at=clock.read("default") - timedelta(**(by or {"days": 1})))


async def test_a_sweep_tells_an_open_socket_that_its_session_expired(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(run_out)
    assert await bridge().call(expiry.expire_due, limit=10) == [created.session.pk]
    assert await one.closed() == Close.SESSION_EXPIRED
    assert one.seen[-1]["name"] == "session_expired"


async def test_a_session_past_its_deadline_is_closed_before_any_sweep(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(run_out)
    await hub().rounds.check_sessions()
    assert await one.closed() == Close.SESSION_EXPIRED


async def test_a_flush_after_the_end_tells_the_reason_without_any_doorbell(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await bridge().call(run_out)
    hub()._stops.pop()()  # deaf
    await bridge().call(expiry.expire_due, limit=10)
    await hub().rounds.flush_leases()
    assert await one.closed() == Close.SESSION_EXPIRED


@pytest.mark.parametrize("is_swept", [True, False])
@pytest.mark.parametrize("logs", [{}, {ROOM: None}])
async def test_who_comes_with_the_token_of_an_expired_session_is_told_its_name(
    peers: Any, created: Any, is_swept: bool, logs: Any
) -> None:
    await bridge().call(run_out)
    if is_swept:
        await bridge().call(expiry.expire_due, limit=10)
    one = peers()
    refused = await one.open(created.token.secret, logs=logs)
    assert (refused["type"], refused["name"]) == ("error", "session_expired")
    assert refused["session_id"] == str(created.session.pk)
    assert await one.closed() == Close.SESSION_EXPIRED


async def test_nobody_is_told_the_name_of_a_session_that_was_terminated(peers: Any, created: Any) -> None:
    await bridge().call(lifecycle.terminate_session, SERVER, created.session.pk)
    one = peers()
    refused = await one.open(created.token.secret)
    assert refused["name"] == "session_terminated" and "session_id" not in refused


async def test_nothing_is_missed_by_a_page_whose_session_expired(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret, logs={ROOM: None})
    await one.until_following(ROOM)
    await bridge().read(publish, "room:1", "before")
    (before,) = await one.entry(ROOM)
    head = [one.seen[-1]["epoch"], before[0], before[1]]
    await bridge().call(run_out)
    await bridge().call(expiry.expire_due, limit=10)
    assert await one.closed() == Close.SESSION_EXPIRED
    for number in range(8):
        await bridge().read(publish, "room:1", number)
    successor = await bridge().call(recovery.recover_session, created.token.secret)
    two = peers()
    await two.open(successor.created.token.secret, logs={ROOM: head})
    assert [entry[2] for entry in await two.entry(ROOM)] == list(range(8))


async def test_activity_that_is_not_flushed_yet_keeps_a_session(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"lease_flush_interval": 10.0, "control_interval": 3600.0}
    silent = await bridge().call(lifecycle.create_session)
    one = peers()
    await one.open(created.token.secret, logs={"state:main": None})
    await one.say(type="update", seq=1, doc="main", ops=[["set", "/a", 1]])
    await one.receipt(1)
    # The deadline passes between the write and the flush that tells of it.
    passed = await bridge().call(clock.read, "default")
    await bridge().call(SessionActivity.objects.update, expires_at=passed)
    # As long as a flush may still come, nobody is ended; connections are asked the same question.
    assert await bridge().call(expiry.expire_due, limit=10, now=passed + timedelta(seconds=19.9)) == []
    asked = [created.session.pk, silent.session.pk]
    found = await bridge().call(controls.read_controls, asked, now=passed + timedelta(seconds=19.9))
    assert {control.code for control in found.values()} == {None}
    await hub().rounds.flush_leases()
    late = passed + timedelta(seconds=20.1)
    found = await bridge().call(controls.read_controls, asked, now=late)
    assert {key: control.code for key, control in found.items() if control.code} == {
        silent.session.pk: Close.SESSION_EXPIRED
    }
    assert await bridge().call(expiry.expire_due, limit=10, now=late) == [silent.session.pk]


async def test_activity_is_told_again_after_a_flush_that_failed(
    peers: Any, created: Any, resting: None, monkeypatch: Any
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"state:main": None})
    await one.say(type="update", seq=1, doc="main", ops=[["set", "/a", 1]])
    await one.receipt(1)
    passed = await bridge().call(clock.read, "default")
    await bridge().call(SessionActivity.objects.update, expires_at=passed)
    with monkeypatch.context() as broken:
        broken.setattr(lifecycle, "count_activity_at", _refuse)
        with pytest.raises(Unavailable):
            await hub().rounds.flush_leases()
    await hub().rounds.flush_leases()
    assert (await bridge().call(SessionActivity.objects.get)).expires_at > passed
    # Told once: another flush has nothing to tell, and the session idles from its last write on.
    told = (await bridge().call(SessionActivity.objects.get)).last_active_at
    await hub().rounds.flush_leases()
    assert (await bridge().call(SessionActivity.objects.get)).last_active_at == told


def _refuse(*_: Any) -> None:
    raise Unavailable()


@pytest.mark.django_db(transaction=True)
def test_activity_counts_at_its_moment_however_late_it_is_told() -> None:
    made = lifecycle.create_session(config={"idle_timeout": 60})
    start = made.session.created_at
    late, too_late = start + timedelta(seconds=59), start + timedelta(seconds=120)
    assert lifecycle.count_activity_at({made.session.pk: late}) == {made.session.pk}
    assert SessionActivity.objects.get().expires_at == late + timedelta(seconds=60)
    # What was told before is no step back, and what came after the deadline no rescue.
    assert lifecycle.count_activity_at({made.session.pk: start}) == {made.session.pk}
    assert SessionActivity.objects.get().expires_at == late + timedelta(seconds=60)
    assert lifecycle.count_activity_at({made.session.pk: too_late}) == set()


@pytest.mark.parametrize("is_swept", [True, False])
@pytest.mark.django_db
def test_python_is_told_that_a_session_expired(is_swept: bool) -> None:
    with inline_bridge():
        session = lifecycle.create_session().session
        run_out()
        if is_swept:
            expiry.expire_due(limit=10)
        for write in (
            lambda: send(session, "hello"),
            lambda: state.update(session, {"a": 1}),
            lambda: state.replace(session, {"a": 1}),
            lambda: lifecycle.update_session(SERVER, session.pk, metadata={"a": 1}),
        ):
            with pytest.raises(SessionExpired):
                write()


@pytest.mark.django_db
def test_python_is_told_that_a_session_was_terminated_or_never_was() -> None:
    with inline_bridge():
        session = lifecycle.create_session().session
        terminate_session(session)
        for write in (lambda: send(session, "hello"), lambda: state.update(session, {"a": 1})):
            with pytest.raises(SessionTerminated):
                write()
        session.delete()
        with pytest.raises(SessionNotFound):
            send(session.__class__(), "hello")


async def test_a_page_that_only_reads_idles_unless_the_setting_says_otherwise(
    peers: Any, created: Any, settings: Any
) -> None:
    def deadline() -> Any:
        return SessionActivity.objects.get(pk=created.session.pk).expires_at

    await peers().open(created.token.secret)
    before = await bridge().read(deadline)
    await hub().rounds.flush_leases()
    assert await bridge().read(deadline) == before
    settings.SESSION_MGMT = {"reading_is_activity": True}
    await hub().rounds.flush_leases()
    assert await bridge().read(deadline) > before


async def test_what_a_short_connection_did_is_kept_at_its_close(resting: None, peers: Any, created: Any) -> None:
    before = await bridge().read(lambda: SessionActivity.objects.get().last_active_at)
    one = peers()
    await one.open(created.token.secret, logs={"state:main": None})
    for seq in (1, 2, 3):
        await one.say(type="update", seq=seq, doc="main", ops=[["set", "/a", seq]])
        await one.receipt(seq)
    await one.say(type="disconnect")
    assert await one.closed() == 1000
    await one.leave()
    row = await bridge().read(lambda: Connection.objects.get())
    assert (row.close_code, row.closed_by) == (1000, "client")
    assert row.messages_in >= 4
    assert row.messages_out >= 4
    assert row.bytes_in > 0
    assert await bridge().read(lambda: SessionActivity.objects.get().last_active_at) > before


async def test_a_connection_of_a_killed_process_is_told_lost_when_its_client_is_back(
    resting: None, peers: Any, created: Any
) -> None:
    one = peers()
    connected = await one.open(created.token.secret)
    # Its process is gone: nobody hears the doorbell and nobody marks the row.
    served = next(iter(hub().serving.connections))
    hub().serving.remove_connection(served)
    two = peers()
    await two.open(created.token.secret, client_id=connected["client_id"])
    row = await bridge().read(lambda: Connection.objects.order_by("pk").first())
    assert (row.close_code, row.closed_by) == (1006, "client")
    lost = await bridge().read(lambda: list(_list_lost()))
    assert lost == [{"code": 1006, "by": "client"}]


def _list_lost() -> Any:
    events = SessionEvent.objects.filter(type="connection_lost").values_list("data", flat=True)
    return [orjson.loads(bytes(data)) for data in events]


async def test_deleting_a_user_closes_the_sockets_of_its_sessions(peers: Any, django_user_model: Any) -> None:
    user = await bridge().read(django_user_model.objects.create_user, "ada")
    made = await bridge().call(lifecycle.create_session, user=user)
    one = peers()
    await one.open(made.token.secret, logs={"state:main": None})
    await one.say(type="update", seq=1, doc="main", ops=[["set", "/a", 1]])
    await one.receipt(1)
    await bridge().call(user.delete)
    assert await one.closed() == Close.SESSION_TERMINATED

"""Rounds over everybody who is connected, while nothing is written: nobody is asked about twice for nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction

from session_mgmt.actions import logs
from session_mgmt.actions.sessions import connections as leases
from session_mgmt.actions.sessions import controls, stopping, users
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings as app_settings
from session_mgmt.consumers.hub import hub
from session_mgmt.models import SessionActivity, changes, clock
from session_mgmt.models.changes import has_changed, read_mark

# Rounds and flushes of the process write now and then, also while a test looks.
MOST_TRIES = 1000
# Seconds for a test that hangs.
TIMEOUT = 120.0
BOTH = ["clients", "sessions"]


@pytest.fixture(autouse=True)
def no_other_rounds(settings: Any) -> None:
    """Let only the test's own rounds look at sessions."""
    settings.SESSION_MGMT = {"control_interval": 3600.0}


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database say that nothing was written."""
    monkeypatch.setattr(controls, "read_mark", lambda using: ("a mark",))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List what rounds ask about."""
    found: list[str] = []

    def note(name: str, ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda known: (found.append(name), ask(known))[1]

    monkeypatch.setattr(stopping, "find_fenced", note("clients", stopping.find_fenced))
    monkeypatch.setattr(controls, "find_controls", note("sessions", controls.find_controls))
    return found


async def run_round(asked: list[str]) -> list[str]:
    asked.clear()
    await hub().rounds.check_sessions()
    return list(asked)


@pytest.mark.sqlite
async def test_nobody_is_asked_about_twice_until_somebody_comes(
    peers: Any, created: Any, still: None, asked: list[str]
) -> None:
    await peers().open(created.token.secret)
    assert await run_round(asked) == BOTH
    assert await run_round(asked) == []
    await peers().open(created.token.secret)
    assert await run_round(asked) == BOTH
    assert await run_round(asked) == []


@pytest.mark.sqlite
async def test_a_deadline_ends_a_session_where_nothing_is_written(
    peers: Any, created: Any, still: None, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = peers()
    await one.open(created.token.secret)
    await run_round(asked)
    assert await run_round(asked) == []
    read = clock.read
    monkeypatch.setattr(clock, "read", lambda using: read(using) + timedelta(days=10_000))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4504


@pytest.mark.sqlite
async def test_after_a_round_that_failed_everybody_is_asked_about(
    peers: Any, created: Any, still: None, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await peers().open(created.token.secret)
    await run_round(asked)
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(hub().serving, "added", 0)
        broken.setattr(controls, "find_controls", lambda known: 1 / 0)
        await hub().rounds.check_sessions()
    assert await run_round(asked) == BOTH


@pytest.mark.sqlite
async def test_a_filter_of_the_project_may_ask_the_clock(
    peers: Any, created: Any, still: None, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "changes_by_writes_only", lambda: False)
    await peers().open(created.token.secret)
    assert await run_round(asked) == BOTH
    assert await run_round(asked) == BOTH


async def test_a_write_of_anybody_is_noticed(peers: Any, created: Any, asked: list[str]) -> None:
    one = peers()
    await one.open(created.token.secret)
    await stand_still(asked)
    await bridge().call(lambda: SessionActivity.objects.update(live=False))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503


async def stand_still(asked: list[str]) -> None:
    for _ in range(MOST_TRIES):
        if not await run_round(asked):
            return
    pytest.fail("Every round asked about everybody.")


@pytest.mark.sqlite
async def test_leases_that_were_renewed_are_no_news(peers: Any, created: Any, asked: list[str]) -> None:
    await peers().open(created.token.secret)
    for _ in range(MOST_TRIES):
        await stand_still(asked)
        await hub().rounds.flush_leases()
        if not await run_round(asked):
            break
    else:
        pytest.fail("Every flush was news.")


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
async def test_a_write_beside_a_flush_is_noticed(peers: Any, created: Any, asked: list[str], is_first: bool) -> None:
    one = peers()
    await one.open(created.token.secret)
    await stand_still(asked)
    _, mark = await bridge().watch(logs.find_write, None)
    if not is_first:
        await hub().rounds.flush_leases()
    await bridge().call(lambda: SessionActivity.objects.update(live=False))
    if is_first:
        await hub().rounds.flush_leases()
    changed, _ = await bridge().watch(logs.find_write, mark)
    assert changed
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503


async def test_a_session_that_was_revoked_does_not_wait_for_leases(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    await hub().rounds.check_sessions()
    begins, may_end = threading.Event(), threading.Event()

    def wait() -> bool:
        begins.set()
        return may_end.wait(TIMEOUT)

    renewing = asyncio.ensure_future(bridge().renew(wait))
    assert await bridge().read(begins.wait, TIMEOUT)
    # Not by `call`, which would wait for the leases.
    await bridge().read(lambda: SessionActivity.objects.update(live=False))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503
    may_end.set()
    assert await renewing


@pytest.mark.postgres
async def test_marks_leave_out_the_transaction_of_leases_only(peers: Any, created: Any) -> None:
    await peers().open(created.token.secret)
    (one,) = hub().serving.connections

    def write() -> int:
        with transaction.atomic(using=app_settings().database), connections[app_settings().database].cursor() as cursor:
            SessionActivity.objects.update(epoch="another")
            cursor.execute("SELECT txid_current()")
            return int(cursor.fetchone()[0])

    first = await bridge().call(write)
    assert await bridge().renew(leases.renew_leases, (), [one.attachment.connection]) == {}
    last = await bridge().call(write)
    assert [number for number in changes._left_out if first < number < last]
    assert not {first, last}.intersection(changes._left_out)


def test_marks_of_postgresql_differ_by_each_transaction_that_ended_and_was_not_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "_left_out", {11, 13})

    def mark(end: int, *running: int, server: int = 1) -> changes._Snapshot:
        return changes._Snapshot(server, end, frozenset(running))

    before = mark(11, 9)
    assert not has_changed(before, mark(11, 9))
    assert not has_changed(before, mark(12, 9))
    assert not has_changed(before, mark(12, 9, 11))
    assert not has_changed(before, mark(14, 9, 12))
    assert not has_changed(mark(13, 11, 12), mark(13, 12))
    assert has_changed(before, mark(11))
    assert has_changed(before, mark(13, 9))
    assert has_changed(before, mark(14, 9))
    assert has_changed(before, mark(10**9, 9))
    assert has_changed(before, mark(11, 9, server=2))
    assert has_changed(None, before) and has_changed(before, None)


async def test_the_mark_of_a_database_tells_writes_of_its_own_connection_and_of_others(created: Any) -> None:
    using = app_settings().database

    def write() -> None:
        SessionActivity.objects.filter(pk=created.session.pk).update(epoch="another")

    async def read() -> Any:
        return await bridge().control(read_mark, using)

    for _ in range(MOST_TRIES):
        before = await read()
        if before == await read():
            break
    else:
        pytest.fail("The mark changes all the time.")
    await bridge().call(write)
    after = await read()
    assert after != before
    await bridge().control(write)
    assert await read() != after

    def read_inside() -> Any:
        with transaction.atomic(using=using):
            return read_mark(using)

    assert await bridge().control(read_inside) is None
    # A new connection counts anew.
    before = await read()
    await bridge().control(lambda: connections[using].close())
    assert await read() != before

"""Rounds over everybody who is connected, while nothing is written: nobody is asked about twice for nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction

from session_mgmt.actions.sessions import controls, stopping, users
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings as app_settings
from session_mgmt.consumers.hub import hub
from session_mgmt.models import SessionActivity, clock
from session_mgmt.models.changes import read_mark

# Rounds and flushes of the process write now and then, also while a test looks.
MOST_TRIES = 1000
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
    for _ in range(MOST_TRIES):
        if not await run_round(asked):
            break
    else:
        pytest.fail("Every round asked about everybody.")
    await bridge().call(lambda: SessionActivity.objects.update(live=False))
    await hub().rounds.check_sessions()
    assert await one.closed() == 4503


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

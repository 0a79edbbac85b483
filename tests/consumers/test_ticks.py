"""One timer of a process begins whatever waits for it, and nothing where nothing waits."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import Any

import pytest

from session_mgmt.actions.sessions import standing
from session_mgmt.consumers import rounds
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.rechecks import Rechecks

pytestmark = pytest.mark.sqlite

PATIENCE = 60.0


async def test_a_tick_begins_what_waits(peers: Any, created: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await peers().open(created.token.secret)
    compacted, settled = threading.Event(), threading.Event()
    monkeypatch.setattr(rounds, "_compact", lambda document: compacted.set())
    monkeypatch.setattr(standing, "settle_sessions", lambda keys: (settled.set(), set(keys))[1])
    hub().rounds.schedule_snapshot(7)
    hub().rounds._faulty.add(uuid.uuid4())
    await hub().rounds.tick()
    for done in (compacted, settled):
        assert await asyncio.to_thread(done.wait, PATIENCE)


async def test_a_topic_is_due_when_its_time_has_come() -> None:
    now = 1000.0
    rechecks = Rechecks(None, None, clock=lambda: now)  # type: ignore[arg-type]
    assert not rechecks.has_due()
    rechecks.watch_log(uuid.uuid4(), "topic:room")
    assert not rechecks.has_due()
    now += 24 * 3600.0
    assert rechecks.has_due()


async def test_works_begin_where_they_have_work(peers: Any, created: Any) -> None:
    await peers().open(created.token.secret)
    ticking = hub().rounds
    begun: asyncio.Queue[str] = asyncio.Queue()
    waiting: set[str] = set()

    def start(name: str) -> asyncio.Task[None]:
        async def work() -> None:
            # At once: a tick of the process itself may come at any moment.
            waiting.discard(name)
            begun.put_nowait(name)

        return ticking._start_on_ticks(lambda: name in waiting, work, name)

    tasks = [start("one"), start("two")]
    for name in ("two", "one", "two"):
        waiting.add(name)
        await ticking.tick()
        async with asyncio.timeout(PATIENCE):
            assert await begun.get() == name
    for task in tasks:
        task.cancel()

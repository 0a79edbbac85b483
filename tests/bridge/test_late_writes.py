"""Ends are gathered for a moment and written as one group; whatever happens meanwhile, the leases cover the rest."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from session_mgmt.actions.sessions import attachments, closing, lifecycle
from session_mgmt.actions.sessions.closing import Closed, Ended, Recovered
from session_mgmt.bridge import bridge
from session_mgmt.bridge.late_writes import GATHER_SECONDS, MOST_RECEIPT_BYTES, LateWrites
from session_mgmt.exceptions import Unavailable
from session_mgmt.models import Connection, SessionActivity, SessionEvent, clock
from session_mgmt.protocol.frames import Connect
from session_mgmt.registry import off, on
from tests.attaching import attach_client
from tests.bridge.threads import Held
from tests.ends import end

pytestmark = pytest.mark.django_db(transaction=True)
SOON = (0.0, 0.0)


class Timer:
    """Timers that go off when a test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.waiting.append((seconds, callback))

    def go_off(self) -> None:
        (_, callback), self.waiting[:] = self.waiting[0], self.waiting[1:]
        callback()


class Groups:
    """Stands before the verb; keeps the sizes of groups, and fails so many times."""

    def __init__(self) -> None:
        self.real = closing.close_connections
        self.sizes: list[tuple[int, int]] = []
        self.failing = 0

    def __call__(self, ended: Sequence[Ended], recovered: Sequence[Recovered] = (), **more: Any) -> Closed:
        if self.failing:
            self.failing -= 1
            raise Unavailable()
        self.sizes.append((len(ended), len(recovered)))
        return self.real(ended, recovered, **more)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    made = Groups()
    monkeypatch.setattr(closing, "close_connections", made)
    return made


def _attach(count: int) -> list[attachments.Attachment]:
    sessions = [lifecycle.create_session() for _ in range(count)]
    frames = [Connect(token=made.token.secret, client_id=None, acked=0, logs={}, agent="test") for made in sessions]
    return [attach_client(frame, server="test") for frame in frames]


async def attached(count: int) -> list[attachments.Attachment]:
    """Connect so many clients, each of a session of its own."""
    return await bridge().call(_attach, count)


async def list_open() -> list[int]:
    return await bridge().read(
        lambda: list(Connection.objects.filter(closed_at__isnull=True).order_by("pk").values_list("pk", flat=True))
    )


async def count_losses() -> int:
    return await bridge().read(SessionEvent.objects.filter(type="connection_lost").count)


async def test_ends_are_gathered_from_the_first_one_on_and_written_as_one_group(groups: Groups) -> None:
    timer = Timer()
    late, made = LateWrites(call_later=timer), await attached(3)
    futures = [late.add_ended(end(one), one.client_id) for one in made]
    late.add_recovered(Recovered(made[0].connection, "full", "{}"))
    assert [seconds for seconds, _ in timer.waiting] == [GATHER_SECONDS]
    assert len(await list_open()) == 3
    timer.go_off()
    await asyncio.gather(*futures)
    assert groups.sizes == [(3, 1)]
    assert (await list_open(), await count_losses()) == ([], 3)


async def test_a_group_that_comes_due_while_another_is_written_follows_it(groups: Groups) -> None:
    timer = Timer()
    late, made = LateWrites(call_later=timer), await attached(2)
    first = late.add_ended(end(made[0]), "a")
    timer.go_off()
    await asyncio.wait([asyncio.create_task(_pass_turn())])
    second = late.add_ended(end(made[1]), "b")
    timer.go_off()
    await asyncio.gather(first, second)
    assert groups.sizes == [(1, 0), (1, 0)]
    assert timer.waiting == []


async def _pass_turn() -> None:
    """End in the next turn of the loop."""


async def test_ends_beyond_the_bound_are_left_to_their_leases(groups: Groups, caplog: Any) -> None:
    late, made = LateWrites(call_later=Timer(), most=2), await attached(4)
    futures = [late.add_ended(end(one), one.client_id) for one in made]
    assert [future.done() for future in futures] == [False, False, True, True]
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    await late.flush()
    assert await list_open() == [made[2].connection, made[3].connection]
    after = await bridge().read(lambda: clock.read("default") + timedelta(seconds=91))
    assert await bridge().call(closing.close_dead, limit=10, now=after) == 2
    assert await count_losses() == 4


async def test_receipts_have_so_many_bytes(groups: Groups) -> None:
    late, (one,) = LateWrites(call_later=Timer()), await attached(1)
    for _ in range(3):
        late.add_recovered(Recovered(one.connection, "full", "x" * (MOST_RECEIPT_BYTES // 2)))
    await late.flush()
    assert groups.sizes == [(0, 2)]


async def test_a_member_that_the_database_refuses_is_refused_alone(groups: Groups) -> None:
    late, made = LateWrites(call_later=Timer(), pauses=SOON), await attached(7)
    for number, one in enumerate(made):
        # The database takes no code below 0.
        late.add_ended(end(one, -5 if number == 3 else 1006), one.client_id)
    late.add_recovered(Recovered(made[3].connection, "full", "{}"))
    await late.flush()
    assert await list_open() == [made[3].connection]
    assert await count_losses() == 6


async def test_a_database_that_is_back_in_time_loses_nothing(groups: Groups) -> None:
    late, made = LateWrites(call_later=Timer(), pauses=SOON), await attached(2)
    for one in made:
        late.add_ended(end(one), one.client_id)
    groups.failing = 2
    await late.flush()
    assert groups.sizes == [(2, 0)]
    assert await list_open() == []


async def test_a_database_that_is_down_is_told_once_and_the_ends_are_left_to_their_leases(
    groups: Groups, caplog: pytest.LogCaptureFixture
) -> None:
    late, made = LateWrites(call_later=Timer(), pauses=SOON), await attached(3)
    groups.failing = 6
    for one in made[:2]:
        future = late.add_ended(end(one), one.client_id)
        await late.flush()
        assert future.done()
    assert len([record for record in caplog.records if "leases run out" in record.message]) == 1
    late.add_ended(end(made[2]), "c")
    await late.flush()
    assert await list_open() == [made[0].connection, made[1].connection]


async def test_whoever_stops_waiting_for_a_group_takes_nobody_along(groups: Groups) -> None:
    timer = Timer()
    late, made = LateWrites(call_later=timer), await attached(2)
    futures = [late.add_ended(end(one), one.client_id) for one in made]
    waiting = asyncio.ensure_future(asyncio.shield(futures[0]))
    waiting.cancel()
    timer.go_off()
    await futures[1]
    assert await list_open() == []


async def test_a_slow_receiver_of_signals_holds_up_no_group(groups: Groups) -> None:
    go_on = threading.Event()

    @on("connection_lost")
    def hear(event: Any) -> None:
        go_on.wait(30)

    try:
        late, made = LateWrites(call_later=Timer()), await attached(2)
        for one in made:
            late.add_ended(end(one), one.client_id)
            await late.flush()
        assert await list_open() == []
    finally:
        go_on.set()
        off(hear)


async def test_a_client_that_has_just_left_is_waited_for(groups: Groups) -> None:
    timer = Timer()
    late, (one, two) = LateWrites(call_later=timer), await attached(2)
    late.add_ended(end(one, 1000), one.client_id)
    late.add_ended(end(two, 1006), two.client_id)
    back = asyncio.ensure_future(late.wait_until_left(one.client_id))
    await late.wait_until_left(two.client_id)
    await late.wait_until_left(None)
    await asyncio.wait([asyncio.create_task(_pass_turn())])
    assert not back.done()
    timer.go_off()
    await back
    assert await list_open() == []
    await late.wait_until_left(one.client_id)


@pytest.mark.postgres
async def test_a_locked_session_is_waited_for_on_the_side(groups: Groups) -> None:
    late, made = LateWrites(call_later=(timer := Timer())), await attached(3)
    lock = SessionActivity.objects.filter(pk=made[0].session.pk).select_for_update(no_key=True)
    holding = await asyncio.to_thread(Held, lambda: list(lock), commit=True)
    for one in made:
        future = late.add_ended(end(one), one.client_id)
        timer.go_off()
        await future
    assert await list_open() == [made[0].connection]
    await asyncio.to_thread(holding.end)
    await late.flush()
    assert (await list_open(), await count_losses()) == ([], 3)

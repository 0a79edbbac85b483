"""What a connection waits for rarely takes no memory before: there are many that are idle."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from session_mgmt.consumers.inbox import Inbox
from session_mgmt.consumers.moments import Moment
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.consumers.writes import Writes
from tests.turns import pass_turn


async def begin(moment: Moment) -> asyncio.Task[None]:
    """Let somebody wait for a moment."""
    task = asyncio.create_task(moment.wait())
    await pass_turn()
    return task


async def test_all_who_wait_go_on_though_one_of_them_has_left() -> None:
    moment = Moment()
    moment.come()
    first, second, third = [await begin(moment) for _ in range(3)]
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not first.done() and not third.done()
    moment.come()
    await asyncio.gather(first, third)
    # It has come for those, and not for who waits from now on.
    fourth = await begin(moment)
    assert not fourth.done()
    moment.come()
    await fourth


async def test_an_idle_connection_holds_little() -> None:
    async def send(message: Any) -> None:
        raise AssertionError("nothing is sent")

    writer: Any = object()

    def take(*_: Any) -> None:
        raise AssertionError("nothing is written")

    def make() -> list[Any]:
        return [(Outlet(send, 1000), Inbox(), Writes(writer, take)) for _ in range(100)]

    make()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = make()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Each deque has 624 bytes or more, and an event has one.
    assert (after - before) / len(made) < 1500

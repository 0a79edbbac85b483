"""Frames of a client that wants them together: one write, their order kept, and never much in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from session_mgmt.consumers.outlet import GATHER_BYTES, Outlet, Shared
from tests.clocks import Clock

MOST_BYTES = 1024 * 1024


class Timer:
    """Timer of an event loop, on a clock of the test's own."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None

    def ring(self) -> None:
        if self.act is not None:
            self.act()


class Loop(Clock):
    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        timer = Timer(callback)
        super().call_later(seconds, timer.ring)
        return timer


def open_outlet(*, direct: bool) -> tuple[Outlet, Loop, list[Any]]:
    """Return an outlet with what it wrote: one entry for each write."""
    written: list[Any] = []

    async def send(message: Any) -> None:
        written.append(message.get("text", message))

    outlet, loop = Outlet(send, MOST_BYTES), Loop()
    outlet._loop = loop  # type: ignore[assignment]
    if direct:

        def write(data: bytes) -> bool:
            written.append(data)
            return True

        outlet._write = write
    return outlet, loop, written


async def test_frames_of_one_window_go_out_in_one_write_and_in_order() -> None:
    outlet, loop, written = open_outlet(direct=True)
    outlet.gather_for(0.5)
    outlet.push("one")
    outlet.push(Shared(b"two", b"three"))
    loop.pass_time(0.25)
    assert written == []
    outlet.push("four")
    loop.pass_time(0.25)
    assert written == [Shared(b"one", b"two", b"three", b"four").wire]
    outlet.push("five")
    loop.pass_time(0.5)
    assert written[1:] == [Shared(b"five").wire]
    assert outlet.messages == 5


async def test_frames_are_messages_of_their_own_on_other_servers() -> None:
    outlet, loop, written = open_outlet(direct=False)
    outlet.gather_for(0.1)
    outlet.push("one")
    outlet.push("two")
    loop.pass_time(0.1)
    assert written == ["one", "two"]


async def test_no_more_than_the_bound_is_gathered() -> None:
    outlet, _, written = open_outlet(direct=True)
    outlet.gather_for(1.0)
    outlet.push("x" * (GATHER_BYTES - 1))
    assert written == []
    outlet.push("yy")
    assert len(written) == 1 and outlet._gathered is None


async def test_what_was_gathered_goes_before_a_close_and_before_a_change_of_the_window() -> None:
    outlet, loop, written = open_outlet(direct=False)
    outlet.gather_for(1.0)
    outlet.push("one")
    outlet.gather_for(0)
    outlet.push("two")
    outlet.gather_for(1.0)
    outlet.push("bye")
    outlet.close(4000, "draining")
    loop.pass_time(5)
    assert [entry if isinstance(entry, str) else entry["code"] for entry in written] == ["one", "two", "bye", 4000]


async def test_an_outlet_that_is_abandoned_writes_nothing_later() -> None:
    outlet, loop, written = open_outlet(direct=True)
    outlet.gather_for(0.1)
    outlet.push("one")
    outlet.abandon()
    loop.pass_time(1)
    assert written == []


async def test_what_is_pushed_in_one_turn_is_joined_without_a_window() -> None:
    outlet, loop, written = open_outlet(direct=True)
    with outlet.join_writes():
        outlet.push("one")
        outlet.push(Shared(b"two"))
        assert written == [] and not loop.timers
        outlet.push("x" * GATHER_BYTES)
        assert len(written) == 1, "more than the bound was kept"
        outlet.push("four")
    assert written[1:] == [Shared(b"four").wire]
    outlet.push("five")
    assert written[2:] == [Shared(b"five").wire]


async def test_joined_writes_leave_a_window_its_end() -> None:
    outlet, loop, written = open_outlet(direct=True)
    outlet.gather_for(0.5)
    with outlet.join_writes():
        outlet.push("one")
    assert written == []
    outlet.push("two")
    loop.pass_time(0.5)
    assert written == [Shared(b"one", b"two").wire]

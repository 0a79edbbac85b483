"""Writes that may come a little later: ends of connections, and receipts of recoveries.

Many connections end and come back together, and a transaction for each would be most of the cost. So they are gathered
for a moment and written as one group. If the process dies in between, the leases end the connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from session_mgmt.actions.group_commit import Group
from session_mgmt.actions.sessions import closing
from session_mgmt.actions.sessions.closing import Closed, Ended, Recovered
from session_mgmt.bridge.crossing import bridge
from session_mgmt.bridge.lane import PAUSES
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.codes import Close

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
# Above it the lease ends a connection, and a receipt is dropped, because only people read it.
MOST_WAITING = 10_000
MOST_RECEIPT_BYTES = 8 * 1024 * 1024
# Members of one transaction: SQLite has only one writer, and others wait for it.
GROUP = 500


class Timer(Protocol):
    """Interface of the event loop's timers."""

    def __call__(self, seconds: float, callback: Callable[[], None]) -> Any:
        """Call back after so many seconds."""


class LateWrites:
    """Ends and receipts of one event loop until they are written; at most ``most`` of each."""

    def __init__(
        self, *, call_later: Timer | None = None, most: int = MOST_WAITING, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._call_later = call_later or self._loop.call_later
        self._most, self._pauses = most, pauses
        self._ended: list[Ended] = []
        self._recovered: list[Recovered] = []
        # `_in_hand` counts ends that were taken and are not written yet; they count against the limit.
        self._receipt_bytes = self._in_hand = 0
        # Done when the present group is written. A group takes the future with it, and the next one gets a new future.
        self._written: asyncio.Future[None] = self._loop.create_future()
        self._leaving: dict[str, asyncio.Future[None]] = {}
        # `_armed`: the timer runs. `_due`: the timer ended while a group was being written.
        self._armed = self._due = self._dropping = self._is_failing = False
        self._task: asyncio.Task[None] | None = None
        self._held: set[asyncio.Task[None]] = set()

    def add_ended(self, ended: Ended, client_id: str) -> asyncio.Future[None]:
        """Close a client's connection with the next group; the future is done when that is written or given up."""
        if len(self._ended) + self._in_hand >= self._most:
            self._note_drop()
            return _finished(self._loop)
        self._ended.append(ended)
        # After any other end the client has lost its connection, and may be counted as such.
        if ended.code == Close.NORMAL:
            self._leaving[client_id] = self._written
        self._arm()
        return self._written

    async def wait_until_left(self, client_id: str | None) -> None:
        """Wait until the end of a connection that its client has left is written, or its return would
        count it as lost.
        """
        written = self._leaving.get(client_id or "")
        if written is not None:
            # Shielded, because others wait for the same future, and a client that gives up must not cancel it.
            await asyncio.shield(written)

    def add_recovered(self, recovered: Recovered) -> None:
        """Store the receipt of a recovery with the next group."""
        size = len(recovered.receipt)
        if len(self._recovered) >= self._most or self._receipt_bytes + size > MOST_RECEIPT_BYTES:
            self._note_drop()
            return
        self._recovered.append(recovered)
        self._receipt_bytes += size
        self._arm()

    async def flush(self) -> None:
        """Write all that waits now, and wait until it is written."""
        self._start()
        while self._task is not None or self._held:
            await asyncio.wait([*([self._task] if self._task else []), *self._held])

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self._call_later(GATHER_SECONDS, self._start)

    def _start(self) -> None:
        self._armed = False
        if self._task is not None:
            # The running task does another round, because two tasks would be two writers.
            self._due = True
        elif self._ended or self._recovered:
            self._task = self._loop.create_task(self._write_waiting(), name="late writes")

    async def _write_waiting(self) -> None:
        """Write all that has been gathered; one transaction at a time, so that a slow database makes groups larger."""
        try:
            while self._ended or self._recovered:
                self._due = False
                ended, recovered, written = self._take()
                try:
                    for at in range(0, max(len(ended), len(recovered)), GROUP):
                        await self._write_group(ended[at : at + GROUP], recovered[at : at + GROUP])
                finally:
                    self._in_hand -= len(ended)
                    self._leaving = {name: future for name, future in self._leaving.items() if future is not written}
                    written.set_result(None)
                # Ends that came meanwhile wait until their own timer ends.
                if not self._due:
                    break
        finally:
            self._task = None

    def _take(self) -> tuple[list[Ended], list[Recovered], asyncio.Future[None]]:
        ended, self._ended = self._ended, []
        recovered, self._recovered = self._recovered, []
        written, self._written = self._written, self._loop.create_future()
        self._in_hand += len(ended)
        self._receipt_bytes = 0
        # There is room again, so the next drop is logged again.
        self._dropping = False
        return ended, recovered, written

    async def _write_group(self, ended: list[Ended], recovered: list[Recovered], *, wait: bool = False) -> None:
        """Write a group; halve a group that the database refuses, so that a bad member is refused alone."""
        try:
            closed = await (self._wait(ended) if wait else self._try(ended, recovered))
        except SessionMgmtError as error:
            self._note_failure(error)
        except Exception:
            if len(ended) + len(recovered) <= 1:
                logger.exception("A connection could not be marked closed")
                return
            # Round in different directions, so that even one end and one receipt are separated.
            half, other = len(ended) // 2, (len(recovered) + 1) // 2
            await self._write_group(ended[:half], recovered[:other], wait=wait)
            await self._write_group(ended[half:], recovered[other:], wait=wait)
        else:
            self._is_failing = False
            self._pass_on(closed)

    async def _try(self, ended: list[Ended], recovered: list[Recovered]) -> Closed:
        """Write a group, which may be repeated: a row that is closed is not closed again."""
        for pause in self._pauses:
            with suppress(SessionMgmtError):
                return await bridge().call(closing.close_connections, ended, recovered, wait=False)
            await asyncio.sleep(pause)
        # The last attempt; its error is raised to the caller.
        return await bridge().call(closing.close_connections, ended, recovered, wait=False)

    async def _wait(self, ended: list[Ended]) -> Closed:
        """Write a group whose sessions are locked, in threads that connecting clients do not need."""
        return await bridge().run_patiently("held sessions", partial(closing.close_connections, ended))

    def _pass_on(self, closed: Closed) -> None:
        bridge().lane.send_signals(Group(events=closed.events))
        if closed.held:
            # Wait for locked rows in another task; otherwise one of them could delay the next group.
            self._in_hand += len(closed.held)
            task = self._loop.create_task(self._write_held(closed.held), name="late writes of held sessions")
            self._held.add(task)
            task.add_done_callback(self._held.discard)

    async def _write_held(self, held: list[Ended]) -> None:
        try:
            await self._write_group(held, [], wait=True)
        finally:
            self._in_hand -= len(held)

    def _note_failure(self, error: SessionMgmtError) -> None:
        """Log only the change of state, not each failure."""
        if not self._is_failing:
            self._is_failing = True
            logger.warning("Connections could not be marked closed; their leases run out: %s", error)

    def _note_drop(self) -> None:
        """Log only the first member for which there is no room."""
        if not self._dropping:
            self._dropping = True
            logger.error("Too many connections end at once; the others are left to their leases")


def _finished(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    future: asyncio.Future[None] = loop.create_future()
    future.set_result(None)
    return future

"""Proofs of calls over HTTP. Calls that wait at the same time are proved together by the database."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from session_mgmt.actions.sessions import calls
from session_mgmt.actions.sessions.calls import Call, Proved
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import Busy

# Calls of one group of statements.
MOST_TOGETHER = 200
# If several calls come together, more will follow. So the next group waits at least this long, because a group costs
# little more than one member.
GATHER_SECONDS = 0.02
# Most calls without an answer. More would wait longer than their clients do.
MOST_WAITING = 10_000


class Proofs:
    """Proofs of calls, one object per event loop. While a group is proved, the next one gathers; a single call need not
    wait.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Call, asyncio.Future[Proved]]] = deque()
        # Kept, because an event loop holds its tasks by weak references only.
        self._proving: asyncio.Task[None] | None = None

    async def prove(self, call: Call) -> Proved:
        """Prove a call and check its logs. Raises the error of a refusal, or ``Busy``."""
        if len(self._waiting) >= MOST_WAITING:
            raise Busy(retry_after=1.0)
        answer: asyncio.Future[Proved] = self._loop.create_future()
        self._waiting.append((call, answer))
        if self._proving is None:
            # Begins in the next turn of the loop, with all calls of this turn.
            self._proving = self._loop.create_task(self._prove_all(), name="proofs")
        return await answer

    async def _prove_all(self) -> None:
        try:
            while self._waiting:
                gathered = self._loop.time() + GATHER_SECONDS
                count = min(len(self._waiting), MOST_TOGETHER)
                await _prove_group([self._waiting.popleft() for _ in range(count)])
                if (count > 1 or self._waiting) and len(self._waiting) < MOST_TOGETHER:
                    await self._sleep(gathered - self._loop.time())
        finally:
            # No await since the last look at the list, or a call in between would wait for a task that has ended.
            self._proving = None


async def _prove_group(group: list[tuple[Call, asyncio.Future[Proved]]]) -> None:
    # A caller that has left needs no proof.
    group = [(call, answer) for call, answer in group if not answer.done()]
    if not group:
        return
    try:
        results: list[Proved | Exception] = [
            *await bridge().read(calls.prove_calls, [call for call, _ in group]),
        ]
    # A failure is the answer for all, because no caller may be left without one.
    except Exception as error:
        results = [error] * len(group)
    for (_, answer), result in zip(group, results, strict=True):
        if answer.done():
            # The caller no longer waits.
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)

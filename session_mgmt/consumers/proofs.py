"""Proofs of calls over HTTP: those of one turn of the loop go to the database together."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from session_mgmt.actions.sessions import calls
from session_mgmt.actions.sessions.calls import Call, Proved
from session_mgmt.bridge import bridge

T = TypeVar("T")

# Calls of one group of statements.
MOST_TOGETHER = 200


class Proofs:
    """One per event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Call, asyncio.Future[Proved]]] = []
        # Kept, because an event loop holds its tasks by weak references only.
        self._tasks: set[asyncio.Task[None]] = set()

    async def prove(self, call: Call) -> Proved:
        """Prove a call and look at its logs. Raises its refusal."""
        answer: asyncio.Future[Proved] = self._loop.create_future()
        if not self._waiting:
            # Begins in the next turn, with all that come in this one.
            self._loop.call_soon(self._begin)
        self._waiting.append((call, answer))
        return await answer

    def _begin(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
            task = self._loop.create_task(_prove_group(group), name="proofs")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _prove_group(group: list[tuple[Call, asyncio.Future[Proved]]]) -> None:
    try:
        results: list[Proved | Exception] = [
            *await bridge().read(calls.prove_calls, [call for call, _ in group]),
        ]
    # A failure is everybody's: nobody may be left without an answer.
    except Exception as error:
        results = [error] * len(group)
    for (_, answer), result in zip(group, results, strict=True):
        if answer.done():
            # Whoever waited has left.
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)

"""Presence on one event loop: write the moves of clients in groups, and publish what has changed."""

from __future__ import annotations

import asyncio
import logging

from session_mgmt.actions.clients import Attached
from session_mgmt.actions.sessions import leaving
from session_mgmt.actions.topics import presence, telling
from session_mgmt.actions.topics.presence import Move
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import InternalError, SessionMgmtError
from session_mgmt.protocol.logs import PRESENCE, TOPIC
from session_mgmt.registry import registry

logger = logging.getLogger(__name__)

# Moves in one transaction: SQLite has only one writer, and others wait for it.
GROUP = 500
# A search for clients that are gone takes longer the more there are. Rest this many times as long after it, but at most
# this many seconds, because one search may be slow only because the disk stopped for a moment.
LOOK_REST, LONGEST_REST = 19, 10.0


def find_entered(log: str) -> str | None:
    """Return the topic that a client may not enter either if it may not follow a log; ``None`` if there is none."""
    topic = log.removeprefix(TOPIC)
    found = registry.find_presence(topic.removeprefix(PRESENCE))
    # If another function decides who sees the members, its answer says nothing about becoming a member.
    is_other = found is None or (topic.startswith(PRESENCE) and found[0].may_see is not None)
    return None if is_other else topic.removeprefix(PRESENCE)


class Presences:
    """Waiting moves, and the work of this process for all presence logs."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Move, asyncio.Future[SessionMgmtError | None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._look_at = 0.0

    async def move(self, move: Move) -> None:
        """Write a move, together with others that wait. Raises ``SessionMgmtError``."""
        error = await self._put(move)
        if error is not None:
            raise error

    def leave_denied(self, log: str, attached: Attached) -> None:
        """Let a client leave soon a topic that it may no longer enter, because it may not follow a log."""
        topic = find_entered(log)
        if topic is not None:
            # No caller waits for this move.
            self._put(Move(topic, attached))

    def _put(self, move: Move) -> asyncio.Future[SessionMgmtError | None]:
        answer: asyncio.Future[SessionMgmtError | None] = self._loop.create_future()
        self._waiting.append((move, answer))
        if self._task is None:
            # While one group is written, the next one gathers.
            self._task = self._loop.create_task(self._write_waiting(), name="session_mgmt moves")
        return answer

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                part, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                errors = await self._write([move for move, _ in part])
                for (_, answer), error in zip(part, errors, strict=True):
                    # The caller may no longer wait.
                    if not answer.done():
                        answer.set_result(error)
        finally:
            self._task = None

    async def _write(self, moves: list[Move]) -> list[SessionMgmtError | None]:
        try:
            return await bridge().call(presence.move_all, moves)
        except SessionMgmtError as error:
            return [error] * len(moves)
        except Exception:
            logger.exception("Clients could not enter or leave topics")
            return [InternalError()] * len(moves)

    def has_logs(self) -> bool:
        """Return True if there are any presence logs."""
        return bool(registry.presences)

    async def tell(self) -> None:
        """Remove clients that are gone, and publish the changes; write only if a read finds some."""
        if self._loop.time() >= self._look_at:
            started = self._loop.time()
            gone = await bridge().read(leaving.find_gone)
            unattended = await bridge().read(leaving.find_unattended)
            now = self._loop.time()
            self._look_at = now + min(LOOK_REST * (now - started), LONGEST_REST)
            if gone or unattended:
                await bridge().call(leaving.remove_gone, gone, unattended)
        if await bridge().read(telling.is_waiting):
            await bridge().call(telling.tell_changes)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

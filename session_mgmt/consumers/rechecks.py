"""Ask the application again who may follow which topics: when rights have changed, and regularly in case they have.

Each question gets a user object that was read for it, so it contains no remembered permissions. A topic that is no
longer allowed is left at once, and its client receives an error.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from uuid import UUID

from session_mgmt.conf import settings
from session_mgmt.consumers.grants import Grants
from session_mgmt.consumers.serving import Served, Serving
from session_mgmt.exceptions import SessionMgmtError, TopicDenied
from session_mgmt.protocol.logs import TOPIC
from session_mgmt.registry import registry

# Seconds between two slots of the wheel.
TICK = 0.5
# Share of the time by which a question may come earlier; otherwise all clients of a deploy would come together.
SPREAD = 0.2
# Seconds until a question that could not be asked is repeated.
ASK_LATER = 1.0


class Rechecks:
    """Topics that are followed here, each in the slot of the wheel in which it is due."""

    def __init__(self, serving: Serving, grants: Grants, *, clock: Callable[[], float] | None = None) -> None:
        self._serving, self._grants = serving, grants
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._wheel: dict[int, list[tuple[UUID, str]]] = {}
        self._watched: set[tuple[UUID, str]] = set()
        # Kept, because an event loop holds its tasks by weak references only.
        self._tasks: set[asyncio.Task[None]] = set()

    def watch_log(self, session: UUID, name: str) -> None:
        """Ask regularly about a log that is followed from now on, if it is a topic."""
        if name.startswith(TOPIC) and (session, name) not in self._watched:
            self._watched.add((session, name))
            self._schedule(session, name, find_interval(name) * random.uniform(1 - SPREAD, 1))

    def ask_again(self, session: UUID) -> None:
        """Ask about every topic of a session whose rights have changed."""
        self._grants.forget(session)
        for connection in self._serving.sessions.get(session, ()):
            connection.forget_rights()
        self._begin(session, self._list_followed(session))

    def has_due(self) -> bool:
        """Return True if any topic is due."""
        return bool(self._wheel) and min(self._wheel) <= int(self._clock() / TICK)

    async def ask_due(self) -> None:
        """Ask about the topics that are due."""
        due: dict[UUID, set[str]] = {}
        for slot in [slot for slot in self._wheel if slot <= int(self._clock() / TICK)]:
            for session, name in self._wheel.pop(slot):
                due.setdefault(session, set()).add(name)
        for session, names in due.items():
            self._watched.difference_update((session, name) for name in names)
            followed = self._list_followed(session) & names
            for name in followed:
                self.watch_log(session, name)
            self._begin(session, followed)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _schedule(self, session: UUID, name: str, seconds: float) -> None:
        self._wheel.setdefault(int((self._clock() + seconds) / TICK), []).append((session, name))

    def _list_followed(self, session: UUID) -> set[str]:
        mine = self._serving.sessions.get(session, ())
        return {name for connection in mine for name in connection.followings if name.startswith(TOPIC)}

    def _begin(self, session: UUID, names: set[str]) -> None:
        if names:
            task = self._loop.create_task(self._ask(session, names), name="recheck")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, session: UUID, names: set[str]) -> None:
        served = next(iter(self._serving.sessions.get(session, ())), None)
        if served is None:
            return
        try:
            question = self._grants.ask(served.attachment.session, names)
            await self._grants.wait([question])
            granted, late = question.tell()
        except SessionMgmtError:
            # Too many questions, or no database. There was no answer, so ask again.
            for name in names:
                self._schedule(session, name, ASK_LATER)
            return
        denied = {name: late.get(name) or TopicDenied() for name in names if name.removeprefix(TOPIC) not in granted}
        _leave_logs(self._serving.sessions.get(session, ()), denied)


def _leave_logs(connections: Iterable[Served], denied: dict[str, SessionMgmtError]) -> None:
    for connection in list(connections):
        for name, error in denied.items():
            connection.deny_log(name, error)


def find_interval(name: str) -> float:
    """Return the seconds after which to ask about a topic again."""
    declared = registry.find_topic(name.removeprefix(TOPIC))
    recheck = declared[0].recheck if declared is not None else None
    return (recheck or settings().topic_recheck).total_seconds()

"""All that one process serves: its connections, and one feed for each log that any of them follows.

Doorbells and the lane tell that a log has moved; position checks find out what they did not tell. The truth is always
read from the database.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from session_mgmt.actions import notify
from session_mgmt.actions.group_commit import Decision, Group
from session_mgmt.actions.logs import LogRow
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import memory
from session_mgmt.consumers.feed import Feed
from session_mgmt.consumers.rounds import Rounds
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.position import Position

if TYPE_CHECKING:
    from session_mgmt.consumers.connection import Connection

logger = logging.getLogger("session_mgmt.hub")
KEEP_IDLE_FEED = 60.0


class Hub:
    """One per event loop; starts with its first connection."""

    def __init__(self) -> None:
        memory.settle()
        self._loop = asyncio.get_running_loop()
        self.server = f"{socket.gethostname()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.feeds: dict[str, Feed] = {}
        self.connections: set[Connection] = set()
        self.clients: dict[int, Connection] = {}
        self.sessions: dict[uuid.UUID, set[Connection]] = {}
        self._stops: list[Callable[[], None]] = [
            bridge().lane.listen(self.from_lane),
            bridge().listen(self._from_doorbell),
        ]
        self._remote_listener = bridge().remote_listener(self._heard)
        self._tasks = (
            [self._loop.create_task(self._remote_listener.run(), name="doorbell")] if self._remote_listener else []
        )
        self.draining = False
        self.rounds = Rounds(self)
        self.join_control()

    def join_control(self) -> None:
        if self._remote_listener:
            self._tasks.append(self._loop.create_task(self._remote_listener.join(notify.CONTROL), name="join control"))
            self._tasks.append(self._loop.create_task(self._remote_listener.join(notify.OUTBOX), name="join outbox"))

    # -- connections -----------------------------------------------------------------------------------------------

    def add(self, connection: Connection) -> None:
        """Serve a connection; an older one of the same client is told that it was replaced."""
        attachment = connection.attachment
        older = self.clients.get(attachment.client)
        if older is not None and older.attachment.generation < attachment.generation:
            older.stop(Close.REPLACED)
        self.connections.add(connection)
        self.clients[attachment.client] = connection
        self.sessions.setdefault(attachment.session.pk, set()).add(connection)
        self.rounds.add(connection)

    def remove(self, connection: Connection) -> None:
        attachment = connection.attachment
        self.connections.discard(connection)
        if self.clients.get(attachment.client) is connection:
            del self.clients[attachment.client]
        mine = self.sessions.get(attachment.session.pk)
        if mine is not None:
            mine.discard(connection)
            if not mine:
                del self.sessions[attachment.session.pk]

    # -- feeds -----------------------------------------------------------------------------------------------------

    def follow(self, row: LogRow, head: Position) -> Feed:
        """The feed of a log, made at first use. What moved before the feed existed was told to nobody, so a new feed
        reads at once.
        """
        feed = self.feeds.get(row.key)
        if feed is None:
            feed = self.feeds[row.key] = Feed(row, head.epoch, head.offset, head.tag, {})
            self._loop.create_task(self._open(feed), name=f"open {row.key}")
        elif feed.epoch != head.epoch:
            feed.correct(head)
        feed.following += 1
        feed.idle_since = None
        return feed

    async def _open(self, feed: Feed) -> None:
        if self._remote_listener:
            await self._remote_listener.join(feed.row.key)
        feed.catch_up()

    def unfollow(self, feed: Feed) -> None:
        feed.following -= 1
        if feed.following == 0:
            feed.idle_since = self._loop.time()

    async def drop_idle_feeds(self) -> None:
        """Forget feeds that nobody has followed for a minute."""
        limit = self._loop.time() - KEEP_IDLE_FEED
        for key, feed in list(self.feeds.items()):
            if feed.following == 0 and feed.idle_since is not None and feed.idle_since < limit:
                del self.feeds[key]
                feed.stop()
                if self._remote_listener:
                    await self._remote_listener.leave(key)

    # -- what has happened -----------------------------------------------------------------------------------------

    def from_lane(self, group: Group, results: list[tuple[Any, Decision]]) -> None:
        """On the lane's thread: entries first, then answers, in one turn of the loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, group, results)

    def _take(self, group: Group, results: list[tuple[Any, Decision]]) -> None:
        for key, log in group.appended.items():
            feed = self.feeds.get(key)
            if feed is None:
                continue
            if feed.epoch == log.epoch:
                feed.append(log.entries)
            else:
                feed.catch_up()
        for (connection, frame), decision in results:
            connection.writes.answered(frame, decision)
        for document in group.lagging:
            self.rounds.snapshot_soon(document)

    def _from_doorbell(self, heads: dict[str, int], cargo: dict[str, Any] | None) -> None:
        """On whatever thread rings."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard, heads, cargo)

    def _heard(self, heads: dict[str, int], cargo: dict[str, Any] | None) -> None:
        for key, head in heads.items():
            feed = self.feeds.get(key)
            if feed is None:
                if key == notify.CONTROL:
                    self._obey(cargo or {})
                elif key == notify.OUTBOX:
                    bridge().lane.nudge()
            elif cargo is not None:
                feed.pass_on(cargo)
            elif head == 0 or head > feed.head:
                feed.catch_up()

    def _obey(self, orders: dict[str, Any]) -> None:
        for session in orders.get("ended", ()):
            self.stop_session(uuid.UUID(session), Close.SESSION_TERMINATED)
        for session in orders.get("close", ()):
            self.stop_session(uuid.UUID(session), Close(orders.get("code", Close.DETACHED)))
        if "replaced" in orders:
            client, generation = orders["replaced"]
            connection = self.clients.get(client)
            if connection is not None and connection.attachment.generation < generation:
                connection.stop(Close.REPLACED)

    def stop_session(self, session: uuid.UUID, code: Close) -> None:
        """Close every connection of a session here; why it ended is told when its client comes back."""
        for connection in list(self.sessions.get(session, ())):
            connection.stop(code)

    def drain(self) -> None:
        """Send everybody away, to come back spread over some seconds: by then another process is there, and all of
        them at once would be a storm for it.
        """
        self.draining = True
        for connection in list(self.connections):
            connection.stop(Close.DRAINING, retry_after=spread())

    async def stop(self) -> None:
        """Send everybody away and end."""
        self.drain()
        for stop in self._stops:
            stop()
        self.rounds.stop()
        for task in self._tasks:
            task.cancel()


def spread() -> float:
    """Seconds after which one of many clients is to come back."""
    return random.uniform(0, settings().drain_spread)


_HUBS: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop. A process has one loop; tests have many, and each takes its hub with it."""
    loop = asyncio.get_running_loop()
    found = _HUBS.get(loop)
    if found is None:
        found = _HUBS[loop] = Hub()
    return found

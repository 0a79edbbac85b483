"""Connections and feeds of one process, by client, by session and by log."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from session_mgmt.actions import logs
from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.controls import Control, Known
from session_mgmt.bridge import RemoteListener, bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.feed import Feed
from session_mgmt.consumers.lifetime import Lifetime
from session_mgmt.consumers.pacing import Paces, RestedTurns, crowd
from session_mgmt.consumers.pages import Shelf
from session_mgmt.consumers.reports import Report
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.position import Position

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")
Run = Callable[..., Awaitable[dict[str, Position | None]]]

KEEP_IDLE_FEED = 60.0
# Logs in one query.
SLICE = 2000
# Clients whose lost connections are remembered.
KEEP_QUIET_LIVES = 10_000
# Part of a lost connection's life after which a beat must come, in time even if the network became slower.
QUIET_SHARE = 0.6
# More frequent beats would cost more than a connection that is cut now and then.
SHORTEST_INTERVAL = 2.0


class Served(Protocol):
    """Interface of a connection for the hub and its rounds."""

    attachment: Attachment
    lifetime: Lifetime
    report: Report
    holds_lease: bool

    @property
    def beat_at(self) -> float:
        """Time of the next call of ``beat``."""

    @property
    def followings(self) -> Mapping[str, Any]:
        """Return the logs that the client follows, by name."""

    def stop(self, code: Close, *, retry_after: float | None = None, reason: str = "") -> None:
        """Say goodbye and close."""

    def stop_displaced(self, code: Close) -> None:
        """Close, because a row of this connection is gone: with this code, unless there is another reason."""

    def deny_log(self, name: str, error: SessionMgmtError) -> None:
        """Leave a log that may no longer be followed, and send the client an error."""

    def forget_rights(self) -> None:
        """Ask the application again before the next publication."""

    def beat(self, now: float) -> None:
        """Check for signs of life, and send a ping if one is due."""


def _slice(whole: dict[K, V]) -> Iterator[dict[K, V]]:
    # A copy, because connections come and go while the slices are used.
    copy = whole.copy()
    if len(copy) <= SLICE:
        # To split a dictionary hashes all its keys again, and a UUID is hashed in Python.
        yield copy
        return
    pairs = list(copy.items())
    for start in range(0, len(pairs), SLICE):
        yield dict(pairs[start : start + SLICE])


class Serving:
    """Connections of this process, and the logs that any of them follows."""

    def __init__(self, remote_listener: RemoteListener | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._remote_listener = remote_listener
        self.connections: set[Served] = set()
        self.clients: dict[int, Served] = {}
        self._generations: dict[int, int] = {}
        self.sessions: dict[uuid.UUID, set[Served]] = {}
        self._known: dict[uuid.UUID, Known] = {}
        # Number of connections that have ever been added.
        self.added = 0
        # Number of times that a log was ever followed.
        self.followed = 0
        self.feeds: dict[str, Feed] = {}
        self.paces = Paces()
        self.following_turns = RestedTurns()
        self.crowd = crowd()
        self._shelf = Shelf(self._loop.time, self._loop.call_later)
        self._sockets: Counter[str] = Counter()
        self._quiet_lives: dict[str, float] = {}
        self._unopened: list[Feed] = []
        self._opening: asyncio.Task[None] | None = None

    # -- connections -----------------------------------------------------------------------------------------------

    def add_connection(self, connection: Served) -> None:
        """Serve a connection; an older one of the same client is closed as replaced."""
        attachment = connection.attachment
        self.added += 1
        self.connections.add(connection)
        newest = self.clients.get(attachment.client)
        if newest is None or not attachment.is_overtaken_by(newest.attachment):
            # At once in this process; other processes hear the doorbell, or find it with their control query (promise
            # L4).
            self.stop_fenced(attachment.client, attachment.generation)
            self.clients[attachment.client] = connection
            self._generations[attachment.client] = attachment.generation
        else:
            # Replaced between its proof and now: keep the newest connection, so that the next one finds it.
            connection.stop(Close.REPLACED)
        session = attachment.session
        self.sessions.setdefault(session.pk, set()).add(connection)
        found = Known(attachment.auth_version, session.access_version, attachment.mark)
        before = self._known.get(session.pk, found)
        # Keep the older versions: the tokens and topics of earlier connections have not been checked since.
        auth_version = min(found.auth_version, before.auth_version)
        access_version = min(found.access_version, before.access_version)
        self._known[session.pk] = Known(auth_version, access_version, found.mark)

    def remove_connection(self, connection: Served) -> None:
        """Forget a connection whose transport is gone."""
        attachment = connection.attachment
        self.connections.discard(connection)
        # A newer connection of the client may have taken its place.
        if self.clients.get(attachment.client) is connection:
            del self.clients[attachment.client], self._generations[attachment.client]
        mine = self.sessions.get(attachment.session.pk)
        if mine is not None:
            mine.discard(connection)
            if not mine:
                del self.sessions[attachment.session.pk]
                del self._known[attachment.session.pk]

    def stop_session(self, session: uuid.UUID, code: Close, reason: str = "") -> None:
        """Close every connection of a session here; a client gets the reason of the end when it comes back."""
        # A copy, because a connection that stops may remove itself.
        for connection in list(self.sessions.get(session, ())):
            connection.stop(code, reason=reason)

    def judge_session(self, session: uuid.UUID, control: Control) -> bool:
        """Close the connections of a session here that may not continue; return True if its rights have changed."""
        for connection in list(self.sessions.get(session, ())):
            code = control.judge_connection(connection.attachment.auth_version)
            if code is not None:
                connection.stop(code, reason=control.reason)
        before = self._known.get(session)
        if before is None or control.known is None or control.code is not None:
            return False
        self._known[session] = control.known
        return control.known.access_version != before.access_version

    def forget_activity(self, session: uuid.UUID, told: datetime) -> None:
        """Forget the activity of a session here up to a moment that the database knows now."""
        for connection in self.sessions.get(session, ()):
            connection.report.forget_active(told)

    def list_generations(self) -> Iterator[dict[int, int]]:
        """Return the generations of all connected clients, in slices."""
        return _slice(self._generations)

    def list_all_known(self) -> Iterator[dict[uuid.UUID, Known]]:
        """Return the last known state of all sessions that are served here, in slices."""
        return _slice(self._known)

    def list_known(self, sessions: Iterable[uuid.UUID]) -> dict[uuid.UUID, Known]:
        """Return the last known state of these sessions, if they are served here."""
        return {session: known for session in sessions if (known := self._known.get(session)) is not None}

    def find_access_version(self, session: uuid.UUID) -> int | None:
        """Return the version of the rights by which a session is served here."""
        known = self._known.get(session)
        return None if known is None else known.access_version

    def stop_fenced(self, client: int, generation: int, code: Close = Close.REPLACED) -> None:
        """Close the connection of a client if it is older than this generation, because it may no longer write."""
        connection = self.clients.get(client)
        if connection is not None and connection.attachment.generation < generation:
            connection.stop(code)

    # -- quiet connections -----------------------------------------------------------------------------------------

    def note_quiet_loss(self, client: str, lived: float) -> None:
        """Remember a connection that was lost before its first beat, because something in the network may cut quiet
        ones.

        A beat could not have saved a connection that ended before the first beat could come. Such an end has another
        reason, for example an unstable network.
        """
        if lived * QUIET_SHARE < SHORTEST_INTERVAL:
            return
        # Insert it again, so that the entry at the front is the oldest loss.
        self._quiet_lives[client] = min(lived, self._quiet_lives.pop(client, lived))
        if len(self._quiet_lives) > KEEP_QUIET_LIVES:
            del self._quiet_lives[next(iter(self._quiet_lives))]

    def choose_interval(self, client: str) -> float:
        """Return the interval of beats for a client: shorter than the time after which its quiet
        connections were cut.
        """
        return self.bound_interval(client, settings().heartbeat_interval)

    def bound_interval(self, client: str, wanted: float) -> float:
        """Return the interval that a client wants, or a shorter one if its quiet connections were cut earlier."""
        lived = self._quiet_lives.get(client)
        return wanted if lived is None else min(wanted, max(lived * QUIET_SHARE, SHORTEST_INTERVAL))

    # -- sockets ---------------------------------------------------------------------------------------------------

    def add_socket(self, address: str) -> bool:
        """Count a socket of an address, proved or not; return False if the address has reached its limit."""
        most = settings().max_sockets_per_address
        if most and self._sockets[address] >= most:
            return False
        self._sockets[address] += 1
        # Log it when the limit is reached, not for each refused socket after that.
        if self._sockets[address] == most:
            logger.warning(
                "%s has %d sockets and gets no more; if it is a proxy, let the server trust its headers", address, most
            )
        return True

    def remove_socket(self, address: str) -> None:
        """Count one socket of an address less."""
        self._sockets[address] -= 1
        if not self._sockets[address]:
            del self._sockets[address]

    # -- feeds -----------------------------------------------------------------------------------------------------

    def follow_log(self, row: LogRow, head: Position) -> Feed:
        """Return the feed of a log; create it at first use.

        A new feed has missed all news about its log, so it asks the database at once.
        """
        self.followed += 1
        feed = self.feeds.get(row.key)
        if feed is None:
            feed = self.feeds[row.key] = Feed(row, head.epoch, head.offset, head.tag, self._shelf)
            self._unopened.append(feed)
            if self._opening is None:
                # Begins in the next turn of the loop, with all feeds of this turn.
                self._opening = self._loop.create_task(self._open_feeds(), name="open feeds")
        # A client that connects has just read the log's head, and may know more than this feed.
        elif feed.epoch != head.epoch:
            feed.correct(head)
        feed.join(head)
        return feed

    async def _open_feeds(self) -> None:
        """Join the groups of new feeds, and read the positions of their logs, with one query of each kind for many."""
        try:
            while self._unopened:
                keys = [feed.row.key for feed in self._unopened[:SLICE]]
                del self._unopened[:SLICE]
                if self._remote_listener is not None:
                    # Join before the query: a later entry rings, and an earlier one is in the answer.
                    await asyncio.gather(*map(self._remote_listener.join, keys))
                await self.check_positions(keys, bridge().read)
        except SessionMgmtError as error:
            # The next doorbell or position check tries again.
            logger.warning("New logs could not be compared: %s", error)
        finally:
            self._opening = None

    async def check_positions(self, keys: Iterable[str], run: Run) -> bool:
        """Compare feeds with the positions of their logs in the database; return whether any of them differed."""
        asked = {key: (feed.epoch, feed.head, feed.tag) for key in keys if (feed := self.feeds.get(key)) is not None}
        found = await run(logs.find_moved, asked)
        for key, position in found.items():
            moved = self.feeds.get(key)
            # The feed was dropped during the query.
            if moved is None:
                continue
            if position is None:
                self.drop_feed(moved)
            else:
                moved.correct(position, asked_at=asked[key][1])
        return bool(found)

    def unfollow_log(self, feed: Feed) -> None:
        """Count one follower less; keep the feed for a minute, because clients may come back."""
        feed.following -= 1
        if feed.following == 0:
            feed.idle_since = self._loop.time()

    def drop_feed(self, feed: Feed) -> None:
        """Forget the feed of a deleted log; its followers reconnect and follow the new one."""
        self.feeds.pop(feed.row.key, None)
        feed.stop()
        for connection in list(self.connections):
            if any(following.feed is feed for following in connection.followings.values()):
                connection.stop_displaced(Close.INSUFFICIENT_STATE)

    async def drop_idle_feeds(self) -> None:
        """Forget feeds that had no follower for a minute."""
        limit = self._loop.time() - KEEP_IDLE_FEED
        for key, feed in list(self.feeds.items()):
            if feed.following == 0 and feed.idle_since is not None and feed.idle_since < limit:
                del self.feeds[key]
                feed.stop()
                # After the feed was forgotten here, so that a late ring finds no feed and is ignored.
                if self._remote_listener is not None:
                    await self._remote_listener.leave(key)

    def stop(self) -> None:
        """End feeds that are still being opened."""
        if self._opening is not None:
            self._opening.cancel()

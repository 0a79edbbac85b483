"""Readers of topics with ``allow_entry``: the project's function runs on threads of its own, not on this loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from session_mgmt.actions.sessions.looking import Log
from session_mgmt.actions.sessions.proving import LiveSession
from session_mgmt.actions.topics import judging
from session_mgmt.actions.topics.judging import Judged
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.following import Following, Reader, take_replay_turn
from session_mgmt.consumers.outlet import BACKLOG, Shared
from session_mgmt.exceptions import Busy, SessionMgmtError
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import TOPIC, begin_entries_frame, build_range_end, stream_key
from session_mgmt.protocol.position import Position

if TYPE_CHECKING:
    from session_mgmt.actions.sessions.attachments import Attachment
    from session_mgmt.consumers.feed import Feed
    from session_mgmt.consumers.serving import Serving

R = TypeVar("R")

# Most readers of one topic in a process, because each entry costs a call for each reader.
MOST_READERS = 200
# Seconds until one of them may have left.
CROWD_SECONDS: Final = 30.0


class Judge:
    """Permission of one reader, for the entries of one topic that it wants."""

    def __init__(self, session: LiveSession, log: Log) -> None:
        self._session, self._topic, self.only = session, log.name.removeprefix(TOPIC), log.only
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def judge_entries(self, entries: list[bytes]) -> Judged:
        """Ask about entries that follow one another, as many as a slice of time has room for."""
        return await self._ask(judging.judge_entries, entries)

    def judge_messages(self, frame: Shared, push: Callable[[Shared], None]) -> None:
        """Ask about messages that are kept nowhere, and push those that are allowed, in their order."""
        # Messages must not pile up behind a slow function; a client that is too far behind misses them.
        if self._waiting_bytes > BACKLOG:
            return
        self._waiting += frame.payloads
        self._waiting_bytes += frame.size
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work_off(push), name=f"judge {self._topic}")

    def stop(self) -> None:
        """Forget the messages that wait."""
        if self._task is not None:
            self._task.cancel()

    async def _work_off(self, push: Callable[[Shared], None]) -> None:
        try:
            while self._waiting:
                messages, self._waiting = self._waiting, []
                allowed = await self._ask(judging.judge_messages, messages)
                self._waiting_bytes -= sum(map(len, messages))
                if allowed:
                    push(Shared(*allowed))
        except SessionMgmtError:
            # It is unknown whether they are allowed, and ephemeral messages may be lost.
            self._waiting, self._waiting_bytes = [], 0
        finally:
            self._task = None

    async def _ask(self, verb: Callable[..., R], texts: list[bytes]) -> R:
        session = self._session
        # A separate key, so that a slow function does not delay subscriptions of the session.
        key = ("entries", session.pk)
        return await bridge().run_user_code(key, verb, session.as_model(), self._topic, self.only, texts)


class JudgedFollowing(Following):
    """One followed log whose reader receives only the entries that its judge allows.

    It does not use the feed's frames. It reads all entries, live ones too, in pages of the log. ``place`` is the last
    entry that was judged, and ``_told`` the last offset that the client knows. ``turn`` is held while a page is judged,
    so each connection has one page judged at a time.
    """

    def __init__(self, connection: Reader, feed: Feed, log: Log, judge: Judge, turn: asyncio.Lock) -> None:
        # The judge applies the filter itself, so it must see every entry.
        super().__init__(connection, feed, log._replace(only=None))
        self._judge, self._turn = judge, turn
        self._told = self.place.offset

    def stop(self) -> None:
        """Leave the log."""
        super().stop()
        self._judge.stop()

    def change_filter(self, only: Filter | None) -> None:
        """Let the judge apply another filter to all entries that it has not passed yet."""
        self._judge.only = only

    def deliver(self, feed: Feed, frame: Shared) -> None:
        """Read what is new; a task that is running sees that the feed has moved."""
        if self._task is None or self._task.done():
            self._start_task("judge")

    def deliver_ephemeral(self, frame: Shared) -> None:
        """Pass on what is allowed of these messages, unless the client is behind."""
        outlet = self._connection.outlet
        if not outlet.is_full:
            self._judge.judge_messages(frame, outlet.push)

    def tell_place(self) -> None:
        """Tell the client how far the log has come, if none of the last entries were allowed."""
        if self._told != self.sent and not self._connection.outlet.is_full:
            self._push_range([], self.place, recovered=False)

    def _may_push_page(self) -> bool:
        # Every page must be judged before it is sent.
        return False

    async def _push_next(self, *, marked: bool, latest_by: str | None) -> bool:
        async with self._turn:
            page = await self.feed.pages.read(self.place)
            if page is None:
                return False
            only = self._judge.only
            # Before the client's turn for pages, because a slow function must not hold the turn.
            found = await self._judge.judge_entries(list(page.list_entries(self.place)))
            place = Position(page.after.epoch, found.offset, found.tag)
            async with take_replay_turn(self._connection):
                if only != self._judge.only:
                    # Judge again, because another filter may want entries that this one has left out.
                    return True
                is_last = self._note_replayed(place, marked=marked)
                # As with filters, the client is told about entries that are left out later, at the latest after a page.
                if found.entries or marked or place.offset - self._told >= settings().replay_page:
                    self._push_range(found.entries, place, recovered=is_last)
                self.place = place
            return True

    def _push_range(self, entries: list[bytes], place: Position, *, recovered: bool) -> None:
        """Send entries in a frame that stands for all from the offset that the client knows of to a place."""
        head, end = (
            begin_entries_frame(self.log.name, place.epoch),
            build_range_end(self._told, place, recovered=recovered),
        )
        self._connection.outlet.push(Shared(head + b",".join(entries) + end))
        self._told = place.offset

    def _send_gap(self, reason: str, at: Position) -> None:
        # Entries that it has passed are not lost.
        self.tell_place()
        super()._send_gap(reason, at)
        self._told = at.offset


def make_judged_following(
    connection: Reader, feed: Feed, log: Log, session: LiveSession, turn: asyncio.Lock
) -> JudgedFollowing | None:
    """Return the following of a log whose topic asks about each entry; ``None`` for any other."""
    return JudgedFollowing(connection, feed, log, Judge(session, log), turn) if feed.is_judged else None


def find_crowd(serving: Serving, name: str) -> Busy | None:
    """Return an error if a log with ``allow_entry`` has as many readers as this process serves, otherwise ``None``."""
    feed = serving.feeds.get(stream_key(name.removeprefix(TOPIC))) if name.startswith(TOPIC) else None
    if feed is None or feed.following < MOST_READERS or not feed.is_judged:
        return None
    message = f"This topic has {MOST_READERS} readers here, as many as one with allow_entry may have in a process."
    return Busy(message, retry_after=CROWD_SECONDS)


def deny_crowds(serving: Serving, attachment: Attachment) -> None:
    """Deny a client the logs that have no room for one more reader; call it before the client follows any log."""
    crowds = {name: error for name in attachment.logs if (error := find_crowd(serving, name)) is not None}
    if crowds:
        attachment.logs = {name: log for name, log in attachment.logs.items() if name not in crowds}
        attachment.denied = {**attachment.denied, **crowds}

"""Position of one connection in one log: replay up to the feed's position, then join the feed in the same turn of the
loop.

A client that reads too slowly returns to replay. Nothing is buffered for it, because everything is in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from session_mgmt.actions.sessions import receipts
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.actions.state import bodies
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import verdicts
from session_mgmt.consumers.conflating import conflate
from session_mgmt.consumers.outlet import Outlet, Shared
from session_mgmt.consumers.pages import Page
from session_mgmt.consumers.slow_ways import find_latest_by, find_way, find_window
from session_mgmt.exceptions import SessionMgmtError, StateUnreadable, Unavailable
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import DOCUMENT_KEY, Entry, begin_entries_frame, build_range_end
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode
from session_mgmt.registry import DISCONNECT, DROP_OLDEST, LATEST, REPLAY

if TYPE_CHECKING:
    from session_mgmt.consumers.feed import Feed

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """Interface of the connection that follows a log."""

    outlet: Outlet
    replay_turn: asyncio.Lock
    slow: Mapping[str, Any]

    def push(self, frame: dict[str, Any]) -> None:
        """Send a frame."""

    def push_error(self, error: SessionMgmtError) -> None:
        """Send an error that answers no request."""

    def stop(self, code: Close) -> None:
        """Say goodbye and close."""

    async def stop_with_reason(self, otherwise: Close) -> None:
        """Close with the reason for the loss of a row, or otherwise with this code."""

    def tells_recovered(self, log: str) -> bool:
        """Return True if the last frame of a log's replay says `recovered`."""

    def starts_behind(self, log: str) -> bool:
        """Return True if a reader that has missed entries of a log counts as slow."""

    def build_document_url(self, name: str) -> str | None:
        """Build the URL of a large document."""


@asynccontextmanager
async def take_replay_turn(reader: Reader) -> AsyncIterator[None]:
    """Wait until the client has read everything sent to it, because only one page or snapshot is made at a time.

    So a client cannot use more of the server's memory by following more logs, or by following them again and again.
    """
    async with reader.replay_turn:
        await reader.outlet.wait_until_sent()
        yield


class Following:
    """State of one followed log: ``place`` is the position of the last entry that was sent to the client."""

    def __init__(self, connection: Reader, feed: Feed, log: Log) -> None:
        self._connection, self.feed, self.log = connection, feed, log
        self.only = log.only
        self.place = log.asked if log.verdict.mode is Mode.ENTRIES and log.asked else log.head
        self.replayed: tuple[int, int] | None = None
        self.lost_range: tuple[int | None, int] | None = receipts.find_lost_range(log)
        # Receipts by offset, which wait for their entries.
        # A list, as most connections never write, and a deque would take 760 bytes for each log.
        self._parked: list[tuple[int, str]] = []
        self._task: asyncio.Task[bool] | None = None
        self.stopped = False
        self._said_recovered = not connection.tells_recovered(log.name)

    @property
    def sent(self) -> int:
        """Last offset that was sent to the client."""
        return self.place.offset

    @property
    def is_document(self) -> bool:
        return self.log.key.startswith(DOCUMENT_KEY)

    def start(self, missed: Sequence[Entry] = ()) -> asyncio.Task[bool] | None:
        """Bring the client to the present; return a task, or None if nothing has to be waited for.

        The task's result is False if it was impossible. ``missed`` are the next entries, if they were read.
        """
        marked = self.log.verdict.mode is Mode.ENTRIES
        if marked and self._connection.starts_behind(self.log.name) and self._find_slow_way() in (LATEST, DROP_OLDEST):
            return self._start_task("replay", behind=True)
        if missed and not self._is_displaced() and self._may_push_page():
            page = self.feed.pages.take(self.place, missed)
            if page is not None:
                self._push_page(page, marked=marked)
        if self.is_document and self.log.verdict.mode is Mode.LOST:
            return self._start_task("replay", snapshot=str(self.log.verdict.reason), marked=marked)
        return None if self._catch_up_at_once(marked=marked) else self._start_task("replay", marked=marked)

    def stop(self) -> None:
        """Leave the log. Receipts that wait for its entries are sent without them."""
        if self.stopped:
            return
        self.stopped = True
        while self._parked:
            self._connection.outlet.push(self._parked.pop(0)[1])
        self.feed.remove_live(self)
        if self._task is not None:
            self._task.cancel()

    # -- live ------------------------------------------------------------------------------------------------------

    def deliver(self, feed: Feed, frame: Shared) -> None:
        """Pass a live frame on, or leave the feed and read the log when the client has caught up with its waiting
        frames.
        """
        outlet = self._connection.outlet
        if outlet.is_full:
            # From now on the client reads from the log, which needs no buffer.
            feed.remove_live(self)
            if self._find_slow_way() == DISCONNECT:
                self._connection.stop(Close.SLOW_CONSUMER)
            else:
                outlet.when_drained(self._resume)
            return
        outlet.push(frame)
        self.place = feed.position
        self._release_receipts()

    def handle_loss(self, feed: Feed, position: Position) -> None:
        """Send a snapshot or a gap, because the live log lost entries, and continue from there."""
        feed.remove_live(self)
        self._restart(reason="history_lost" if position.offset <= self.sent else "trimmed", at=position)

    def tell_place(self) -> None:
        """Report to a client with a filter how far the log has come, so that earlier entries do not count as missed."""
        # Asked for each log with each beat, and most have no filter.
        if self.only is None:
            return
        place = self.feed.position
        if self.place == place or not self.feed.audiences.has(self, self.only):
            return
        if not self._connection.outlet.is_full:
            self._push_place(place)

    def _push_place(self, place: Position) -> None:
        if self.place != place:
            head, end = begin_entries_frame(self.log.name, place.epoch), build_range_end(self.sent, place)
            self._connection.outlet.push(Shared(head + end))
            self.place = place

    def change_filter(self, only: Filter | None) -> None:
        """Send only the wanted entries of another filter from the client's place on; ``None`` wants all."""
        if only == self.only:
            return
        is_live = (self.only is not None and self.feed.audiences.has(self, self.only)) or self in self.feed.live
        if is_live:
            # The client must know of the entries that were not for it: the next frame begins after them.
            self._push_place(self.feed.position)
            self.feed.remove_live(self)
        self.only = only
        if is_live:
            self.feed.add_live(self)

    def deliver_ephemeral(self, frame: Shared) -> None:
        """Pass a message on unless the client is behind, because messages without a log must not pile up either."""
        if not self._connection.outlet.is_full:
            self._connection.outlet.push(frame)

    @property
    def has_parked(self) -> bool:
        """True if receipts wait for entries that were not sent yet."""
        return bool(self._parked)

    async def wait_for_replay(self) -> None:
        """Wait until no replay is running."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def tell_loss(self) -> None:
        """Report the gap of the verdict, if no ``connected`` and no ``reply`` has reported it."""
        if self.lost_range is not None:
            verdict = {name: value for name, value in verdicts.build_verdict(self.log).items() if name != "mode"}
            self._connection.push({"type": "gap", "log": self.log.name, **verdict})

    def park_receipt(self, offset: int, frame: str) -> None:
        """Keep a receipt until the client has received the entries up to its offset."""
        if self.stopped or offset <= self.sent:
            self._connection.outlet.push(frame)
        else:
            self._parked.append((offset, frame))

    def _release_receipts(self) -> None:
        while self._parked and self._parked[0][0] <= self.sent:
            self._connection.outlet.push(self._parked.pop(0)[1])

    # -- replay ----------------------------------------------------------------------------------------------------

    def _find_slow_way(self) -> str:
        return find_way(self.log.name, self._connection.slow)

    def _resume(self) -> None:
        feed = self.feed
        is_behind = self.place.epoch == feed.epoch and feed.head > self.sent
        way = self._find_slow_way() if is_behind else REPLAY
        if not self.stopped and way == DROP_OLDEST:
            # All entries that it has not read are older than the next one.
            self._send_gap("dropped", feed.position)
        # Not marked: only the replay of a connect ends with `recovered`, which promises a complete range (T6).
        if self.stopped or (way != LATEST and self._catch_up_at_once(marked=False)):
            return
        self._start_task("return", behind=way == LATEST)

    def _restart(self, *, reason: str, at: Position) -> None:
        if self.stopped:
            return
        if not self.is_document:
            self._send_gap(reason, at)
        if self._task is not None:
            # The task reads a history that no longer exists.
            self._task.cancel()
        self._start_task("restart", snapshot=reason if self.is_document else None)

    def _start_task(
        self, purpose: str, *, snapshot: str | None = None, marked: bool = False, behind: bool = False
    ) -> asyncio.Task[bool]:
        work = self._catch_up_or_leave(snapshot=snapshot, marked=marked, behind=behind)
        self._task = asyncio.get_running_loop().create_task(work, name=f"{purpose} {self.log.key}")
        return self._task

    async def _catch_up_or_leave(self, *, snapshot: str | None, marked: bool, behind: bool) -> bool:
        """Catch up, or end the connection: a client that stayed would miss entries and never know.

        A document that cannot be read stops only itself: its client has no version of it that could fall behind.
        """
        try:
            await self._catch_up(snapshot=snapshot, marked=marked, behind=behind)
        except StateUnreadable as error:
            self._connection.push_error(error)
        except SessionMgmtError:
            # The client reconnects, and gets a new verdict from the database unless the session has ended.
            await self._connection.stop_with_reason(Close.INSUFFICIENT_STATE)
        except Exception:
            logger.exception("The log %s could not be replayed", self.log.key)
            self._connection.stop(Close.INTERNAL_ERROR)
        else:
            return True
        return False

    def _catch_up_at_once(self, *, marked: bool) -> bool:
        """Send the pages that are ready, and join the feed in this turn of the loop; False if there is more to do."""
        promised = self._find_promised(marked)
        while not self._join_feed(promised):
            page = self.feed.pages.find(self.place) if self._may_push_page() else None
            if page is None:
                return False
            self._push_page(page, marked=marked)
        self._release_receipts()
        return True

    def _may_push_page(self) -> bool:
        # While the client still reads the last page, another one would only wait in the memory of this process.
        return self._connection.outlet.is_idle and not self._connection.replay_turn.locked()

    def _find_promised(self, marked: bool) -> int:
        """Return the offset up to which the verdict has promised entries.

        A feed at the client's position may still be behind the verdict. Promised entries are replayed; they do not come
        as live ones.
        """
        return self.log.head.offset if marked else 0

    async def _catch_up(self, *, snapshot: str | None = None, marked: bool = False, behind: bool = False) -> None:
        """Send pages from the log until the place equals the feed's; then, without giving up the loop, join it.

        A reader that is ``behind`` may be given less.
        """
        if snapshot is not None:
            await self._send_snapshot(snapshot)
        way = self._find_slow_way() if behind else REPLAY
        if way == DROP_OLDEST and (window := await find_window(self.feed, self.place, self.log.head.offset)):
            self._send_gap("dropped", window)
        latest_by = find_latest_by(self.log.name) if way == LATEST else None
        promised = self._find_promised(marked)
        while not self._join_feed(promised):
            if self._is_displaced():
                await self._find_place()
                continue
            if not await self._send_page(marked=marked, latest_by=latest_by):
                # The promised entries are gone, and the client was told so. Without this, the loop would wait for them
                # for ever.
                promised = 0
        self._release_receipts()

    def _join_feed(self, promised: int) -> bool:
        if self.place.epoch != self.feed.epoch or self.sent != self.feed.head or self.sent < promised:
            return False
        # No await between the comparison and this line, so no entry can be missed.
        self.feed.add_live(self)
        return True

    def _is_displaced(self) -> bool:
        return self.sent > self.feed.head or self.place.epoch != self.feed.epoch

    async def _find_place(self) -> None:
        """Find out why the client is ahead of the feed or in another epoch: the feed is late, or history was lost."""
        if self.place.epoch == self.feed.epoch:
            self.feed.catch_up()
            # Another part of this process may know the entry before its own feed has read it.
            await self.feed.wait_for_read()
            if self.sent <= self.feed.head:
                return
        position, asked_at = await self.feed.ask_position()
        # The log is gone; the client reconnects and learns why.
        if position is None:
            raise Unavailable()
        self.feed.correct(position, asked_at=asked_at)
        # Nothing was lost: the feed is behind, and continues to read.
        if position.epoch == self.place.epoch and position.offset >= self.sent:
            return
        if self.is_document:
            await self._send_snapshot("history_lost")
        else:
            self._send_gap("history_lost", position)

    async def _send_page(self, *, marked: bool, latest_by: str | None) -> bool:
        """Send the next entries from the log, or the newest by key of all that are left; return False if there are
        none, once the client knows of any loss.
        """
        if await self._push_next(marked=marked, latest_by=latest_by):
            return True
        if self._is_displaced():
            # The log has a new history now.
            return True
        await self._skip_purged_entries()
        return False

    async def _push_next(self, *, marked: bool, latest_by: str | None) -> bool:
        async with take_replay_turn(self._connection):
            if latest_by is not None:
                return await self._push_latest(latest_by)
            page = await self.feed.pages.read(self.place)
            if page is not None:
                self._push_page(page, marked=marked)
            return page is not None

    async def _push_latest(self, member: str) -> bool:
        """Send the newest entry of each key, up to the feed's position or as far as one frame reaches."""
        only = self.only
        conflation = await conflate(self.feed, member, self.place, only)
        if only != self.only:
            # Read again, because another filter may want entries that this one has left out.
            return True
        if conflation.is_empty:
            return False
        self._connection.outlet.push(conflation.build_frame())
        self.place = conflation.last
        self._release_receipts()
        return True

    def _push_page(self, page: Page, *, marked: bool) -> None:
        is_last = self._note_replayed(page.last, marked=marked)
        self._connection.outlet.push(
            page.build_frame(self.place, recovered=is_last)
            if self.only is None
            else page.build_filtered_frame(self.place, self.only, recovered=is_last)
        )
        self.place = page.last
        self._release_receipts()

    def _note_replayed(self, last: Position, *, marked: bool) -> bool:
        """Note that entries up to a place go out; return whether their frame says that this was the last one."""
        self.replayed = (self.replayed[0] if self.replayed else self.sent + 1, last.offset)
        # A page may have been read a while ago. It is the last one only if the log ends there now, as far as the feed
        # knows, and if it reaches the promised offset. Say `recovered` only once, because the log may grow while the
        # frame is sent, and then another page follows.
        is_whole = last == self.feed.position and last.offset >= self._find_promised(marked)
        is_last = marked and not self._said_recovered and is_whole
        self._said_recovered = self._said_recovered or is_last
        return is_last

    async def _skip_purged_entries(self) -> None:
        """Move to the log's position after a purge between two pages."""
        position, asked_at = await self.feed.ask_position()
        if position is None or (position.offset == self.sent and position.epoch == self.feed.epoch):
            self.feed.correct(position or Position(self.feed.epoch, self.sent, ""), asked_at=asked_at)
            return
        if self.is_document:
            await self._send_snapshot("trimmed")
        else:
            self._send_gap("trimmed", position)

    def _send_gap(self, reason: str, at: Position) -> None:
        # In another history, nobody knows from which offset it differs.
        first = self.sent + 1 if reason in ("trimmed", "dropped") else None
        self.lost_range = (first, at.offset)
        self._connection.push(
            {
                "type": "gap",
                "log": self.log.name,
                "from": first,
                "to": at.offset,
                "reason": reason,
                "position": self.log.show_place(at),
            }
        )
        self.place = at

    async def _send_snapshot(self, reason: str) -> None:
        assert self.log.id is not None  # only documents have snapshots, and each is a row
        async with take_replay_turn(self._connection):
            load_raw = partial(bodies.load_raw, run=bridge().worker_for(self.log.id))
            position, name, data = await bridge().run_patiently(self.log.id, load_raw, settings().database, self.log.id)
            self._push_snapshot(position, name, data, str(reason))
        # The snapshot is newer than the feed's position, so the feed must be corrected.
        if position.epoch != self.feed.epoch:
            self.feed.correct(position)

    def _push_snapshot(self, position: Position, name: str, data: bytes, reason: str) -> None:
        head = {"type": "snapshot", "log": self.log.name, "position": position.as_json(), "reason": reason}
        url = self._connection.build_document_url(name) if len(data) > settings().max_frame_bytes else None
        if url is not None:
            self._connection.push({**head, "url": url})
        else:
            # Insert the stored bytes unchanged: to decode and encode 5 MB again would block all connections.
            self._connection.outlet.push(orjson.dumps(head)[:-1].decode() + ',"data":' + data.decode() + "}")
        self.place = position
        self._release_receipts()

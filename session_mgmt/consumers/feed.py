"""Live end of a log in this process: one position, one read and one encoding for all followers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from session_mgmt.actions import logs
from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.topics import judging
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.audiences import Audiences
from session_mgmt.consumers.orders import read_ephemeral
from session_mgmt.consumers.outlet import BACKLOG, Shared
from session_mgmt.consumers.pages import Pages, Shelf
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import TOPIC, Entry, build_entries_frame, split_by_bytes
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import is_dense

logger = logging.getLogger(__name__)

# Larger than every offset: a log has moved by an unknown distance.
FAR = 2**63


class Follower(Protocol):
    """Interface of a follower of a feed; with ``only`` it receives only matching entries."""

    only: Filter | None

    def deliver(self, feed: Feed, frame: Shared) -> None:
        """Receive a frame with the next entries; the position of ``feed`` is its last entry."""

    def deliver_ephemeral(self, frame: Shared) -> None:
        """Receive an ephemeral message, which is not stored."""

    def tell_place(self) -> None:
        """Report how far the log has come if no entry matched."""

    def handle_loss(self, feed: Feed, position: Position) -> None:
        """Continue at ``position``: the log has lost the entries between the last delivered one and this position."""


@dataclass(slots=True)
class Feed:
    """State of one feed: ``head`` is the offset of the newest delivered entry, ``row`` the place where the log is
    stored.
    """

    row: LogRow
    epoch: str
    head: int
    tag: str
    shelf: Shelf
    live: dict[Follower, None] = field(default_factory=dict)
    audiences: Audiences[Follower] = field(default_factory=Audiences)
    following: int = 0
    idle_since: float | None = None
    pages: Pages = field(init=False)
    # True if the application is asked about each entry. One value for all followers, because a declaration never
    # changes.
    is_judged: bool = field(init=False)
    _reading: asyncio.Task[None] | None = None
    _again: bool = False
    # Offset that the log had reached according to news that came while it had no followers.
    _unread_to: int = 0
    _place: Position | None = None
    _position: asyncio.Future[tuple[Position | None, int]] | None = None
    _asking: asyncio.Task[None] | None = None
    _ephemeral: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pages = Pages(self.row, self.shelf, self.append)
        self.is_judged = judging.find_judged(self.name) is not None

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def position(self) -> Position:
        """Position of the newest delivered entry."""
        # Shared by all followers, because to make it for each would cost a tenth of a delivery.
        known = self._place
        if known is None or known.offset != self.head or known.tag != self.tag or known.epoch != self.epoch:
            known = self._place = Position(self.epoch, self.head, self.tag)
        return known

    def append(self, entries: Sequence[Entry]) -> bool:
        """Deliver new entries; return False if entries before them are missing, which are then read."""
        # Entries come from the lane, from reads and from replays, so some were delivered already (promise T3).
        fresh = [entry for entry in entries if entry.offset > self.head]
        if not fresh:
            return True
        if fresh[0].offset != self.head + 1:
            self.catch_up()
            return False
        # A group may append more bytes than one frame should hold for a slow client.
        for part in split_by_bytes(fresh, settings().replay_page_bytes):
            # Set it before the delivery, because followers note the feed's position as their own.
            self.head, self.tag = part[-1].offset, part[-1].tag
            if self.live:
                frame = Shared(build_entries_frame(self.name, self.epoch, part))
                # Iterate over a copy, because a follower that is behind leaves the feed while it is served.
                for follower in tuple(self.live):
                    follower.deliver(self, frame)
            if self.audiences:
                for frame, followers in self.audiences.select(self.name, part, self.position):
                    for follower in followers:
                        follower.deliver(self, frame)
        return True

    def add_live(self, follower: Follower) -> None:
        """Serve a follower whose position is that of the feed."""
        if follower.only is None:
            self.live[follower] = None
        else:
            self.audiences.add(follower, follower.only, self.head)

    def remove_live(self, follower: Follower) -> None:
        """Stop serving a follower; do nothing if it is not served."""
        if follower.only is None:
            self.live.pop(follower, None)
        else:
            self.audiences.discard(follower, follower.only)

    def hand_on_ephemeral(self, payload: Any) -> None:
        """Deliver an ephemeral message with its data and this topic's own name, whatever else a doorbell contains."""
        if not (self.live or self.audiences) or not self.name.startswith(TOPIC):
            return
        data = read_ephemeral(payload)
        if data is not None:
            topic = self.name.removeprefix(TOPIC)
            message = {"type": "ephemeral", "topic": topic, "data": orjson.Fragment(data)}
            if not self._ephemeral:
                asyncio.get_running_loop().call_soon(self._deliver_ephemeral)
            self._ephemeral.append(orjson.dumps(message))

    def _deliver_ephemeral(self) -> None:
        """Deliver the messages of one turn of the loop, with one write per reader if they are not large."""
        messages, self._ephemeral = self._ephemeral, []
        while messages:
            count, size = 1, len(messages[0])
            while count < len(messages) and size + len(messages[count]) <= BACKLOG:
                size += len(messages[count])
                count += 1
            together, messages = messages[:count], messages[count:]
            frame = Shared(*together)
            for follower in tuple(self.live):
                follower.deliver_ephemeral(frame)
            if self.audiences:
                read = ((text, orjson.loads(text)["data"]) for text in together)
                for frame, followers in self.audiences.select_ephemeral(read):
                    for follower in followers:
                        follower.deliver_ephemeral(frame)

    def join(self, head: Position) -> None:
        """Count one more follower, which knows that the log is at ``head``."""
        if not self.following and head.offset > self.head:
            # Nobody followed the feed, so nobody expects these entries from it; clients that missed them replay them.
            self.head, self.tag = head.offset, head.tag
        self.following += 1
        self.idle_since = None
        unread_to, self._unread_to = self._unread_to, 0
        if unread_to > self.head:
            self.catch_up()

    def hear_of(self, head: int) -> None:
        """Note that the log has reached ``head``, or with 0 an unknown offset."""
        if head == 0 or head > self.head:
            self.catch_up(head or FAR)

    def catch_up(self, to: int = FAR) -> None:
        """Read new entries soon; several calls cause one read. Without followers, the next follower causes the read."""
        if not self.following:
            self._unread_to = max(self._unread_to, to)
            return
        if self._reading is not None:
            self._again = True
            return
        self._reading = asyncio.get_running_loop().create_task(self._read_new_entries(), name=f"read {self.row.key}")

    async def wait_for_read(self) -> None:
        """Wait until no read is running."""
        while self._reading is not None:
            await asyncio.wait([self._reading])

    async def _read_new_entries(self) -> None:
        try:
            while True:
                self._again = False
                entries = await bridge().read(logs.read_page, self.row, self.head, settings().replay_page)
                fresh = [entry for entry in entries if entry.offset > self.head]
                # Entries were purged before this process read them.
                if not is_dense((entry.offset for entry in fresh), after=self.head):
                    await self._jump_to_head()
                elif fresh:
                    self.append(fresh)
                # A doorbell that rang during the last read may be about an entry that the read did not see.
                elif not self._again:
                    return
        except SessionMgmtError as error:
            # The next doorbell or position check asks again.
            logger.warning("The log %s could not be read: %s", self.row.key, error)
        finally:
            self._reading = None

    async def _jump_to_head(self) -> None:
        """Move to the log's position and report it to all followers, because entries that were not read
        here are gone.
        """
        position, _ = await self.ask_position()
        if position is not None:
            self._start_anew(position)

    async def ask_position(self) -> tuple[Position | None, int]:
        """Read the log's present position, once for all callers of this moment; return also the head at the time of
        asking.

        A caller that comes while a read is running gets the answer of the next one, because an older answer may lack
        entries that were written since.
        """
        loop = asyncio.get_running_loop()
        if self._position is None:
            self._position = loop.create_future()
            if self._asking is None:
                self._asking = loop.create_task(self._answer_positions(), name=f"position {self.row.key}")
        # Others wait for the same answer, so a caller that gives up must not cancel it.
        return await asyncio.shield(self._position)

    async def _answer_positions(self) -> None:
        while (answer := self._position) is not None:
            self._position, asked_at = None, self.head
            try:
                answer.set_result((await bridge().read(logs.read_head, self.row), asked_at))
            except Exception as error:
                answer.set_exception(error)
                # The caller may no longer wait.
                answer.exception()
        self._asking = None

    def correct(self, position: Position, *, asked_at: int | None = None) -> None:
        """Compare the feed with the log's position in the database.

        A feed that is behind reads; another epoch or a smaller head means that history was lost. ``asked_at`` is the
        head when the database was asked: entries delivered since then are newer than the answer, not missing from it.
        """
        known = self.head if asked_at is None else asked_at
        if position.epoch != self.epoch or position.offset < known:
            self._start_anew(position)
        elif position.offset > self.head:
            self.catch_up(position.offset)
        # Same offset with another tag: a backup was restored, and others have written since then.
        elif position.offset == self.head and position.tag != self.tag:
            self._start_anew(position)

    def _start_anew(self, position: Position) -> None:
        """Move to another position of the log, or to another history; all earlier pages become invalid."""
        # First, because entries that a follower has passed are not lost.
        for follower in self.audiences.list_followers():
            follower.tell_place()
        self.epoch, self.head, self.tag = position.epoch, position.offset, position.tag
        self.pages.drop()
        # Iterate over a copy, because a follower leaves the feed during the call.
        for follower in (*self.live, *self.audiences.list_followers()):
            follower.handle_loss(self, position)

    def stop(self) -> None:
        """End the reads that are running."""
        self.pages.drop()
        if self._reading is not None:
            self._reading.cancel()

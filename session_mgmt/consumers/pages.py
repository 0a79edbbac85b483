"""Pages of a log, shared by all clients that replay it: each is read and encoded once, and kept for a moment.

A client whose position is inside a page gets the rest of the page. A page stays valid when the log grows, because it
grows only at its end, and when entries are purged, because the page still has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Any

import orjson

from session_mgmt.actions import logs
from session_mgmt.actions.logs import LogRow
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.outlet import Shared
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import (
    END,
    END_RECOVERED,
    STREAM_KEY,
    Entry,
    begin_entries_frame,
    build_range_end,
)
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import is_dense

# Pages that a thread reads in one call.
TOGETHER = 64
# Clients that lost their connections together come back within seconds; few come later.
KEEP_SECONDS = 2.0
MOST_OF_LOG = 16
# Limit for all logs of a process.
MOST_BYTES = 8 * 1024 * 1024
# Copies of the body: itself, and both frames as text and as sent bytes; and additional bytes for each entry.
COPIES, OVERHEAD = 5, 150
# Filters of a page whose results are kept, with one byte per entry.
MOST_FILTERS = 256


class Page:
    """Consecutive entries, with the frame that contains them."""

    __slots__ = ("_body", "_frames", "_head", "_starts", "_tags", "_wanted", "after", "last", "size")

    def __init__(self, name: str, after: Position, entries: Sequence[Entry]) -> None:
        encoded = [entry.as_json() for entry in entries]
        self.after, self.last = after, Position(after.epoch, entries[-1].offset, entries[-1].tag)
        self._head, self._body = begin_entries_frame(name, after.epoch), b",".join(encoded)
        self._tags = [entry.tag for entry in entries]
        self._starts, start = [], 0
        for text in encoded:
            self._starts.append(start)
            start += len(text) + 1
        # At most two, because frames of one page differ only in `recovered`.
        self._frames: dict[bytes, Shared] = {}
        self._wanted: dict[Filter, bytes] = {}
        self.size = COPIES * len(self._body) + OVERHEAD * len(entries)

    def continues(self, place: Position) -> bool:
        """Return True if this page has the entries after a position; the position's tag must prove it."""
        at = place.offset - self.after.offset
        if not 0 <= at < len(self._tags) or place.epoch != self.after.epoch:
            return False
        # The offset is not enough, because after a restored backup it may belong to another entry.
        return place.tag == (self._tags[at - 1] if at else self.after.tag)

    def list_entries(self, place: Position) -> Iterator[bytes]:
        """Return the entries after a position in this page, each in the form that clients receive."""
        ends = [start - 1 for start in self._starts[1:]] + [len(self._body)]
        for at in range(place.offset - self.after.offset, len(self._starts)):
            yield self._body[self._starts[at] : ends[at]]

    def build_frame(self, place: Position, *, recovered: bool) -> Shared:
        """Return the frame for a client at ``place``; all clients before the page receive the same frame."""
        end = END_RECOVERED if recovered else END
        at = place.offset - self.after.offset
        if at:
            return Shared(self._head + self._body[self._starts[at] :] + end)
        if end not in self._frames:
            self._frames[end] = Shared(self._head + self._body + end)
        return self._frames[end]

    def build_filtered_frame(self, place: Position, only: Filter, *, recovered: bool) -> Shared:
        """Return the frame for a client at ``place`` with a filter; it may contain no entries."""
        if (wanted := self._wanted.get(only)) is None:
            if len(self._wanted) >= MOST_FILTERS:
                self._wanted.clear()
            wanted = bytes(only.matches(orjson.loads(text)[2]) for text in self.list_entries(self.after))
            self._wanted[only] = wanted
        chosen = compress(self.list_entries(place), wanted[place.offset - self.after.offset :])
        end = build_range_end(place.offset, self.last, recovered=recovered)
        return Shared(self._head + b",".join(chosen) + end)


class Reads:
    """Reads of pages of many logs. All reads of one turn of the loop run together in one call to a thread."""

    def __init__(self) -> None:
        self._asked: list[tuple[LogRow, int, asyncio.Future[list[Entry]]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def read(self, row: LogRow, after: int) -> asyncio.Future[list[Entry]]:
        """Read the page of a log that comes after an offset."""
        loop = asyncio.get_running_loop()
        # Only for the first request in this turn of the loop.
        if not self._asked:
            loop.call_soon(self._start)
        answer: asyncio.Future[list[Entry]] = loop.create_future()
        self._asked.append((row, after, answer))
        return answer

    def _start(self) -> None:
        asked, self._asked = self._asked, []
        for at in range(0, len(asked), TOGETHER):
            task = asyncio.get_running_loop().create_task(self._read(asked[at : at + TOGETHER]), name="read pages")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self, asked: list[tuple[LogRow, int, asyncio.Future[list[Entry]]]]) -> None:
        found: Sequence[list[Entry] | Exception]
        try:
            places = [(row, after) for row, after, _ in asked]
            found = await bridge().read(logs.read_pages, places, settings().replay_page)
        except Exception as error:
            found = [error] * len(asked)
        for (_, _, answer), page in zip(asked, found, strict=True):
            # The caller may have given up, because the log has a new history.
            if answer.cancelled():
                continue
            if isinstance(page, Exception):
                answer.set_exception(page)
            else:
                answer.set_result(page)


class Shelf:
    """Pages that a process keeps, oldest first; their bytes together, and the time of each, are limited."""

    def __init__(self, clock: Callable[[], float], call_later: Callable[[float, Callable[[], None]], Any]) -> None:
        self._clock, self._call_later = clock, call_later
        self.reads = Reads()
        self._kept: dict[Page, tuple[list[Page], float]] = {}
        self._waits = False
        self.bytes = 0

    def keep(self, page: Page, pages: list[Page]) -> None:
        """Add a page at the end of a log's ``pages``, and remove the oldest ones if there is no room."""
        # Such a page would replace all others, and then be removed itself.
        if page.size > MOST_BYTES:
            return
        while len(pages) >= MOST_OF_LOG:
            self.drop(pages[0])
        while self.bytes + page.size > MOST_BYTES:
            self.drop(next(iter(self._kept)))
        pages.append(page)
        self._kept[page] = (pages, self._clock() + KEEP_SECONDS)
        self.bytes += page.size
        self._wait()

    def drop(self, page: Page) -> None:
        """Forget a page; requests that still use it keep it in memory."""
        pages, _ = self._kept.pop(page)
        pages.remove(page)
        self.bytes -= page.size

    def _wait(self) -> None:
        if self._kept and not self._waits:
            self._waits = True
            _, until = next(iter(self._kept.values()))
            self._call_later(max(until - self._clock(), 0), self._drop_old)

    def _drop_old(self) -> None:
        self._waits = False
        now = self._clock()
        for page in [page for page, (_, until) in self._kept.items() if until <= now]:
            self.drop(page)
        self._wait()


class Pages:
    """Pages of one log. Only one read runs at a time, for all callers; a caller that gives up does not cancel it."""

    def __init__(self, row: LogRow, shelf: Shelf, hand_on: Callable[[Sequence[Entry]], object]) -> None:
        self._row, self._shelf, self._hand_on = row, shelf, hand_on
        self._kept: list[Page] = []
        # In the order of the requests; all clients at one position share one answer.
        self._asked: dict[Position, asyncio.Future[Page | None]] = {}
        self._passed: Position | None = None
        self._task: asyncio.Task[None] | None = None

    def find(self, place: Position) -> Page | None:
        """Return an existing page that continues a position."""
        return next((page for page in self._kept if page.continues(place)), None)

    async def read(self, place: Position) -> Page | None:
        """Return the page that continues a position; None if the log has none, or its history was lost meanwhile."""
        # Another client may have asked for it meanwhile, and then no wait is needed.
        page = self.find(place)
        if page is not None:
            return page
        loop = asyncio.get_running_loop()
        answer = self._asked.get(place)
        if answer is None:
            answer = self._asked[place] = loop.create_future()
        if self._task is None:
            # Begins in the next turn of the loop, after all requests of this turn.
            self._task = loop.create_task(self._read_asked(), name=f"pages {self._row.key}")
        return await asyncio.shield(answer)

    def drop(self) -> None:
        """Forget all pages, also the one being read, because the log has another history now."""
        for page in tuple(self._kept):
            self._shelf.drop(page)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for place in tuple(self._asked):
            self._answer(place, None)

    async def _read_asked(self) -> None:
        while self._asked:
            place = self._choose_place()
            try:
                await self._read_page(place)
            except Exception as error:
                self._fail(place, error)
        self._task = None

    async def _read_page(self, place: Position) -> None:
        entries = await self._shelf.reads.read(self._row, place.offset)
        if self.take(place, entries) is None:
            self._answer(place, None)

    def take(self, place: Position, entries: Sequence[Entry]) -> Page | None:
        """Make the page after a place of entries that were read, and hand them on; ``None`` if it is not whole."""
        # A hole means that entries were purged before they were read; the caller finds out how many.
        if not entries or not is_dense((entry.offset for entry in entries), after=place.offset):
            return None
        page = Page(self._row.name, place, entries)
        self._take_page(page, entries)
        return page

    def _choose_place(self) -> Position:
        """Return the position of the caller that waits longest, or an earlier one from which a page may reach it.

        If entries are large, the page may not reach it; but no caller is passed over twice.
        """
        longest = next(iter(self._asked))
        if longest == self._passed:
            return longest
        self._passed = longest
        reach = longest.offset - settings().replay_page
        near = [place for place in self._asked if reach < place.offset <= longest.offset]
        return min(near, key=lambda place: place.offset)

    def _take_page(self, page: Page, entries: Sequence[Entry]) -> None:
        if self._row.key.startswith(STREAM_KEY):
            # Only topics have many readers.
            self._shelf.keep(page, self._kept)
        # The feed may be behind this page, so deliver the entries to its live followers too.
        self._hand_on(entries)
        for place in [place for place in self._asked if page.continues(place)]:
            self._answer(place, page)

    def _answer(self, place: Position, page: Page | None) -> None:
        self._asked.pop(place).set_result(page)

    def _fail(self, place: Position, error: Exception) -> None:
        answer = self._asked.pop(place, None)
        if answer is not None:
            answer.set_exception(error)
            # The caller may no longer wait.
            answer.exception()

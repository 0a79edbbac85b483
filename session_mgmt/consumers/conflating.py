"""Newest entry of each key in a range of a log, for a reader that is behind. Entries in between are left out, and the
frame names the range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from session_mgmt.conf import settings
from session_mgmt.consumers.outlet import Shared
from session_mgmt.consumers.pages import Page
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.logs import END, begin_entries_frame, build_range_end
from session_mgmt.protocol.position import Position

if TYPE_CHECKING:
    from session_mgmt.consumers.feed import Feed


class Conflation:
    """Entries after a position, only the newest of each key. An entry without the key replaces no other entry.

    With a filter, only the entries that match it.
    """

    def __init__(self, name: str, member: str, after: Position, only: Filter | None = None) -> None:
        self._name, self._member, self._only = name, member, only
        self.after = self.last = after
        self._wanted = 0
        # Ordered by offset: a key that occurs again moves to the end.
        self._newest: dict[bytes | int, bytes] = {}
        self.size = 0

    @property
    def is_empty(self) -> bool:
        return self.last.offset == self.after.offset

    def add(self, page: Page) -> None:
        """Add the entries of a page that continues the last place."""
        for text in page.list_entries(self.last):
            offset, _, body = orjson.loads(text)
            if self._only is not None and not self._only.matches(body):
                continue
            self._wanted += 1
            key = _find_key(body, self._member)
            # Keys are bytes, so an offset cannot equal a key.
            kept = offset if key is None else key
            self.size += len(text) - len(self._newest.pop(kept, b""))
            self._newest[kept] = text
        self.last = page.last

    def build_frame(self) -> Shared:
        """Return the frame: an ordinary one if nothing was left out."""
        is_conflated, is_whole = len(self._newest) < self._wanted, self._only is None
        end = (
            END
            if is_whole and not is_conflated
            else build_range_end(self.after.offset, self.last, conflated=is_conflated)
        )
        return Shared(begin_entries_frame(self._name, self.last.epoch) + b",".join(self._newest.values()) + end)


async def conflate(feed: Feed, member: str, after: Position, only: Filter | None = None) -> Conflation:
    """Read from a position up to the feed's position, or as far as one frame reaches."""
    found, until = Conflation(feed.name, member, after, only), feed.head
    while found.last.offset < until and found.size < settings().replay_page_bytes:
        page = await feed.pages.read(found.last)
        if page is None:
            break
        found.add(page)
    return found


def _find_key(body: Any, member: str) -> bytes | None:
    if not isinstance(body, dict) or member not in body:
        return None
    # As text, because in Python 1 and true would be the same key.
    return orjson.dumps(body[member], option=orjson.OPT_SORT_KEYS)

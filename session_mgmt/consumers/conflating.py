"""Newest entry of each key in a range of a log, for a reader that is behind: what came in between is left out, and the
frame says which range it stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from session_mgmt.conf import settings
from session_mgmt.consumers.outlet import Shared
from session_mgmt.consumers.pages import Page
from session_mgmt.protocol.logs import END, begin_entries_frame
from session_mgmt.protocol.position import Position

if TYPE_CHECKING:
    from session_mgmt.consumers.feed import Feed


class Conflation:
    """Entries after a place, of each key the newest. An entry without the key replaces none and is replaced by none."""

    def __init__(self, name: str, member: str, after: Position) -> None:
        self._name, self._member = name, member
        self.after = self.last = after
        # In the order of offsets, because a key that comes again moves to the end.
        self._newest: dict[bytes | int, bytes] = {}
        self.size = 0

    @property
    def is_empty(self) -> bool:
        return self.last.offset == self.after.offset

    def add(self, page: Page) -> None:
        """Add the entries of a page that continues the last place."""
        for text in page.list_entries(self.last):
            offset, _, body = orjson.loads(text)
            key = _find_key(body, self._member)
            # No key is a number.
            kept = offset if key is None else key
            self.size += len(text) - len(self._newest.pop(kept, b""))
            self._newest[kept] = text
        self.last = page.last

    def build_frame(self) -> Shared:
        """Return the frame: an ordinary one if nothing was left out."""
        covered = self.last.offset - self.after.offset
        end = END if len(self._newest) == covered else _build_end(self.after.offset, self.last)
        return Shared(begin_entries_frame(self._name, self.last.epoch) + b",".join(self._newest.values()) + end)


async def conflate(feed: Feed, member: str, after: Position) -> Conflation:
    """Read from a place to where the feed stands now, or as far as one frame reaches."""
    found, until = Conflation(feed.name, member, after), feed.head
    while found.last.offset < until and found.size < settings().replay_page_bytes:
        page = await feed.pages.read(found.last)
        if page is None:
            break
        found.add(page)
    return found


def _find_key(body: Any, member: str) -> bytes | None:
    if not isinstance(body, dict) or member not in body:
        return None
    # As text: to Python, 1 and true are one key.
    return orjson.dumps(body[member], option=orjson.OPT_SORT_KEYS)


def _build_end(after: int, last: Position) -> bytes:
    return b'],"prev":%d,"position":%s,"conflated":true}' % (after, orjson.dumps(last.as_json()))

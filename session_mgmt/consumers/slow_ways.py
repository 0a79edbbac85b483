"""Ways to go on for a reader that is behind: the way it asked for, if its topic allows it, else the
topic's first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from session_mgmt.actions import logs
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.protocol.logs import TOPIC
from session_mgmt.protocol.position import Position
from session_mgmt.registry import REPLAY, Topic, registry

if TYPE_CHECKING:
    from session_mgmt.consumers.feed import Feed


def find_way(name: str, wishes: Mapping[str, Any]) -> str:
    """Return the way to go on for a reader of this log that is behind; ``wishes`` are ways by log."""
    topic = _find_topic(name)
    return REPLAY if topic is None else wishes.get(name) or topic.slow[0]


def find_latest_by(name: str) -> str | None:
    """Return the member of a topic's publications that is their key."""
    topic = _find_topic(name)
    return None if topic is None else topic.latest_by


async def find_window(feed: Feed, place: Position, head: int) -> Position | None:
    """Return the position before a topic's newest page; None if all entries after ``place`` fit into one page."""
    page = await feed.pages.read(place)
    if page is None or page.last.offset >= max(feed.head, head):
        return None
    # One entry more than in a page, because the page begins after it.
    newest = await bridge().read(logs.read_newest, feed.row, settings().replay_page + 1)
    if not newest or newest[0].offset <= place.offset or place.epoch != feed.epoch:
        return None
    return Position(feed.epoch, newest[0].offset, newest[0].tag)


def _find_topic(name: str) -> Topic | None:
    found = registry.find_topic(name.removeprefix(TOPIC)) if name.startswith(TOPIC) else None
    return None if found is None else found[0]

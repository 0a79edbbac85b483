"""Check the permission for single publications: if a topic declares ``allow_entry``, that function is called for each
reader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Final, NamedTuple

import orjson

from session_mgmt.actions.topics.history import PastPage, read_page_before
from session_mgmt.exceptions import TemporaryError
from session_mgmt.models import ClientSession
from session_mgmt.protocol.filters import Filter
from session_mgmt.protocol.frames import HISTORY_LIMIT
from session_mgmt.protocol.logs import TOPIC
from session_mgmt.protocol.position import Position
from session_mgmt.registry import Topic, TopicEntry, registry

logger = logging.getLogger(__name__)

# If the function is slow, return a part of the page, so that the reader makes progress.
SLICE_SECONDS: Final = 0.5
# Pages of a topic's history that are searched for entries that a reader may see.
MOST_PAGES: Final = 10


class Judged(NamedTuple):
    """Encoded entries that a reader may see, out of all entries up to ``offset``, whose tag is ``tag``."""

    entries: list[bytes]
    offset: int
    tag: str


def find_judged(name: str) -> Topic | None:
    """Return the declaration of a log's topic if it checks each entry, else ``None``."""
    found = registry.find_topic(name.removeprefix(TOPIC)) if name.startswith(TOPIC) else None
    return None if found is None or found[0].allow_entry is None else found[0]


def judge_entries(session: ClientSession, topic: str, only: Filter | None, entries: Sequence[bytes]) -> Judged:
    """Return the entries that the reader may see, as they are sent to clients. At least one entry is checked, and then
    more for at most ``SLICE_SECONDS``.

    This runs the project's code: call it without any lock or transaction. Raises ``TemporaryError`` if the function
    cannot answer now.
    """
    kept: list[bytes] = []
    offset, tag, until = 0, "", monotonic() + SLICE_SECONDS
    for text in entries:
        offset, tag, data = orjson.loads(text)
        if _may_have(session, topic, only, data, offset):
            kept.append(text)
        if monotonic() >= until:
            break
    return Judged(kept, offset, tag)


def judge_messages(session: ClientSession, topic: str, only: Filter | None, messages: Iterable[bytes]) -> list[bytes]:
    """Return the ephemeral frames that the reader may see. This runs the project's code, as ``judge_entries`` does."""
    return [text for text in messages if _may_have(session, topic, only, orjson.loads(text)["data"], None)]


def read_allowed_page(using: str, session: ClientSession, topic: str, before: Position | None, limit: int) -> PastPage:
    """Read a page of the history, and go further back, up to ``MOST_PAGES`` pages, if the reader may see nothing on it.

    This runs the project's code. Raises the errors of ``read_page_before`` and ``judge_entries``.
    """
    page = read_page_before(using, topic, before, limit)
    for _ in range(MOST_PAGES):
        rows = [row for row in page.rows if _may_have(session, topic, None, orjson.loads(row[2]), row[0])]
        if rows or not page.more:
            return replace(page, rows=rows[-limit:], more=page.more or len(rows) > limit)
        offset, tag, *_ = page.rows[0]
        page = read_page_before(using, topic, Position(page.epoch, offset, tag), HISTORY_LIMIT)
    # The page is empty, so it names no entry before which a next page could end.
    return PastPage(page.epoch, [], more=False)


def _may_have(session: ClientSession, topic: str, only: Filter | None, data: Any, offset: int | None) -> bool:
    """Return whether a reader may see a publication. If the project's function fails, the answer is no."""
    if only is not None and not only.matches(data):
        return False
    # Look the declaration up each time: if it was removed, nothing is allowed.
    declared = find_judged(TOPIC + topic)
    if declared is None:
        return False
    try:
        return declared.allows_entry(session, TopicEntry(topic, data, offset))
    except TemporaryError:
        raise
    except Exception as error:
        _report_once(declared, error)
        return False


def _report_once(declared: Topic, error: Exception) -> None:
    """Log each kind of fault of the project's function once, because the function is called for every entry."""
    kind = f"allow_entry: {type(error).__name__}"
    if kind not in declared.reported:
        declared.reported.add(kind)
        pattern = declared.pattern.text
        logger.error("allow_entry of topic %r fails: its readers are not given the entry", pattern, exc_info=error)

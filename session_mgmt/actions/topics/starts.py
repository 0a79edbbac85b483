"""Starts of readers that name a moment, or a number of entries, instead of a position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from session_mgmt.actions.topics.beginnings import make_beginning
from session_mgmt.actions.topics.reading import read_tags
from session_mgmt.actions.topics.retention import read_limits
from session_mgmt.conf import settings
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import PUBLICATION, STREAM
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.since import Since

# A publication has the time of its transaction, but gets its offset later, when the stream is locked. Therefore it can
# come after a younger one. They differ by no more than the time for which a transaction waits for locks.
MOST_CROSSING = timedelta(minutes=1)
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC) + MOST_CROSSING
# The last entry that is certainly older is searched backwards from the newest entry, so the cost is proportional to the
# entries that will be replayed. This needs no index by time, which each publication would have to update.
_FIND_FIRST = f"""
SELECT wanted.number,
  (SELECT MIN(p."offset") FROM {PUBLICATION} p WHERE p.stream_id = wanted.stream AND p.at >= wanted.since
    AND p."offset" > COALESCE(
      (SELECT q."offset" FROM {PUBLICATION} q WHERE q.stream_id = wanted.stream AND q."offset" > wanted.low
        AND q.at < wanted.early ORDER BY q."offset" DESC LIMIT 1), wanted.low))
FROM wanted WHERE wanted.number IS NOT NULL
"""
_KINDS = {"number": "bigint", "stream": "bigint", "low": "bigint", "since": "timestamptz", "early": "timestamptz"}


class _Stream(NamedTuple):
    created_at: datetime
    topic: str
    id: int
    epoch: str
    head: int
    head_tag: str
    oldest: int
    oldest_tag: str


@dataclass(frozen=True, slots=True)
class Start:
    """Position after which a reader gets all entries. ``is_complete`` is false if earlier entries that it asked for are
    gone or too many.
    """

    place: Position
    is_complete: bool = True


def find_starts(
    statements: Statements, asked: Iterable[tuple[str, Since]], now: datetime
) -> dict[tuple[str, Since], Start]:
    """Return where each reader starts, with three statements for any number of them: ``last`` entries before the head,
    or directly before the first entry that is not older than ``time``.
    """
    wanted = list(dict.fromkeys(asked))
    streams = _load_streams(statements, {topic for topic, _ in wanted})
    firsts = _find_firsts(statements, [ask for ask in wanted if ask[0] in streams and ask[1].time is not None], streams)
    found: dict[tuple[str, Since], Start] = {}
    offsets: dict[tuple[str, Since], tuple[int, bool]] = {}
    for topic, since in wanted:
        stream = streams.get(topic)
        if stream is None:
            found[topic, since] = Start(make_beginning(topic), since.time is None or _keeps(topic, since.time, now))
        elif since.last is not None:
            offsets[topic, since] = max(stream.head - since.last, stream.oldest - 1, _find_lowest(stream)), True
        else:
            offsets[topic, since] = _judge_time(stream, since, firsts[topic, since], now)
    places = {
        (streams[topic].id, offset)
        for (topic, _), (offset, _) in offsets.items()
        if streams[topic].oldest <= offset < streams[topic].head
    }
    tags = read_tags(statements, places)
    for (topic, since), (offset, is_complete) in offsets.items():
        found[topic, since] = Start(_make_place(streams[topic], offset, tags), is_complete)
    return found


def _load_streams(statements: Statements, topics: set[str]) -> dict[str, _Stream]:
    columns = f"{statements.as_utc('created_at')}, topic, id, epoch, head, head_tag, oldest, oldest_tag"
    rows = statements.select_rows(columns, STREAM, topics, key="topic")
    return {row[1]: _Stream(statements.as_moment(row[0]), *row[1:]) for row in rows}


def _find_lowest(stream: _Stream) -> int:
    """Return the lowest offset from which all entries may be replayed."""
    return stream.head - settings().replay_most


def _find_firsts(
    statements: Statements, asked: list[tuple[str, Since]], streams: dict[str, _Stream]
) -> dict[tuple[str, Since], int | None]:
    """Return for each request with a time the first entry that is not older, among the entries that may be replayed."""
    rows = []
    for number, (topic, since) in enumerate(asked):
        assert since.time is not None
        stream, time = streams[topic], max(since.time, _EARLIEST)
        # Begin one entry lower: whether that entry is older decides whether anything is left out.
        low = max(stream.oldest - 1, _find_lowest(stream) - 1)
        rows.append((number, stream.id, low, statements.moment(time), statements.moment(time - MOST_CROSSING)))
    return {asked[number]: first for number, first in statements.select_wanted(_FIND_FIRST, _KINDS, rows)}


def _judge_time(stream: _Stream, since: Since, first: int | None, now: datetime) -> tuple[int, bool]:
    """Return the offset directly before the first requested entry, and whether all requested entries are still
    there.
    """
    assert since.time is not None
    offset = stream.head if first is None else first - 1
    if offset < _find_lowest(stream):
        return _find_lowest(stream), False
    # If an older entry is stored, all requested entries are. If not, none was lost if no entry was ever removed.
    was_trimmed = stream.oldest > 1 or not (stream.created_at <= since.time or _keeps(stream.topic, since.time, now))
    return offset, offset >= stream.oldest or not was_trimmed


def _keeps(topic: str, time: datetime, now: datetime) -> bool:
    """Return whether a topic keeps its entries so long that no stream of it can have ended since a moment."""
    return time >= now - read_limits(topic)[0]


def _make_place(stream: _Stream, offset: int, tags: dict[tuple[int, int], str]) -> Position:
    if offset == stream.head:
        return Position(stream.epoch, offset, stream.head_tag)
    if offset < stream.oldest:
        return Position(stream.epoch, offset, stream.oldest_tag)
    # Without a tag, the entry was trimmed a moment ago, and the verdict on this position will say so.
    return Position(stream.epoch, offset, tags.get((stream.id, offset), ""))

"""Replays of one log by many: each page is read once and encoded once, and each follower gets all that it missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from session_mgmt.actions import logs
from session_mgmt.actions.logs import LogRow
from session_mgmt.bridge import bridge
from session_mgmt.consumers.pages import KEEP_SECONDS
from session_mgmt.exceptions import Unavailable
from session_mgmt.models import Publication, Stream
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.logs import stream_key
from session_mgmt.protocol.position import Position
from session_mgmt.writes import verbs
from tests.consumers.crowd import KB, Room, Tab, look

pytestmark = pytest.mark.django_db(transaction=True)
CROWD = 1000
MANY = 300


class Reads:
    """Reads of pages: the offsets after which they began; each waits while the gate is closed."""

    def __init__(self) -> None:
        self.real = logs.read_page
        self.after: list[int] = []
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def __call__(self, row: LogRow, after: int, limit: int) -> Any:
        self.after.append(after)
        page = self.real(row, after, limit)
        self.begun.set()
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return page


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    made = Reads()
    monkeypatch.setattr(logs, "read_page", made)
    yield made
    made.gate.set()


async def test_a_crowd_at_one_place_is_served_from_one_read(room: Room, reads: Reads) -> None:
    await room.fill(50)
    tabs = await room.arrive([0], count=CROWD)
    assert reads.after == [0]
    assert {tuple(tab.offsets) for tab in tabs} == {tuple(range(1, 51))}
    assert all(tab.recovered == [True] for tab in tabs)
    assert len(room.feed.live) == CROWD


async def test_a_crowd_at_many_places_within_a_page_is_served_from_one_read(room: Room, reads: Reads) -> None:
    await room.fill(50)
    places = [49, 3, 17, 3, 0, 31]
    tabs = await room.arrive(places, count=CROWD)
    assert reads.after == [0]
    for number, tab in enumerate(tabs):
        assert tab.offsets == list(range(places[number % len(places)] + 1, 51))
        assert tab.recovered == [True]


async def test_a_crowd_that_missed_several_pages_reads_each_of_them_once(
    room: Room, reads: Reads, settings: Any
) -> None:
    settings.SESSION_MGMT = {"replay_page": 20}
    await room.fill(50)
    tabs = await room.arrive([0, 5], count=CROWD)
    assert reads.after == [0, 20, 40]
    assert {tuple(tab.offsets) for tab in tabs} == {tuple(range(1, 51)), tuple(range(6, 51))}
    assert {tuple(tab.recovered) for tab in tabs} == {(False, False, True)}


async def test_who_comes_a_little_later_needs_neither_a_read_nor_a_task(room: Room, reads: Reads) -> None:
    await room.fill(10)
    await room.arrive([0], count=2)
    room.clock.pass_time(KEEP_SECONDS / 2)
    (tab,) = await room.come_back([4], count=1)
    assert room.replays == [None]
    assert (tab.offsets, tab.recovered) == (list(range(5, 11)), [True])
    (there,) = await room.come_back([10], count=1)
    assert (room.replays, there.frames) == ([None], [])
    assert reads.after == [0]


async def test_pages_go_after_their_time(room: Room, reads: Reads) -> None:
    await room.fill(10)
    await room.arrive([0], count=2)
    assert room.serving._shelf.bytes > 0
    room.clock.pass_time(KEEP_SECONDS)
    assert (room.serving._shelf.bytes, room.feed.pages._kept) == (0, [])
    await room.arrive([0], count=1)
    assert reads.after == [0, 0]


async def test_recovered_is_said_of_the_page_that_ends_where_the_log_ends_now(room: Room, reads: Reads) -> None:
    await room.fill(10)
    await room.arrive([0], count=1)
    await room.fill(5)
    found = await bridge().read(look, [0])
    room.feed.append(await bridge().read(reads.real, room.feed.row, 10, 5))
    tab = Tab()
    replay = room.follow(tab, found[0])
    assert replay is not None
    await replay
    assert (tab.offsets, tab.recovered) == (list(range(1, 16)), [False, True])
    assert reads.after == [0, 10]


async def test_recovered_is_not_said_before_all_that_the_verdict_promised(room: Room, reads: Reads) -> None:
    """The feed has not heard yet of what was committed before the verdict, and the page was read before that."""
    await room.fill(10)
    await room.arrive([0], count=1)
    await room.fill(5)
    found = await bridge().read(look, [0])
    assert room.feed.head == 10
    tab = Tab()
    replay = room.follow(tab, found[0])
    assert replay is not None
    await replay
    assert (tab.offsets, tab.recovered) == (list(range(1, 16)), [False, True])
    assert reads.after == [0, 10]


async def test_whoever_leaves_takes_nobody_along(room: Room, reads: Reads, caplog: pytest.LogCaptureFixture) -> None:
    await room.fill(10)
    reads.gate.clear()
    tabs = await room.come_back([0], count=MANY)
    await asyncio.to_thread(reads.begun.wait, 10)
    for following in room.followings[: MANY // 2]:
        following.stop()
    reads.gate.set()
    await asyncio.gather(*filter(None, room.replays), return_exceptions=True)
    assert {tuple(tab.offsets) for tab in tabs[: MANY // 2]} == {()}
    assert {tuple(tab.offsets) for tab in tabs[MANY // 2 :]} == {tuple(range(1, 11))}
    assert reads.after == [0]
    assert caplog.records == []


async def test_a_crowd_that_has_left_altogether_leaves_nothing_behind(
    room: Room, reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    await room.fill(10)
    reads.gate.clear()
    await room.come_back([0, 5], count=10)
    await asyncio.to_thread(reads.begun.wait, 10)
    for following in room.followings:
        following.stop()
    reads.error = RuntimeError("nobody is there to be told")
    reads.gate.set()
    await asyncio.gather(*filter(None, room.replays), return_exceptions=True)
    reads.error = None
    (tab,) = await room.arrive([0], count=1)
    assert tab.offsets == list(range(1, 11))
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_a_slow_reader_gets_one_page_at_a_time_and_holds_up_nobody(
    room: Room, reads: Reads, settings: Any
) -> None:
    settings.SESSION_MGMT = {"replay_page": 10, "replay_page_bytes": 100 * KB}
    await room.fill(100, size=10 * KB)
    tabs = await room.come_back([0], count=20)
    slow, fast = tabs[0], tabs[1:]
    resume = slow.stop_reading()
    await asyncio.gather(*filter(None, room.replays[1:]))
    assert {tuple(tab.offsets) for tab in fast} == {tuple(range(1, 101))}
    assert slow.outlet._queued <= 2 * 110 * KB
    # Live entries do not pile up for it either.
    await room.fill(1)
    room.feed.append(await bridge().read(reads.real, room.feed.row, 100, 5))
    assert slow.outlet._queued <= 2 * 110 * KB
    resume()
    assert room.replays[0] is not None
    await room.replays[0]
    await slow.outlet.wait_until_sent()
    assert slow.offsets == list(range(1, 102))
    assert [offset for tab in fast for offset in tab.offsets[-1:]] == [101] * 19


async def test_a_purge_between_two_pages_is_told_to_everybody(room: Room, reads: Reads, settings: Any) -> None:
    settings.SESSION_MGMT = {"replay_page": 20}
    await room.fill(60)
    reads.gate.clear()
    tabs = await room.come_back([0, 7], count=MANY)
    await asyncio.to_thread(reads.begun.wait, 10)
    await bridge().call(_purge, 41)
    reads.gate.set()
    await room.settle()
    for tab in tabs:
        assert tab.offsets[-1] == 20 and tab.gaps == [(21, 60, "trimmed")]
        assert tab.recovered == [False]
    assert len(room.feed.live) == MANY


def _purge(oldest: int) -> None:
    before = Publication.objects.get(offset=oldest - 1)
    Publication.objects.filter(offset__lt=oldest).delete()
    Stream.objects.update(oldest=oldest, oldest_tag=before.tag)


async def test_a_restored_backup_in_the_middle_is_told_and_no_page_from_before_is_given(
    room: Room, reads: Reads, settings: Any
) -> None:
    settings.SESSION_MGMT = {"replay_page": 20}
    await room.fill(60)
    early = await room.arrive([40], count=1)
    assert early[0].offsets == list(range(41, 61))
    reads.gate.clear()
    reads.begun.clear()
    tabs = await room.come_back([0], count=MANY)
    await asyncio.to_thread(reads.begun.wait, 10)
    restored = await bridge().call(_restore, 5)
    room.feed.correct(restored)
    assert room.serving._shelf.bytes == 0
    reads.gate.set()
    await room.settle()
    for tab in tabs:
        assert (tab.offsets, tab.recovered, tab.gaps) == ([], [], [(None, 5, "history_lost")])
    assert early[0].gaps == [(None, 5, "history_lost")]
    assert room.serving._shelf.bytes == 0, "the page was read before the restore"
    (tab,) = await room.arrive([3], count=1)
    assert (tab.offsets, tab.recovered) == ([4, 5], [True])


def _restore(head: int) -> Position:
    Publication.objects.filter(offset__gt=head).delete()
    Stream.objects.update(head=head, head_tag=Publication.objects.get(offset=head).tag, epoch="restored")
    stream = Stream.objects.get()
    return Position(stream.epoch, stream.head, stream.head_tag)


async def test_large_entries_let_nobody_starve(room: Room, reads: Reads, settings: Any) -> None:
    settings.SESSION_MGMT = {"replay_page_bytes": 1}
    await room.fill(12)
    tabs = await room.arrive([11, 0, 5, 8], count=40)
    assert {tuple(tab.offsets) for tab in tabs} == {tuple(range(at + 1, 13)) for at in (0, 5, 8, 11)}
    assert len(reads.after) == len(set(reads.after)), "each page was read once"


async def test_whoever_waits_longest_is_passed_over_once(room: Room, reads: Reads, settings: Any) -> None:
    settings.SESSION_MGMT = {"replay_page_bytes": 1}
    await room.fill(12)
    await room.arrive([11, 0, 5, 8], count=4)
    assert reads.after[:2] == [0, 11]


async def test_a_read_that_fails_ends_those_who_waited_for_it_and_nobody_later(room: Room, reads: Reads) -> None:
    await room.fill(10)
    reads.error = Unavailable()
    tabs = await room.arrive([0], count=5)
    assert [tab.code for tab in tabs] == [Close.INSUFFICIENT_STATE] * 5
    assert reads.after == [0]
    reads.error = None
    (tab,) = await room.arrive([0], count=1)
    assert (tab.code, tab.offsets) == (None, list(range(1, 11)))


async def test_logs_that_are_read_together_fail_alone(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    real, broken, together = logs.read_page, set[str](), list[int]()
    read_pages = logs.read_pages

    def read_page(row: LogRow, after: int, limit: int) -> Any:
        if row.key in broken:
            raise ValueError("damaged")
        return real(row, after, limit)

    def count(asked: Any, limit: int) -> Any:
        together.append(len(asked))
        return read_pages(asked, limit)

    monkeypatch.setattr(logs, "read_page", read_page)
    monkeypatch.setattr(logs, "read_pages", count)
    await bridge().read(lambda: [verbs.publish(f"room:{number}", 1) for number in range(20)])
    rows = await bridge().read(lambda: list(Stream.objects.order_by("pk").values_list("topic", "epoch")))
    feeds = [
        room.serving.follow_log(LogRow(stream_key(topic), f"topic:{topic}"), Position(epoch, 0, ""))
        for topic, epoch in rows
    ]
    broken.add(feeds[3].row.key)
    found = await asyncio.gather(*(feed.pages.read(feed.position) for feed in feeds), return_exceptions=True)
    assert isinstance(found[3], ValueError)
    assert [page.last.offset for page in found if not isinstance(page, BaseException) and page] == [1] * 19
    assert together == [20]


async def test_a_crowd_that_opens_many_logs_asks_where_they_stand_at_once(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    find_moved = logs.find_moved

    def count(known: Any) -> Any:
        asked.append(sorted(known))
        return find_moved(known)

    monkeypatch.setattr(logs, "find_moved", count)
    await bridge().read(lambda: [verbs.publish(f"room:{number}", 1) for number in range(30)])
    rows = await bridge().read(lambda: list(Stream.objects.order_by("pk").values_list("topic", "epoch")))
    feeds = [
        room.serving.follow_log(LogRow(stream_key(topic), f"topic:{topic}"), Position(epoch, 0, ""))
        for topic, epoch in rows
    ]
    assert room.serving._opening is not None
    await room.serving._opening
    assert asked == [sorted(stream_key(topic) for topic, _ in rows)]
    for feed in feeds:
        await feed.wait_for_read()
    assert {feed.head for feed in feeds} == {1}, "the move that nobody had told them of"


async def test_nothing_is_read_for_nobody_and_whoever_comes_next_gets_it(room: Room, reads: Reads) -> None:
    await room.fill(1)
    await room.arrive([1], count=1)
    old = await bridge().read(look, [1])
    feed = room.feed
    await feed.wait_for_read()
    room.followings[0].stop()
    room.serving.unfollow_log(feed)
    reads.after.clear()
    await room.fill(3)
    feed.hear_of(4)
    feed.hear_of(0)
    assert (feed.head, reads.after, feed._reading) == (1, [], None)
    # It knows of the log's place before the news.
    tab = Tab()
    room.follow(tab, old[1])
    await feed.wait_for_read()
    assert (feed.head, tab.offsets) == (4, [2, 3, 4])


async def test_news_that_a_new_follower_knows_already_are_not_read(room: Room, reads: Reads) -> None:
    await room.fill(1)
    await room.arrive([1], count=1)
    feed = room.feed
    await feed.wait_for_read()
    room.followings[0].stop()
    room.serving.unfollow_log(feed)
    await room.fill(3)
    feed.hear_of(4)
    reads.after.clear()
    tabs = await room.arrive([4, 2], count=2)
    assert (feed.head, [tab.offsets for tab in tabs]) == (4, [[], [3, 4]])
    # One page for the second, and nothing for the feed itself.
    assert reads.after == [2]

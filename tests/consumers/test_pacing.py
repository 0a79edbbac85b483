"""Requests to follow a log come at a pace, and those that change nothing write nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.clients import Attached
from session_mgmt.actions.sessions import following, lifecycle
from session_mgmt.actions.topics import subscriptions
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.inbox import MOST_FRAMES, REQUEST_COST, Inbox
from session_mgmt.consumers.pacing import (
    LONGEST_REST,
    WRITES_GO_ON,
    CrowdSize,
    LoopTurns,
    Pace,
    Paces,
    RestedTurns,
    Slot,
)
from session_mgmt.exceptions import SessionExpired, TopicDenied
from session_mgmt.models import Client, SessionActivity, Stream, Subscription, clock
from tests.clocks import Clock
from tests.walks.conftest import BOTH_WAYS

LOGS = ["session", "state:main", "topic:room:1"]
_WRITES = ("BEGIN", "SAVEPOINT", "INSERT", "UPDATE", "DELETE")


class Gate:
    """Gate that counts who enters."""

    def __init__(self) -> None:
        self.entered = 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def session(transactional_db: None, declared: None) -> Any:
    return lifecycle.create_session().session


@contextmanager
def reading_alone() -> Iterator[None]:
    with CaptureQueriesContext(connection) as caught:
        yield
    statements = [query["sql"].lstrip().upper() for query in caught]
    assert not [sql for sql in statements if sql.startswith(_WRITES) or " FOR " in sql]


def attached(session: Any) -> Attached:
    client, _ = Client.objects.get_or_create(session=session, defaults={"created_at": session.created_at})
    return Attached(client.pk, client.generation)


@pytest.mark.parametrize("log", LOGS)
def test_following_again_costs_no_transaction(session: Any, gate: Gate, log: str) -> None:
    first = following.subscribe(session, log, None, attached(session), gate=gate)
    entered = gate.entered
    assert entered == (0 if log == "session" else 1)
    with reading_alone():
        again = following.subscribe(session, log, None, attached(session), gate=gate)
    # Only the moment of the look differs.
    assert (again._replace(mark=first.mark), gate.entered) == (first, entered)


@pytest.mark.parametrize("log", LOGS)
def test_following_again_still_looks_at_the_deadline(session: Any, gate: Gate, log: str) -> None:
    following.subscribe(session, log, None, attached(session), gate=gate)
    now = clock.read("default")
    SessionActivity.objects.filter(pk=session.pk).update(expires_at=now - timedelta(minutes=1))
    entered = gate.entered
    with pytest.raises(SessionExpired):
        following.subscribe(session, log, None, attached(session), gate=gate)
    assert gate.entered == entered


def test_a_denied_topic_costs_no_transaction(session: Any, gate: Gate) -> None:
    client = attached(session)
    with reading_alone(), pytest.raises(TopicDenied):
        following.subscribe(session, "topic:nobody-declared-it", None, client, gate=gate)
    assert gate.entered == 0


def test_a_topic_without_a_stream_is_followed_by_reading_alone(session: Any, gate: Gate) -> None:
    following.subscribe(session, "topic:room:1", None, attached(session), gate=gate)
    following.subscribe(session, "topic:room:1", None, attached(session), gate=gate)
    assert not Stream.objects.exists() and gate.entered == 1


def test_leaving_a_topic_that_is_not_followed_costs_no_transaction(session: Any, gate: Gate) -> None:
    following.subscribe(session, "topic:room:1", None, attached(session), gate=gate)
    subscriptions.remove_subscription(session.pk, "room:1", attached(session), gate=gate)
    assert gate.entered == 2 and not Subscription.objects.exists()
    with reading_alone():
        subscriptions.remove_subscription(session.pk, "room:1", attached(session), gate=gate)
    assert gate.entered == 2


# -- pace ------------------------------------------------------------------------------------------------------------


def test_a_burst_is_free_and_the_rest_comes_at_the_rate() -> None:
    time = Clock(100.0)
    pace = Pace(20.0, 3, time)
    assert [pace.book() for _ in range(6)] == pytest.approx([0, 0, 0, 0.05, 0.1, 0.15])
    time.now += 0.15 + 3 * 0.05
    assert [pace.book() for _ in range(4)] == pytest.approx([0, 0, 0, 0.05])


def test_a_long_rest_saves_up_no_more_than_the_burst() -> None:
    time = Clock(100.0)
    pace = Pace(20.0, 3, time)
    time.now += 3600
    assert [pace.book() for _ in range(4)] == pytest.approx([0, 0, 0, 0.05])


async def test_sockets_of_one_session_share_a_pace_and_the_last_one_takes_it_along() -> None:
    paces, session = Paces(), uuid.uuid4()
    one, other = paces.share(session, 3), paces.share(session, 3)
    assert one is other and paces.share(uuid.uuid4(), 3) is not one
    del one, other
    assert not list(paces._of_sessions)


async def test_every_request_to_follow_or_leave_takes_a_slot(
    peers: Callable[..., Any], created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    booked: list[Pace] = []

    def book(pace: Pace) -> float:
        booked.append(pace)
        return 0.0

    monkeypatch.setattr(Pace, "book", book)
    one, two = peers(), peers()
    for peer in (one, two):
        await peer.open(created.token.secret)
        for number, log in enumerate(LOGS):
            await peer.say(type="subscribe", id=2 * number, log=log, position=None)
            await peer.until_type("reply")
            await peer.say(type="unsubscribe", id=2 * number + 1, log=log)
            await peer.until_type("reply")
    assert len(booked) == 12 and len(set(booked)) == 1


async def test_a_client_with_many_requests_is_read_no_further() -> None:
    inbox = Inbox()
    for _ in range(MOST_FRAMES // REQUEST_COST - 1):
        inbox.add_frame(REQUEST_COST)
    assert not inbox.is_full
    inbox.add_frame(REQUEST_COST)
    assert inbox.is_full
    for _ in range(MOST_FRAMES // REQUEST_COST):
        inbox.finish_frame(REQUEST_COST)
    await inbox.wait_until_empty()
    assert not inbox.is_full


@BOTH_WAYS
async def test_a_client_beyond_its_pace_is_read_no_further_until_its_slot(
    peers: Callable[..., Any], created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = peers()
    await one.open(created.token.secret)
    (connection,) = hub().serving.connections
    read: list[int] = []

    def book(pace: Pace) -> float:
        read.append(connection.inbox.messages)  # type: ignore[attr-defined]
        return 0.01

    def replies() -> list[int]:
        return [frame["id"] for frame in one.seen if frame["type"] == "reply"]

    monkeypatch.setattr(Pace, "book", book)
    for number in range(5):
        await one.say(type="subscribe", id=number, log="session", position=None)
    await one.say(type="ping", id=9)
    # The ping is read at its place, and answered before those whose answers wait for the database.
    await one.until(lambda _: {"pong", "reply"} <= {frame["type"] for frame in one.seen} and len(replies()) == 5)
    assert replies() == [0, 1, 2, 3, 4]
    # `connect` and the requests so far: of what is behind the one that takes its slot, one more at most has been read.
    assert len(read) == 5 and all(count <= 3 + number for number, count in enumerate(read))


async def test_a_flooding_tab_books_one_slot_at_a_time_beside_its_neighbour() -> None:
    time = Clock(100.0)
    pace = Pace(20.0, 1, time)
    flood, neighbour = Slot(pace), Slot(pace)
    taken: list[str] = []
    flood.take(partial(taken.append, "flood"))
    flood.take(partial(taken.append, "flood again"))
    assert flood.is_awaited and taken == ["flood"]
    # A slot behind the one request that the other may have waiting.
    assert pace.book() == pytest.approx(0.1)
    neighbour.take(partial(taken.append, "neighbour"))
    flood.stop()
    await neighbour.wait()
    assert taken == ["flood", "neighbour"] and not neighbour.is_awaited


class Timers:
    """Clock and timers of a loop that a test sets itself."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, act: Callable[[], None]) -> None:
        self.due.append((delay, act))


async def test_following_is_worked_on_one_at_a_time_and_rests_as_long_as_it_took() -> None:
    turns, timers = RestedTurns(), Timers()
    turns._loop = timers  # type: ignore[assignment]
    with pytest.raises(SessionExpired):
        async with turns.take():
            assert turns._free.locked()
            timers.now += 0.03
            raise SessionExpired()
    ((rest, end_rest),) = timers.due
    assert rest == pytest.approx(0.03) and turns._free.locked()
    end_rest()
    async with turns.take():
        timers.now += 60
    assert timers.due[1][0] == LONGEST_REST


async def test_of_a_crowd_so_many_begin_in_one_turn_of_the_loop_and_in_their_order() -> None:
    turns, loop, begun = LoopTurns(lambda: 2), asyncio.get_running_loop(), list[int]()
    # What others do in each turn: how many of the crowd had begun by then.
    seen: list[int] = []

    async def begin(number: int) -> None:
        await turns.take()
        begun.append(number)

    def look() -> None:
        seen.append(len(begun))
        if len(begun) < 6:
            loop.call_soon(look)

    crowd = [asyncio.create_task(begin(number)) for number in range(7)]
    loop.call_soon(look)
    crowd[3].cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    assert begun == [0, 1, 2, 4, 5, 6]
    assert all(after - before <= 2 for before, after in pairwise([0, *seen, len(begun)]))
    # After a rest there is room again.
    await begin(7)
    assert begun[-1] == 7


async def test_work_that_has_nothing_left_to_do_takes_nobodys_place_in_a_turn() -> None:
    # Nothing is awaited here, so the loop begins no turn of its own.
    turns, done = LoopTurns(lambda: 2), list[int]()

    def work(number: int, is_left: bool = True) -> None:
        def act() -> bool:
            done.append(number)
            return is_left

        turns.begin(act)

    work(0)
    work(1, is_left=False)
    work(2)
    # Two that had something to do: the turn is full.
    for number in (3, 4, 5, 6):
        work(number, is_left=number != 4)
    assert done == [0, 1, 2]
    turns._begin_turn()
    assert done == [0, 1, 2, 3, 4, 5]
    turns._begin_turn()
    assert done == [0, 1, 2, 3, 4, 5, 6]


async def test_a_crowd_is_served_in_smaller_turns_for_a_while_after_a_write() -> None:
    size, timers = CrowdSize(), Timers()
    size._loop = timers  # type: ignore[assignment]
    quiet = size.handshakes, size.answers
    size.note_write()
    assert size.handshakes < quiet[0] and size.answers < quiet[1]
    timers.now += WRITES_GO_ON
    assert (size.handshakes, size.answers) == quiet

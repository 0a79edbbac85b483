"""The connecting lane: what waits goes together, and one that fails, waits or comes twice costs the others nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError

from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.sessions import lifecycle, resume
from session_mgmt.actions.sessions.attachments import Ask, AttachedGroup, Attachment
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.bridge import connecting
from session_mgmt.bridge.connecting import (
    FEWEST_TOGETHER,
    MOST_TOGETHER,
    Answers,
    ConnectingLane,
    GroupSize,
    QueuedAsk,
)
from session_mgmt.exceptions import Busy, InvalidToken, Unavailable
from session_mgmt.models import Client, Connection, SessionActivity
from session_mgmt.protocol.frames import Connect
from tests.bridge.threads import held

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60.0


class Desk:
    """Takes the answers of asks by their numbers, and waits for them."""

    def __init__(self, lane: ConnectingLane) -> None:
        self.lane = lane
        self.answers: dict[int, Any] = {}
        self.groups: list[Answers] = []
        self._arrived = threading.Condition()

    def take(self, answers: Answers) -> None:
        with self._arrived:
            self.groups.append(answers)
            self.answers.update(answers.results)
            self._arrived.notify()

    def queue(self, asks: Sequence[Ask]) -> list[QueuedAsk]:
        return [QueuedAsk(ask, number, self.take) for number, ask in enumerate(asks)]

    def connect(self, asks: Sequence[Ask]) -> list[Any]:
        self.lane.submit(self.queue(asks))
        return self.wait_for(len(asks))

    def wait_for(self, count: int) -> list[Any]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.answers) >= count, PATIENCE)
        return [self.answers[number] for number in range(count)]


class Transactions:
    """Stands between the lane and the database: fails as told, before or after the real transaction."""

    def __init__(self) -> None:
        self.real = resume.attach_group
        self.sizes: list[int] = []
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.culprits: set[str] = set()
        self.culprit_error: Exception = IntegrityError("a row that breaks a rule")
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.reached = threading.Event()

    def __call__(self, asks: Sequence[Ask], *, wait: bool = False) -> AttachedGroup:
        self.sizes.append(len(asks))
        self.reached.set()
        assert self.goes_on.wait(PATIENCE)
        if self.before:
            raise self.before.pop(0)
        if self.culprits.intersection(ask.connect.token for ask in asks):
            raise self.culprit_error
        group = self.real(asks, wait=wait)
        if self.after:
            raise self.after.pop(0)
        return group


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> Transactions:
    made = Transactions()
    monkeypatch.setattr(resume, "attach_group", made)
    monkeypatch.setattr(connecting, "PAUSES", (0.0, 0.0))
    return made


@pytest.fixture
def told() -> list[EmittedEvent]:
    return []


@pytest.fixture
def lane(told: list[EmittedEvent]) -> Iterator[ConnectingLane]:
    made = ConnectingLane("default", nullcontext, told.extend)
    yield made
    made.stop()


@pytest.fixture
def desk(lane: ConnectingLane) -> Desk:
    return Desk(lane)


def ask(created: Created, client_id: str | None = None) -> Ask:
    return Ask(Connect(created.token.secret, client_id, 0, {"state:main": None}, "test"), "test")


def fresh(count: int) -> list[Created]:
    return [lifecycle.create_session() for _ in range(count)]


def test_while_one_group_runs_the_next_gathers(desk: Desk, transactions: Transactions) -> None:
    made = fresh(5)
    transactions.goes_on.clear()
    asks = [ask(created) for created in made]
    queued = desk.queue(asks)
    desk.lane.submit(queued[:1])
    assert transactions.reached.wait(PATIENCE)
    for one in queued[1:]:
        desk.lane.submit([one])
    transactions.goes_on.set()
    answers = desk.wait_for(5)
    assert all(isinstance(answer, Attachment) for answer in answers)
    assert transactions.sizes == [1, 4]
    assert [group.left for group in desk.groups] == [4, 0]


def test_a_group_has_a_largest_size(lane: ConnectingLane, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def attach(asks: Sequence[Ask], *, wait: bool = False) -> AttachedGroup:
        sizes.append(len(asks))
        return AttachedGroup([InvalidToken() for _ in asks])

    monkeypatch.setattr(resume, "attach_group", attach)
    desk = Desk(lane)
    answers = desk.connect([Ask(Connect("sma_x", None, 0, {}, ""), "test") for _ in range(MOST_TOGETHER * 2 + 1)])
    assert sizes == [MOST_TOGETHER, MOST_TOGETHER, 1]
    assert all(isinstance(answer, InvalidToken) for answer in answers)


def test_the_same_client_twice_at_once_goes_in_two_groups_in_the_order_of_arrival(
    desk: Desk, transactions: Transactions
) -> None:
    one, two = fresh(2)
    (known,) = desk.connect([ask(one)])
    desk.answers.clear()
    answers = desk.connect([ask(one, known.client_id), ask(one, known.client_id), ask(two)])
    assert transactions.sizes == [1, 2, 1]
    assert [answer.generation for answer in answers] == [2, 3, 1]
    newest = Connection.objects.get(session=one.session.pk, closed_at=None)
    assert newest.pk == answers[1].connection


def test_an_unknown_commit_is_run_again_and_nobody_is_attached_twice(desk: Desk, transactions: Transactions) -> None:
    one, two = fresh(2)
    (known,) = desk.connect([ask(one)])
    desk.answers.clear()
    transactions.after = [OperationalError("server closed the connection unexpectedly")]
    answers = desk.connect([ask(one, known.client_id), ask(two)])
    assert [answer.generation for answer in answers] == [3, 2]
    assert answers[1].is_new
    assert Client.objects.count() == 2
    opened = set(Connection.objects.filter(closed_at=None).values_list("pk", flat=True))
    assert opened == {answer.connection for answer in answers}


@pytest.mark.parametrize("error", [OperationalError("deadlock detected"), InterfaceError("the connection is closed")])
def test_a_failure_that_passes_is_tried_again(desk: Desk, transactions: Transactions, error: Exception) -> None:
    transactions.before = [error, error]
    (answer,) = desk.connect([ask(fresh(1)[0])])
    assert isinstance(answer, Attachment)
    assert transactions.sizes == [1, 1, 1]


def test_a_database_that_stays_away_refuses_for_now_and_is_told_once(
    desk: Desk, transactions: Transactions, caplog: pytest.LogCaptureFixture
) -> None:
    made = fresh(3)
    transactions.before = [OperationalError("connection refused")] * 6
    for created in made[:2]:
        desk.answers.clear()
        (answer,) = desk.connect([ask(created)])
        assert isinstance(answer, Unavailable) and answer.retry_after
    assert transactions.sizes == [1] * 6
    desk.answers.clear()
    assert isinstance(desk.connect([ask(made[2])])[0], Attachment)
    told = [record.levelname for record in caplog.records if record.name == "session_mgmt.bridge.connecting"]
    assert told == ["ERROR", "WARNING"]


@pytest.mark.parametrize("error", [IntegrityError("a row that breaks a rule"), ZeroDivisionError("a fault of ours")])
def test_a_member_that_the_database_refuses_is_refused_alone(
    desk: Desk, transactions: Transactions, error: Exception
) -> None:
    made = fresh(8)
    transactions.culprit_error = error
    transactions.culprits = {made[5].token.secret}
    answers = desk.connect([ask(created) for created in made])
    expected = Unavailable if isinstance(error, IntegrityError) else ZeroDivisionError
    assert [type(answer) for answer in answers] == [Attachment] * 5 + [expected] + [Attachment] * 2
    assert Client.objects.count() == 7 == Connection.objects.count()


@pytest.mark.postgres
def test_a_held_member_waits_alone_and_the_others_do_not(desk: Desk) -> None:
    one, two = fresh(2)
    with held(lambda: list(SessionActivity.objects.select_for_update().filter(pk=one.session.pk))):
        desk.lane.submit(desk.queue([ask(two), ask(one)])[::-1])
        (answer,) = desk.wait_for(1)
        assert isinstance(answer, Attachment) and len(desk.answers) == 1
    assert isinstance(desk.wait_for(2)[1], Attachment)
    assert [group.is_held for group in desk.groups] == [False, True]


@pytest.mark.postgres
def test_what_a_client_asks_later_stays_behind_what_it_waits_for(desk: Desk) -> None:
    one, two = fresh(2)
    (known,) = desk.connect([ask(one)])
    desk.answers.clear()
    with held(lambda: list(SessionActivity.objects.select_for_update().filter(pk=one.session.pk))):
        queued = desk.queue([ask(one, known.client_id), ask(one, known.client_id), ask(two), ask(two)])
        desk.lane.submit([queued[0], queued[2]])
        with desk._arrived:
            assert desk._arrived.wait_for(lambda: 2 in desk.answers, PATIENCE)
        desk.lane.submit([queued[1], queued[3]])
        with desk._arrived:
            assert desk._arrived.wait_for(lambda: 3 in desk.answers, PATIENCE)
        assert set(desk.answers) == {2, 3}
    answers = desk.wait_for(4)
    assert [answer.generation for answer in answers[:2]] == [2, 3]
    assert not desk.lane._slow_clients


@pytest.mark.postgres
def test_a_member_that_waits_too_long_for_a_lock_comes_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SLOW_LOCK_MILLISECONDS", 50)
    (created,) = fresh(1)
    with held(lambda: list(SessionActivity.objects.select_for_update().filter(pk=created.session.pk))):
        (answer,) = desk.connect([ask(created)])
    assert isinstance(answer, Busy) and answer.retry_after


def test_events_are_handed_on_after_the_answers(desk: Desk, told: list[EmittedEvent]) -> None:
    (created,) = fresh(1)
    desk.connect([ask(created)])
    desk.lane.stop()
    assert [(event.session_id, event.type) for event in told] == [(created.session.pk, "connection_established")]


def test_what_waits_is_finished_at_the_end(desk: Desk, transactions: Transactions) -> None:
    made = fresh(3)
    transactions.goes_on.clear()
    desk.lane.submit(desk.queue([ask(created) for created in made]))
    stopper = threading.Thread(target=desk.lane.stop)
    stopper.start()
    transactions.goes_on.set()
    stopper.join(PATIENCE)
    assert all(isinstance(answer, Attachment) for answer in desk.wait_for(3))


def test_groups_are_smaller_beside_writes_from_the_first_one_on() -> None:
    written = [0]
    size = GroupSize(lambda: written[0])
    assert size.most == MOST_TOGETHER
    written[0] = 1
    assert size.most == FEWEST_TOGETHER
    size.note_group()
    # The next write may wait for the gate at this moment.
    assert size.most == FEWEST_TOGETHER
    size.note_group()
    assert size.most == MOST_TOGETHER


@pytest.mark.parametrize(
    ("writes", "taken"), [(0, [MOST_TOGETHER] * 2), (1, [FEWEST_TOGETHER] * 4)], ids=["quiet", "beside"]
)
def test_the_connecting_lane_takes_smaller_groups_beside_writes(
    monkeypatch: pytest.MonkeyPatch, writes: int, taken: list[int]
) -> None:
    sizes: list[int] = []

    def attach(asks: Sequence[Ask], *, wait: bool = False) -> AttachedGroup:
        sizes.append(len(asks))
        return AttachedGroup([InvalidToken() for _ in asks])

    monkeypatch.setattr(resume, "attach_group", attach)
    counted = count(step=writes)
    lane = ConnectingLane("default", nullcontext, [].extend, lambda: next(counted))
    Desk(lane).connect([Ask(Connect("sma_x", None, 0, {}, ""), "test") for _ in range(MOST_TOGETHER * 2)])
    lane.stop()
    assert sizes == taken

"""Scenarios 2 to 5: a project's own transactions block nobody, deadlock with nobody, and are told once, in an order,
if and only if they commit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, transaction

from session_mgmt.actions import group_commit
from session_mgmt.actions.group_commit import Group, Write
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.topics.ledger import Publication as NewPublication
from session_mgmt.bridge import bridge
from session_mgmt.bridge.lane import QueuedWrite
from session_mgmt.exceptions import Unavailable
from session_mgmt.models import ClientSession, Outbox, Publication, StateDocument, StateRevision, Stream
from session_mgmt.shortcuts import create_session, drain, open_snapshot, publish, send, state
from tests.bridge.threads import held, together
from tests.shop.models import Customer, Order

pytestmark = pytest.mark.django_db(transaction=True)
postgres = pytest.mark.postgres


@postgres
def test_a_long_transaction_that_publishes_and_updates_blocks_nobody() -> None:
    session = create_session().session
    state.update(session, {"n": 0})
    publish("room:1", "before")

    def slow_view() -> None:
        publish("room:1", "slow")
        publish("room:new", "first use of a topic")
        state.update(session, {"slow": True})

    with held(slow_view):
        assert publish("room:1", "quick").offset == 2
        assert publish("room:new", "quick").offset == 1
        assert state.update(session, {"quick": True}).offset == 2
    drain()
    assert _room("room:1") == ["before", "quick", "slow"]
    assert _room("room:new") == ["quick", "first use of a topic"]
    assert state.get(session) == {"n": 0, "quick": True, "slow": True}


@postgres
def test_transactions_that_touch_two_sessions_in_crossing_order_do_not_deadlock() -> None:
    one, two = create_session().session, create_session().session
    barrier = threading.Barrier(2)

    def crossing(first: ClientSession, second: ClientSession) -> None:
        for number in range(20):
            with transaction.atomic():
                state.update(first, {f"k{number}": 1})
                barrier.wait(30)
                state.update(second, {f"k{number}": 1})
                publish("room:1", number)

    together(lambda: crossing(one, two), lambda: crossing(two, one))
    drain()
    assert len(state.get(one)) == len(state.get(two)) == 20
    assert sorted(_room("room:1")) == sorted([*range(20), *range(20)])


@postgres
def test_commits_out_of_order_leave_no_hole_and_lose_nothing() -> None:
    with held(lambda: publish("room:1", "opened first, committed last")):
        with transaction.atomic():
            publish("room:1", "opened last, committed first")
        drain()
        assert _room("room:1") == ["opened last, committed first"]
    drain()
    assert _offsets("room:1") == [1, 2]
    assert _room("room:1")[1] == "opened first, committed last"


@postgres
def test_a_rollback_of_a_long_transaction_leaves_no_hole() -> None:
    with held(lambda: publish("room:1", "never"), commit=False):
        publish("room:1", 1)
    publish("room:1", 2)
    drain()
    assert (_offsets("room:1"), _room("room:1")) == ([1, 2], [1, 2])


def test_a_direct_publish_never_passes_one_that_committed_before_it() -> None:
    """Scenario 3a, without help of any doorbell: the direct write itself carries out what had committed."""
    with transaction.atomic():
        Outbox.objects.create(kind="publish", target="room:1", payload=b'"cause"', created_at="2026-01-01T00:00:00Z")
    publish("room:1", "effect")
    assert _room("room:1") == ["cause", "effect"]


@postgres
def test_two_drains_at_once_keep_the_order_within_a_transaction_and_double_nothing() -> None:
    for start in range(0, 600, 20):
        with transaction.atomic():
            for number in range(start, start + 20):
                Outbox.objects.create(
                    kind="publish", target="room:1", payload=str(number).encode(), created_at="2026-01-01T00:00:00Z"
                )
    together(*[bridge().drain] * 4)
    assert _room("room:1") == list(range(600))
    assert _offsets("room:1") == list(range(1, 601))
    assert not Outbox.objects.exists()


@postgres
def test_a_locked_document_holds_up_only_its_own_writes() -> None:
    """Scenario 5: one held row; the lane goes on for everybody else, and the held write follows when it is free."""
    one, two = create_session().session, create_session().session
    state.update(one, {"n": 0})
    row = StateDocument.objects.get(session=one)
    results: list[Any] = []
    with held(lambda: StateDocument.objects.select_for_update().get(pk=row.pk)) as holding:
        waiting = threading.Thread(target=together, args=(lambda: results.append(state.update(one, {"late": True})),))
        waiting.start()
        assert state.update(two, {"quick": True}).offset == 1
        assert publish("room:1", "quick").offset == 1
        assert not results
        holding.end()
        waiting.join(30)
    assert results[0].offset == 2


def test_a_hook_that_raises_does_not_make_a_committed_publish_look_failed() -> None:
    """Scenario 4: our own hooks are robust, and run whether or not the project's fail."""
    with pytest.raises(RuntimeError, match="of the project"), transaction.atomic():
        publish("room:1", 1)
        transaction.on_commit(_fail)
    drain()
    assert _room("room:1") == [1]


def test_a_process_killed_between_commit_and_drain_loses_nothing(database_environment: dict[str, str]) -> None:
    code = (
        "import os, django; django.setup()\n"
        "from django.db import transaction\n"
        "from session_mgmt.models import Outbox\n"
        "with transaction.atomic():\n"
        "    Outbox.objects.create(kind='publish', target='room:1', payload=b'7', created_at='2026-01-01T00:00:00Z')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**database_environment, "DJANGO_SETTINGS_MODULE": "project.settings"}
    died = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert died.returncode == -9
    drain()
    assert _room("room:1") == [7]


def test_wishes_for_a_session_that_is_gone_hold_up_nobody() -> None:
    gone, session = uuid.uuid4(), create_session().session
    with transaction.atomic():
        state.update(gone, {"a": 1})
        send(gone, "hello")
        publish("room:1", "still told")
    assert state.update(session, {"a": 1}).offset == 1
    drain()
    assert set(Outbox.objects.values_list("refused", flat=True)) == {"session_not_found"}
    assert _room("room:1") == ["still told"]


def test_a_failing_member_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One write that the database refuses: its neighbours in the same transaction are written."""
    session = create_session().session
    real = group_commit.write_group

    def poisoned(using: str, writes: Any, group: Group, *, wait: bool = False, **looks: Any) -> None:
        if any(isinstance(m.work, NewPublication) and m.work.data == b'"poison"' for m in writes):
            raise ValueError("refused")
        real(using, writes, group, wait=wait, **looks)

    monkeypatch.setattr(group_commit, "write_group", poisoned)
    futures: list[Any] = []
    with bridge().lane._condition:  # all five are in the queue before the lane looks
        for data in (b"1", b"2", b'"poison"', b"3", b"4"):
            bridge().lane.submit(_waiting(Write(NewPublication("room:1", data)), futures))
    _wait_for(futures, 5)
    assert [decision.error.name if decision.error else "ok" for decision in _in_order(futures)] == [
        "ok",
        "ok",
        "unavailable",
        "ok",
        "ok",
    ]
    assert _room("room:1") == [1, 2, 3, 4]
    assert state.update(session, {"a": 1}).offset == 1


def test_after_an_unknown_commit_a_keyed_write_is_found_and_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is cut during COMMIT: the transaction is durable, the answer is not."""
    real, cuts = group_commit.write_group, [True]

    def cut(using: str, writes: Any, group: Group, *, wait: bool = False, **looks: Any) -> None:
        real(using, writes, group, wait=wait, **looks)
        if writes and cuts and cuts.pop():
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(group_commit, "write_group", cut)
    assert publish("room:1", "once", key="k").offset == 1
    assert _room("room:1") == ["once"]


def test_after_an_unknown_commit_a_write_without_a_key_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, cuts = group_commit.write_group, [True]

    def cut(using: str, writes: Any, group: Group, *, wait: bool = False, **looks: Any) -> None:
        real(using, writes, group, wait=wait, **looks)
        if writes and cuts and cuts.pop():
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(group_commit, "write_group", cut)
    with pytest.raises(Unavailable) as told:
        publish("room:1", "once")
    assert told.value.facts == {"unknown": True}
    assert _room("room:1") == ["once"]


@pytest.mark.parametrize("writers", [8])
def test_many_threads_on_one_document_make_dense_versions(writers: int) -> None:
    session = create_session().session
    together(*[lambda: [state.update(session, ops=[["inc", "/n", 1]]) for _ in range(25)] for _ in range(writers)])
    assert state.get(session) == {"n": writers * 25}
    versions = list(StateRevision.objects.order_by("version").values_list("version", flat=True))
    assert versions == list(range(1, writers * 25 + 1))


def test_creating_a_session_inside_a_transaction_that_rolls_back_leaves_nothing() -> None:
    with transaction.atomic():
        lifecycle.create_session()
        transaction.set_rollback(True)
    assert ClientSession.objects.count() == 0


def test_with_autocommit_off_all_is_told_if_and_only_if_the_project_commits() -> None:
    ann = get_user_model().objects.create_user("ann")
    session = create_session(user=ann).session

    def change(name: str) -> None:
        assert isinstance(publish("room:1", name), Ticket)
        publish("room:1", "for those who are there", ephemeral=True)
        state.update(session, {name: True})
        Order.objects.create(customer=Customer.objects.create())
        ann.set_password(name)
        ann.save()

    transaction.set_autocommit(False)
    try:
        change("undone")
        transaction.rollback()
        change("kept")
        transaction.commit()
        with pytest.raises(RuntimeError), open_snapshot("room:1"):
            raise AssertionError("nothing may be read")
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    drain()
    assert (_room("room:1"), state.get(session)) == (["kept"], {"kept": True})
    assert [order["op"] for order in _room(f"orders:{Order.objects.get().customer_id}")] == ["put"]


def _fail() -> None:
    raise RuntimeError("of the project")


def _room(topic: str) -> list[Any]:
    rows = Publication.objects.filter(stream__topic=topic).order_by("offset").values_list("data", flat=True)
    return [json.loads(bytes(data)) for data in rows]


def _offsets(topic: str) -> list[int]:
    stream = Stream.objects.get(topic=topic)
    offsets = list(Publication.objects.filter(stream=stream).order_by("offset").values_list("offset", flat=True))
    assert stream.head == len(offsets)
    return offsets


def _waiting(write: Write, results: list[Any]) -> Any:
    place = threading.Event()
    results.append([place, None])
    entry = results[-1]

    def sink(group: Group, decided: list[tuple[Any, Any]]) -> None:
        for token, decision in decided:
            token[1] = decision
            token[0].set()

    return QueuedWrite(write, entry, sink)


def _wait_for(results: list[Any], count: int) -> None:
    assert len(results) == count
    for place, _ in results:
        assert place.wait(30)


def _in_order(results: list[Any]) -> list[Any]:
    return [decision for _, decision in results]

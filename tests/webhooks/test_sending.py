"""Deliveries: with their events or not at all, in order, at least once, for a day."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions import cleanup, monitoring
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import deletion, lifecycle
from session_mgmt.actions.webhooks import calling, endpoints, recording, replaying, sending
from session_mgmt.actions.webhooks.endpoints import Made
from session_mgmt.models import ClientSession, WebhookCursor, WebhookDelivery, WebhookEndpoint
from session_mgmt.shortcuts import create_session, send
from tests.bridge.threads import together
from tests.webhooks.conftest import Clock, OnThisThread, Receiver, configure, list_states, update_session

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


class Killed(BaseException):
    """The process dies here."""


# -- with its event


def test_an_event_is_told_with_its_facts_and_its_numbers(receiver: Receiver, endpoint: Made) -> None:
    session = create_session(tenant="").session
    update_session(session, 1)
    assert Clock().send() == {"sent": 2, "failed": 0, "dead": 0}
    first, second = (call.payload for call in receiver.calls)
    assert first["type"], first["sequence"] == ("session_created", 1)
    assert second == {
        "id": second["id"],
        "type": "session_updated",
        "timestamp": second["timestamp"],
        "session_id": str(session.pk),
        "user_id": None,
        "tenant": "",
        "seq": 2,
        "sequence": 2,
        "data": {"fields": ["metadata"]},
    }
    assert [call.id for call in receiver.calls] == [first["id"], second["id"]]
    assert list_states(session) == ["sent", "sent"]
    assert Clock().send() == {"sent": 0, "failed": 0, "dead": 0}


def test_an_event_that_was_rolled_back_is_told_nobody(receiver: Receiver, endpoint: Made) -> None:
    session = create_session().session
    with pytest.raises(RuntimeError), transaction.atomic():
        update_session(session, 1)
        raise RuntimeError
    update_session(session, 2)
    Clock().send()
    assert receiver.told == [("session_created", 1), ("session_updated", 2)]


def test_an_endpoint_is_told_of_the_types_it_has_chosen_and_of_no_message(
    receiver: Receiver, on_this_thread: None
) -> None:
    endpoints.add_endpoint(receiver.address, ["session_terminated"])
    session = create_session().session
    send(session, {"hello": 1})
    lifecycle.terminate_session(SERVER, session.pk, reason="abuse")
    Clock().send()
    (call,) = receiver.calls
    assert (call.payload["type"], call.payload["sequence"], call.payload["seq"]) == ("session_terminated", 1, 3)
    assert call.payload["data"] == {"reason": "abuse"}


def test_an_endpoint_is_told_of_no_session_of_another_tenant(receiver: Receiver) -> None:
    endpoints.add_endpoint(receiver.address, tenant="acme")
    mine = lifecycle.create_session(user=None, tenant="acme").session
    lifecycle.create_session(user=None, tenant="other")
    create_session()
    Clock().send()
    assert [call.payload["session_id"] for call in receiver.calls] == [str(mine.pk)]


def test_an_inactive_endpoint_is_told_nothing_and_a_project_without_webhooks_records_nothing(
    receiver: Receiver, endpoint: Made, settings: Any
) -> None:
    session = create_session().session
    endpoints.change_endpoint(endpoint.endpoint, receiver.address, [], active=False)
    update_session(session, 1)
    Clock().send()
    assert receiver.calls == []
    endpoints.change_endpoint(endpoint.endpoint, receiver.address, [], active=True)
    configure(settings, webhooks=False)
    update_session(session, 2)
    Clock().send()
    assert receiver.calls == []
    configure(settings)
    Clock().send()
    assert receiver.told == [("session_created", 1)]


def test_events_cost_nothing_without_webhooks_and_one_query_in_ten_seconds_without_an_endpoint(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    monkeypatch.setattr(recording, "monotonic", lambda: seconds[0])
    session = create_session().session

    def count() -> int:
        with CaptureQueriesContext(connection) as caught:
            update_session(session, 1)
        return len(caught)

    configure(settings, webhooks=False)
    without = count()
    configure(settings)
    assert [count(), count()] == [without + 1, without]
    seconds[0] = recording.KNOWN_FOR
    assert [count(), count()] == [without + 1, without]
    endpoints.add_endpoint("https://hooks.example.com/", ["session_terminated"])
    # The endpoints, and the session's owner: an event that no endpoint wants costs no write.
    assert count() == without + 2


# -- in order


def test_one_that_fails_holds_up_its_session_and_no_other(receiver: Receiver, endpoint: Made) -> None:
    clock = Clock()
    mine, other = create_session().session, create_session().session
    for number in range(2):
        update_session(mine, number)
        update_session(other, number)
    receiver.answer = lambda told: 500 if (told["session_id"], told["sequence"]) == (str(mine.pk), 2) else 204
    assert clock.send() == {"sent": 4, "failed": 1, "dead": 0}
    assert (list_states(mine), list_states(other)) == (["sent", "waiting", "waiting"], ["sent"] * 3)
    # Nothing of it is tried before its wait is over.
    assert clock.send(timedelta(seconds=7)) == {"sent": 0, "failed": 0, "dead": 0}
    receiver.answer = lambda told: 200
    assert clock.send(timedelta(seconds=6)) == {"sent": 2, "failed": 0, "dead": 0}
    assert [call.payload["sequence"] for call in receiver.calls if call.payload["session_id"] == str(mine.pk)] == [
        1,
        2,
        2,
        3,
    ]
    row = WebhookDelivery.objects.get(session=mine, sequence=2)
    assert (row.attempts, row.last_status, row.last_error) == (2, 200, "")


def test_a_session_with_many_deliveries_does_not_have_every_turn(
    receiver: Receiver, endpoint: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TURN_DELIVERIES", 2)
    sessions = [create_session().session for _ in range(2)]
    for number in range(4):
        update_session(sessions[0], number)
    assert Clock().send()["sent"] == 6
    mine = [call.payload["session_id"] == str(sessions[0].pk) for call in receiver.calls]
    assert mine == [True, True, False, True, True, True]


def test_waits_grow_to_an_hour_and_differ() -> None:
    waits = [[sending.compute_wait(attempts).total_seconds() for _ in range(20)] for attempts in (1, 2, 5, 12, 10_000)]
    for middle, found in zip((10, 20, 160, 3600, 3600), waits, strict=True):
        assert all(0.8 * middle <= wait <= 1.2 * middle for wait in found)
        assert len(set(found)) > 1


def test_after_a_day_one_is_given_up_and_the_rest_goes_on_with_a_hole(receiver: Receiver, endpoint: Made) -> None:
    clock = Clock()
    session = create_session().session
    for number in range(2):
        update_session(session, number)
    receiver.answer = lambda told: 400 if told["sequence"] == 2 else 204
    clock.send()
    for hours in (11, 12.5):
        assert clock.send(hours * HOUR)["failed"] == 1
    assert list_states(session) == ["sent", "waiting", "waiting"]
    figures = monitoring.read_overview(now=WebhookDelivery.objects.get(sequence=3).due_since + timedelta(hours=2))
    assert (figures["webhooks"]["waiting"], figures["webhooks"]["dead"]) == (2, 0)
    assert figures["webhooks"]["lag"] >= 2 * HOUR.total_seconds()
    assert clock.send(HOUR) == {"sent": 1, "failed": 0, "dead": 1}
    assert monitoring.read_overview()["webhooks"] == {"waiting": 0, "lag": 0.0, "dead": 1, "stopped": 0}
    assert list_states(session) == ["sent", "dead", "sent"]
    told = [call.payload["sequence"] for call in receiver.calls]
    assert (told[0], set(told[1:-1]), told[-1]) == (1, {2}, 3)
    row = WebhookDelivery.objects.get(session=session, sequence=2)
    assert (row.last_status, row.attempts) == (400, len(told) - 2)


def test_an_endpoint_that_does_not_answer_is_left_for_the_rest_of_the_run(
    receiver: Receiver, endpoint: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.add_endpoint(receiver.address + "other/")
    tried = []
    real = calling.post

    def post(address: str, *given: Any) -> calling.Answer:
        tried.append(address)
        if address == receiver.address:
            raise calling.CallFailed("No answer within 10 s.")
        return real(address, *given)

    monkeypatch.setattr(calling, "post", post)
    for _ in range(3):
        create_session()
    assert Clock().send() == {"sent": 3, "failed": 1, "dead": 0}
    assert tried.count(receiver.address) == 1
    assert set(WebhookDelivery.objects.filter(attempts=1, state="waiting").values_list("last_error", flat=True)) == {
        "No answer within 10 s."
    }


# -- at least once


def test_one_killed_between_call_and_mark_sends_again_with_the_same_id(
    receiver: Receiver, endpoint: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    session = create_session().session

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(sending._Turn, "_store", die)
        with pytest.raises(Killed):
            clock.send()
    update_session(session, 1)
    # Its lease runs on: nobody sends beside it, nor overtakes.
    assert clock.send(timedelta(seconds=1)) == {"sent": 0, "failed": 0, "dead": 0}
    assert clock.send(sending.LEASE)["sent"] == 2
    assert [call.payload["sequence"] for call in receiver.calls] == [1, 1, 2]
    first, again, _ = receiver.calls
    assert (first.id, first.body) == (again.id, again.body)
    assert again.timestamp > first.timestamp and again.signature != first.signature


def test_one_that_was_away_for_long_takes_nothing_back(
    receiver: Receiver, endpoint: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = create_session().session
    clock, real = Clock(), calling.post

    def fail_late(*given: Any) -> calling.Answer:
        monkeypatch.setattr(calling, "post", real)
        # Meanwhile its lease ran out, and another one has sent.
        assert clock.send(sending.LEASE)["sent"] == 1
        return calling.Answer(500)

    monkeypatch.setattr(calling, "post", fail_late)
    monkeypatch.setattr(sending, "ThreadPoolExecutor", OnThisThread)
    clock.send()
    assert list_states(session) == ["sent"]
    cursor = WebhookCursor.objects.get()
    assert (cursor.done, cursor.head) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_send_each_delivery_once(receiver: Receiver) -> None:
    endpoints.add_endpoint(receiver.address)
    sessions = [create_session().session for _ in range(6)]
    for session in sessions:
        update_session(session, 1)
    both = Barrier(2, timeout=30)

    def work() -> int:
        try:
            both.wait()
            return sending.send_due().sent
        finally:
            connection.close()

    assert sum(together(work, work)) == 12
    assert len({call.id for call in receiver.calls}) == len(receiver.calls) == 12
    for session in sessions:
        mine = [call.payload["sequence"] for call in receiver.calls if call.payload["session_id"] == str(session.pk)]
        assert mine == [1, 2]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_the_project_that_stays_open_holds_up_no_other_session(receiver: Receiver) -> None:
    from tests.bridge.threads import Held

    endpoints.add_endpoint(receiver.address)
    mine, other = create_session().session, create_session().session
    held = Held(lambda: update_session(mine, 1), commit=True)
    assert sending.send_due().sent == 1
    assert [call.payload["session_id"] for call in receiver.calls] == [str(other.pk)]
    held.end()
    assert sending.send_due().sent == 2
    assert receiver.told[1:] == [("session_created", 1), ("session_updated", 2)]


# -- afterwards


def test_a_replay_sends_the_same_again_and_what_waits_goes_on_behind_it(receiver: Receiver, endpoint: Made) -> None:
    clock = Clock()
    session = create_session().session
    receiver.answer = lambda told: 500
    clock.send()
    clock.send(25 * HOUR)
    assert list_states(session) == ["dead"]
    update_session(session, 1)
    receiver.answer = lambda told: 204
    clock.send()
    assert list_states(session) == ["dead", "sent"]
    receiver.calls.clear()
    assert replaying.replay(replaying.find_settled(), now=clock.now) == 1
    receiver.answer = lambda told: 500
    assert clock.send() == {"sent": 0, "failed": 1, "dead": 0}
    receiver.answer = lambda told: 204
    assert clock.send(HOUR) == {"sent": 1, "failed": 0, "dead": 0}
    assert [call.payload["sequence"] for call in receiver.calls] == [1, 1]
    assert list_states(session) == ["sent", "sent"]
    cursor = WebhookCursor.objects.get()
    assert cursor.done == cursor.head == 2


def test_a_replay_during_a_turn_is_not_lost(
    receiver: Receiver, endpoint: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, real = Clock(), calling.post
    session = create_session().session
    clock.send()
    update_session(session, 1)

    def replay_meanwhile(*given: Any) -> calling.Answer:
        monkeypatch.setattr(calling, "post", real)
        replaying.replay(replaying.find_settled(states=("sent",)), now=clock.now)
        return real(*given)

    monkeypatch.setattr(calling, "post", replay_meanwhile)
    monkeypatch.setattr(sending, "ThreadPoolExecutor", OnThisThread)
    clock.send()
    assert list_states(session) == ["waiting", "sent"]
    assert clock.send(sending.LEASE)["sent"] == 1
    assert list_states(session) == ["sent", "sent"]


def test_settled_deliveries_go_after_their_retention_and_all_of_them_with_their_session(
    receiver: Receiver, endpoint: Made
) -> None:
    clock = Clock()
    mine, other = create_session().session, create_session().session
    clock.send()
    update_session(mine, 1)
    assert cleanup.run_cleanup(now=clock.now + timedelta(days=6)).webhooks == 0
    assert cleanup.run_cleanup(dry_run=True, now=clock.now + timedelta(days=8)).webhooks == 2
    cleanup.run_cleanup(now=clock.now + timedelta(days=8))
    assert list(WebhookDelivery.objects.filter(session=mine).values_list("sequence", flat=True))[:1] == [2]
    deletion.delete_sessions("default", [mine.pk])
    assert not WebhookDelivery.objects.filter(session=mine).exists()
    assert not WebhookCursor.objects.filter(session=mine).exists()
    assert WebhookCursor.objects.filter(session=other).exists()


def test_an_endpoint_that_another_process_has_deleted_makes_no_write_fail(receiver: Receiver, endpoint: Made) -> None:
    session = create_session().session
    known_here = recording.known_endpoints.list("default")
    endpoints.delete_endpoint(endpoint.endpoint)
    assert not WebhookDelivery.objects.exists() and not WebhookEndpoint.objects.exists()
    recording.known_endpoints._found, recording.known_endpoints._until = known_here, float("inf")
    update_session(session, 1)
    assert Clock().send() == {"sent": 0, "failed": 0, "dead": 0}
    ClientSession.objects.filter(pk=session.pk).delete()
    assert not WebhookCursor.objects.exists()


def test_a_number_that_comes_again_after_a_restored_backup_has_another_id(receiver: Receiver, endpoint: Made) -> None:
    session, watch = create_session().session, Clock()
    assert watch.send()["sent"] == 1
    backup = WebhookCursor.objects.get()
    update_session(session, 1)
    assert watch.send()["sent"] == 1
    # What came after the backup is gone, the number of the delivery too.
    WebhookDelivery.objects.filter(sequence__gt=backup.head).delete()
    backup.save()
    update_session(session, 2)
    receiver.answer = lambda payload: 503
    assert watch.send()["failed"] == 1
    receiver.answer = lambda payload: 204
    assert watch.send(timedelta(minutes=1))["sent"] == 1
    before, failed, after = receiver.calls[-3:]
    assert before.payload["sequence"] == after.payload["sequence"] == 2
    assert before.id != after.id == failed.id == after.payload["id"]
    assert after.id.startswith(f"{session.pk}.{endpoint.endpoint.pk}.{after.payload['sequence']}.")

"""Endpoints are called beside each other: a slow one delays no other, and each keeps its order."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Event
from typing import Any

import pytest

from session_mgmt.actions.webhooks import endpoints, sending
from session_mgmt.actions.webhooks.endpoints import Made
from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import create_session
from tests.webhooks.conftest import Clock, Receiver, configure, update_session

pytestmark = pytest.mark.django_db
PATIENCE = 60.0


class Killed(BaseException):
    """The process dies here."""


def find_endpoint(payload: Any) -> int:
    """Find who was told, by the delivery's id."""
    return int(payload["id"].split(".")[1])


def list_order(receiver: Receiver, endpoint: Made, session: ClientSession) -> list[int]:
    told = [call.payload for call in receiver.calls if find_endpoint(call.payload) == endpoint.endpoint.pk]
    return [payload["sequence"] for payload in told if payload["session_id"] == str(session.pk)]


def test_an_endpoint_that_is_slow_delays_no_other(receiver: Receiver, settings: Any) -> None:
    configure(settings, webhook_timeout=PATIENCE)
    slow, *others = (endpoints.add_endpoint(receiver.address) for _ in range(3))
    sessions = [create_session().session for _ in range(2)]
    for number in range(3):
        for session in sessions:
            update_session(session, number)
    all_told = Event()

    def answer(payload: Any) -> int:
        if find_endpoint(payload) == slow.endpoint.pk:
            return 204 if all_told.wait(PATIENCE) else 500
        if sum(find_endpoint(call.payload) != slow.endpoint.pk for call in receiver.calls) == 16:
            all_told.set()
        return 204

    receiver.answer = answer
    assert Clock().send() == {"sent": 24, "failed": 0, "dead": 0}
    assert [list_order(receiver, one, session) for one in [slow, *others] for session in sessions] == [[1, 2, 3, 4]] * 6


def test_a_run_whose_time_is_over_goes_on_for_others_until_the_slow_one_has_answered(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings, webhook_timeout=PATIENCE)
    seconds = [0.0]
    monkeypatch.setattr(sending, "monotonic", lambda: seconds[0])
    slow, fast = (endpoints.add_endpoint(receiver.address) for _ in range(2))
    session = create_session().session
    update_session(session, 1)
    is_over, is_told = Event(), Event()

    def answer(payload: Any) -> int:
        if find_endpoint(payload) == slow.endpoint.pk:
            seconds[0] = sending.RUN_SECONDS
            is_over.set()
            return 204 if is_told.wait(PATIENCE) else 500
        if payload["sequence"] == 2:
            is_told.set()
        return 204 if is_over.wait(PATIENCE) else 500

    receiver.answer = answer
    clock = Clock()
    assert clock.send() == {"sent": 3, "failed": 0, "dead": 0}
    assert (list_order(receiver, slow, session), list_order(receiver, fast, session)) == ([1], [1, 2])
    seconds[0] = 0.0
    assert clock.send() == {"sent": 1, "failed": 0, "dead": 0}
    assert list_order(receiver, slow, session) == [1, 2]


def test_a_worker_that_dies_among_calls_has_each_sent_again_in_order(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [endpoints.add_endpoint(receiver.address) for _ in range(2)]
    session, clock, both = create_session().session, Clock(), Barrier(2, timeout=PATIENCE)
    update_session(session, 1)

    def die(*_: Any) -> None:
        raise Killed

    # Both are being called when the first answer comes.
    receiver.answer = lambda payload: 204 * (both.wait() >= 0)
    with monkeypatch.context() as patch:
        patch.setattr(sending._Turn, "_store", die)
        with pytest.raises(Killed):
            clock.send()
    receiver.answer = lambda payload: 204
    assert clock.send(timedelta(seconds=1)) == {"sent": 0, "failed": 0, "dead": 0}
    assert clock.send(sending.LEASE) == {"sent": 4, "failed": 0, "dead": 0}
    assert [list_order(receiver, one, session) for one in made] == [[1, 1, 2]] * 2

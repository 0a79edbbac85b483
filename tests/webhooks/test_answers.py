"""What an endpoint asks for by its answer is done, and what others change meanwhile counts for the next call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.test import Client

from session_mgmt.actions import monitoring
from session_mgmt.actions.webhooks import calling, endpoints, sending
from session_mgmt.actions.webhooks.calling import Answer
from session_mgmt.actions.webhooks.endpoints import Made
from session_mgmt.models import AuditEntry, WebhookCursor, WebhookDelivery, WebhookEndpoint
from session_mgmt.shortcuts import create_session
from tests.webhooks.conftest import ADMIN, Clock, OnThisThread, Receiver, is_signed, list_states, run, update_session

pytestmark = pytest.mark.django_db
NOTHING = {"sent": 0, "failed": 0, "dead": 0}
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 10),
        ("7200", 3600),
        ("9" * 5000, 3600),
        ("Sat, 28 Nov 2026 12:02:00 GMT", 120),
        ("Sat, 28 Nov 2026 12:02:00", 120),
        ("Sat, 28 Nov 2026 13:02:00 +0100", 120),
        ("Saturday, 28-Nov-26 12:02:00 GMT", 120),
        ("Sat, 28 Nov 2020 12:02:00 GMT", 10),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        *(
            (text, None)
            for text in ("", "soon", "-5", "1.5", "١٢٠", "1e3", "NaN", "99 Nov", "Sat, 99 Nov 2026 12:02:00 GMT")
        ),
        ("Sat, 28 Nov 99999 12:02:00 GMT", None),
    ],
    ids=lambda given: str(given)[:30],
)
def test_a_wait_is_told_in_seconds_or_by_a_date_and_has_bounds(text: str, seconds: int | None) -> None:
    found = sending.read_retry_after(text, NOON)
    assert found == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("is_date", [False, True])
def test_an_endpoint_that_has_too_much_to_do_rests_as_long_as_it_says(
    status: int, is_date: bool, receiver: Receiver, endpoint: Made, operator: Client
) -> None:
    # Whole seconds, as a date of HTTP has.
    clock = Clock()
    clock.now = clock.now.replace(microsecond=0)
    sessions = [create_session().session for _ in range(3)]
    rest = timedelta(seconds=200)
    receiver.answer = lambda told: status
    receiver.retry_after = format_datetime(clock.now + rest, usegmt=True) if is_date else "200"
    assert clock.send() == {"sent": 0, "failed": 1, "dead": 0}
    assert len(receiver.calls) == 1, "the other sessions' deliveries wait too"
    assert "rests until" in operator.get(f"{ADMIN}webhookendpoint/").content.decode()
    receiver.answer, receiver.retry_after = lambda told: 204, ""
    assert clock.send(rest - timedelta(seconds=1)) == NOTHING
    assert clock.send(timedelta(seconds=1)) == {"sent": 3, "failed": 0, "dead": 0}
    assert [list_states(session) for session in sessions] == [["sent"]] * 3


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_one_that_says_not_how_long_rests_as_after_a_first_failure(
    status: int, receiver: Receiver, endpoint: Made
) -> None:
    clock = Clock()
    for _ in range(2):
        create_session()
    receiver.answer = lambda told: status
    assert clock.send()["failed"] == 1
    assert clock.send(timedelta(seconds=9)) == NOTHING
    failed = WebhookDelivery.objects.filter(attempts=1).values("session")
    WebhookCursor.objects.filter(session__in=failed).update(next_at=clock.now + timedelta(hours=1))
    receiver.answer = lambda told: 204
    # Only what was answered so waits longer: it may be all that the receiver fails at.
    assert clock.send(timedelta(seconds=1))["sent"] == 1


def test_a_wait_that_another_answer_names_rests_nobody(receiver: Receiver, endpoint: Made) -> None:
    for _ in range(2):
        create_session()
    receiver.answer, receiver.retry_after = lambda told: 500, "3000"
    clock = Clock()
    assert clock.send()["failed"] == 2
    assert clock.send(timedelta(seconds=13))["failed"] == 2


def start_in_admin(pk: int, receiver: Receiver, operator: Client) -> None:
    operator.post(f"{ADMIN}webhookendpoint/{pk}/change/", {"address": receiver.address, "active": "on"})


def start_by_command(pk: int, receiver: Receiver, operator: Client) -> None:
    given = "start", "--endpoint", str(pk)
    told = {"endpoint": pk, "started": True, "waiting": 2}
    assert run(*given, "--dry-run") == {**told, "dry_run": True}
    assert not WebhookEndpoint.objects.get().active
    assert run(*given) == {**told, "dry_run": False}
    assert run(*given)["started"] is False
    assert list(AuditEntry.objects.filter(action="start_webhook").values_list("data", flat=True)) == [{"endpoint": pk}]


@pytest.mark.parametrize("start", [start_in_admin, start_by_command])
def test_an_endpoint_that_is_gone_is_switched_off_with_its_reason_and_keeps_what_waits(
    receiver: Receiver, endpoint: Made, operator: Client, start: Callable[[int, Receiver, Client], None]
) -> None:
    clock = Clock()
    sessions = [create_session().session for _ in range(2)]
    receiver.answer = lambda told: 410
    assert clock.send() == {"sent": 0, "failed": 1, "dead": 0}
    (stopped,) = WebhookEndpoint.objects.all()
    assert (stopped.active, "410" in stopped.stopped) == (False, True)
    update_session(sessions[0], 1)
    assert clock.send(timedelta(hours=30)) == NOTHING
    assert [list_states(session) for session in sessions] == [["waiting"]] * 2
    assert monitoring.read_overview(now=clock.now)["webhooks"] == {"waiting": 0, "lag": 0.0, "dead": 0, "stopped": 1}
    assert stopped.stopped in operator.get(f"{ADMIN}webhookendpoint/").content.decode()
    assert [row["stopped"] for row in run("list")["endpoints"]] == [stopped.stopped]
    entry = AuditEntry.objects.get(action="stop_webhook")
    assert (entry.actor, entry.data) == (None, {"endpoint": stopped.pk, "reason": stopped.stopped})
    receiver.answer = lambda told: 204
    start(stopped.pk, receiver, operator)
    update_session(sessions[0], 2)
    assert clock.send() == {"sent": 3, "failed": 0, "dead": 0}
    assert WebhookEndpoint.objects.get().stopped == ""
    assert monitoring.read_overview()["webhooks"]["stopped"] == 0


# -- in the middle


def send_with(change: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Send what is due, with a change by somebody else during the first call."""
    real = calling.post

    def post(*given: Any) -> Answer:
        monkeypatch.setattr(calling, "post", real)
        answer = real(*given)
        change()
        return answer

    monkeypatch.setattr(calling, "post", post)
    monkeypatch.setattr(sending, "ThreadPoolExecutor", OnThisThread)
    return Clock().send()


@pytest.fixture
def session() -> Any:
    """A session with two deliveries."""
    session = create_session().session
    update_session(session, 1)
    return session


def test_a_secret_that_is_rotated_at_once_signs_the_next_call(
    receiver: Receiver, endpoint: Made, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh: list[str] = []
    report = send_with(lambda: fresh.append(endpoints.rotate_secret(endpoint.endpoint.pk, at_once=True)), monkeypatch)
    assert report["sent"] == 2
    before, after = receiver.calls
    assert is_signed(before, endpoint.secret)
    assert (is_signed(after, fresh[0]), is_signed(after, endpoint.secret)) == (True, False)


def test_a_new_address_is_that_of_the_next_call_and_does_not_rest_for_the_old_one(
    receiver: Receiver, endpoint: Made, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = lambda told: 410 if told["sequence"] == 1 and len(receiver.calls) == 1 else 204
    other = receiver.address + "moved/"
    send_with(lambda: endpoints.change_endpoint(endpoint.endpoint, other, [], active=True), monkeypatch)
    (row,) = WebhookEndpoint.objects.all()
    assert (row.active, row.stopped) == (True, ""), "the old address is gone, and not the new one"
    assert Clock().send(timedelta(minutes=1))["sent"] == 2
    assert [call.path for call in receiver.calls] == ["/", "/moved/", "/moved/"]


def test_an_endpoint_that_is_switched_off_is_called_no_more(
    receiver: Receiver, endpoint: Made, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = send_with(
        lambda: endpoints.change_endpoint(endpoint.endpoint, receiver.address, [], active=False), monkeypatch
    )
    assert report["sent"] == 1
    assert (len(receiver.calls), list_states(session)) == (1, ["sent", "waiting"])
    endpoints.change_endpoint(endpoint.endpoint, receiver.address, [], active=True)
    assert Clock().send()["sent"] == 1
    assert receiver.told == [("session_created", 1), ("session_updated", 2)]


def test_an_endpoint_that_is_deleted_is_called_no_more(
    receiver: Receiver, endpoint: Made, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = endpoints.add_endpoint(receiver.address + "other/")
    update_session(session, 2)
    assert send_with(lambda: endpoints.delete_endpoint(endpoint.endpoint), monkeypatch)["sent"] == 2
    assert [call.path for call in receiver.calls] == ["/", "/other/"]
    assert list(WebhookEndpoint.objects.values_list("pk", flat=True)) == [other.endpoint.pk]


def test_a_fault_in_a_call_ends_no_run(
    receiver: Receiver, endpoint: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    endpoints.add_endpoint(receiver.address + "other/")
    session = create_session().session
    real = calling.post

    def post(address: str, *given: Any) -> Answer:
        if address == receiver.address:
            raise ZeroDivisionError
        return real(address, *given)

    monkeypatch.setattr(calling, "post", post)
    assert Clock().send() == {"sent": 1, "failed": 1, "dead": 0}
    assert sorted(list_states(session)) == ["sent", "waiting"]
    assert [record.exc_info is not None for record in caplog.records if "webhook endpoint" in record.message] == [True]

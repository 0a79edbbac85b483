"""Secrets that change without a gap, the command, and the pages of the admin."""

from __future__ import annotations

import base64
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.timezone import localtime

from session_mgmt.actions.keys import rotation, usage
from session_mgmt.actions.privacy.export import export_user
from session_mgmt.actions.webhooks import endpoints
from session_mgmt.actions.webhooks.endpoints import Made
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import AuditEntry, WebhookCursor, WebhookDelivery, WebhookEndpoint
from session_mgmt.shortcuts import create_session
from tests.admin.conftest import live_parts, staff
from tests.webhooks.conftest import ADMIN, Clock, Receiver, configure, is_signed, list_states, run, update_session

pytestmark = pytest.mark.django_db
KEYS = (("k1", base64.b64encode(b"1" * 32).decode()),)


# -- secrets


def test_a_call_is_signed_and_for_a_day_after_a_rotation_by_both_secrets(receiver: Receiver, endpoint: Made) -> None:
    clock, session = Clock(), create_session().session
    clock.send()
    fresh = endpoints.rotate_secret(endpoint.endpoint.pk, now=clock.now)
    update_session(session, 1)
    clock.send()
    update_session(session, 2)
    clock.send(timedelta(hours=24))
    proofs = [(is_signed(call, endpoint.secret), is_signed(call, fresh)) for call in receiver.calls]
    assert proofs == [(True, False), (True, True), (False, True)]
    assert [len(call.signature.split(" ")) for call in receiver.calls] == [1, 2, 1]


def test_a_second_rotation_leaves_the_first_secret_its_time(receiver: Receiver, endpoint: Made) -> None:
    clock, session = Clock(), create_session().session
    second = endpoints.rotate_secret(endpoint.endpoint.pk, now=clock.now)
    third = endpoints.rotate_secret(endpoint.endpoint.pk, now=clock.now + timedelta(hours=1))
    clock.send(timedelta(hours=2))
    update_session(session, 1)
    clock.send(timedelta(hours=22, minutes=30))
    update_session(session, 2)
    clock.send(timedelta(hours=24))
    proofs = [[is_signed(call, secret) for secret in (endpoint.secret, second, third)] for call in receiver.calls]
    assert proofs == [[True, True, True], [False, True, True], [False, False, True]]


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["add", "--address", "https://hooks.example/" + "x" * 500], "address has at most 500"),
        (["add", "--address", "https://hooks.example/", "--tenant", "x" * 101], "tenant has at most 100"),
        (["add", "--address", "https://hooks.example/", "--tenant", "\udcff"], "tenant has at most 100"),
        (["replay", "--hours", "nan"], "a number from 0"),
        (["replay", "--hours", "1e300"], "a number from 0"),
        (["replay", "--hours", "x"], "a number from 0"),
        (["replay", "--endpoint", "9" * 20], "is not the number of an endpoint"),
    ],
)
def test_the_command_refuses_what_no_column_and_no_clock_holds(wrong: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(*wrong)


def test_a_secret_that_has_leaked_ends_at_once(receiver: Receiver, endpoint: Made) -> None:
    create_session()
    fresh = endpoints.rotate_secret(endpoint.endpoint.pk, at_once=True)
    Clock().send()
    (call,) = receiver.calls
    assert is_signed(call, fresh) and not is_signed(call, endpoint.secret)


def test_secrets_are_sealed_where_there_are_keys_and_move_with_them(
    receiver: Receiver, endpoint: Made, settings: Any
) -> None:
    assert endpoint.secret.encode() in bytes(WebhookEndpoint.objects.get().secrets)
    configure(settings, state_keys=KEYS)
    assert rotation.rotate_all().webhooks == 1
    assert endpoint.secret.encode() not in bytes(WebhookEndpoint.objects.get().secrets)
    assert usage.count_rows("default") == {"k1": {"webhooks": 1}}
    other = endpoints.add_endpoint(receiver.address + "other/")
    assert other.secret.encode() not in bytes(other.endpoint.secrets)
    create_session()
    assert Clock().send()["sent"] == 2
    first = next(call for call in receiver.calls if call.path == "/")
    assert is_signed(first, endpoint.secret)
    # A secret that was put into another row opens nothing.
    WebhookEndpoint.objects.filter(pk=other.endpoint.pk).update(secrets=WebhookEndpoint.objects.first().secrets)
    create_session()
    assert Clock().send() == {"sent": 1, "failed": 1, "dead": 0}
    assert "cannot be read" in WebhookDelivery.objects.get(state="waiting").last_error
    with pytest.raises(StateUnreadable):
        endpoints.rotate_secret(other.endpoint.pk)
    endpoints.rotate_secret(other.endpoint.pk, at_once=True)
    assert Clock().send(timedelta(hours=1))["sent"] == 1


# -- the command


def test_the_command_adds_lists_sends_replays_and_rotates(receiver: Receiver) -> None:
    made = run("add", "--address", receiver.address, "--event", "session_created")
    session = create_session().session
    # Sessions of this moment are due at this moment; no clock is set here.
    assert run("send") == {"sent": 1, "failed": 0, "dead": 0}
    (call,) = receiver.calls
    assert is_signed(call, made["secret"])
    (row,) = run("list")["endpoints"]
    assert row == {
        "id": made["endpoint"],
        "address": receiver.address,
        "active": True,
        "stopped": "",
        "events": ["session_created"],
        "tenant": "",
        "waiting": 0,
        "sent": 1,
        "dead": 0,
    }
    assert run("replay") == {"dry_run": False, "replayed": 0}
    for hours, found in (("1", 1), ("0", 0)):
        told = run("replay", "--state", "sent", "--session", str(session.pk), "--hours", hours, "--dry-run")
        assert told == {"dry_run": True, "replayed": found}
    assert list_states(session) == ["sent"]
    assert run("replay", "--state", "all", "--endpoint", str(made["endpoint"])) == {"dry_run": False, "replayed": 1}
    assert list_states(session) == ["waiting"]
    assert run("rotate", "--endpoint", str(made["endpoint"]), "--dry-run")["dry_run"] is True
    fresh = run("rotate", "--endpoint", str(made["endpoint"]))["secret"]
    assert run("send")["sent"] == 1
    assert is_signed(receiver.calls[1], fresh) and is_signed(receiver.calls[1], made["secret"])
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["add_webhook", "replay_webhooks", "replay_webhooks", "rotate_webhook"]


def test_the_command_says_what_it_does_to_people(receiver: Receiver, endpoint: Made, settings: Any) -> None:
    out, progress = StringIO(), StringIO()
    create_session()
    configure(settings, webhooks=False)
    for given in (["list"], ["replay", "--dry-run"]):
        call_command("session_webhooks", *given, stdout=out, stderr=progress)
    told = out.getvalue()
    assert f"{receiver.address} (active): 1 waiting, 0 sent, 0 dead; all events" in told
    assert "is off" in told and "would be sent again: 0" in told
    configure(settings)
    WebhookDelivery.objects.update(state="dead", settled_at=endpoint.endpoint.created_at)
    call_command("session_webhooks", "replay", stdout=out, stderr=progress)
    assert "1 deliveries" in progress.getvalue() and "will be sent again: 1" in out.getvalue()
    endpoints.stop_endpoint(endpoint.endpoint, "it answered 410")
    start, pk = ["session_webhooks", "start", "--endpoint", str(endpoint.endpoint.pk)], endpoint.endpoint.pk
    for given in (["--dry-run"], [], []):
        call_command(*start, *given, stdout=out)
    assert out.getvalue().splitlines()[-3:] == [
        f"Endpoint {pk} would be switched on. Waiting deliveries: 1.",
        f"Endpoint {pk} is switched on. Waiting deliveries: 1.",
        f"Endpoint {pk} is already on.",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["add"], "--address"),
        (["add", "--address", "ftp://x/"], "begins with https"),
        (
            ["add", "--address", "https://hooks.example.com/", "--event", "session_create"],
            "Did you mean 'session_create",
        ),
        (["rotate"], "--endpoint"),
        (["rotate", "--endpoint", "99"], "no endpoint 99. .* list"),
        (["start", "--endpoint", "99"], "no endpoint 99. .* list"),
        (["replay", "--endpoint", "99"], "no endpoint 99. .* list"),
    ],
)
def test_the_command_refuses_with_a_hint(given: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        run(*given)


# -- the admin


def test_an_endpoint_is_added_in_the_admin_and_its_secret_shown_once(operator: Client, receiver: Receiver) -> None:
    refused = operator.post(f"{ADMIN}webhookendpoint/add/", {"address": "https://10.0.0.1/", "active": "on"})
    assert "The address is private." in refused.content.decode()
    given = {"address": receiver.address, "events": ["session_created"], "active": "on"}
    page = operator.post(f"{ADMIN}webhookendpoint/add/", given)
    endpoint = WebhookEndpoint.objects.get()
    (secret,) = endpoints.read_secrets(endpoint, endpoint.created_at)
    assert secret in page.content.decode() and "no-store" in page["Cache-Control"]
    assert live_parts(page.content.decode()) == []
    for address in ("", f"{endpoint.pk}/change/"):
        assert secret not in operator.get(f"{ADMIN}webhookendpoint/{address}").content.decode()
    create_session()
    assert Clock().send()["sent"] == 1
    operator.post(f"{ADMIN}webhookendpoint/{endpoint.pk}/change/", {"address": receiver.address + "b/"})
    endpoint.refresh_from_db()
    assert (endpoint.address, endpoint.events, endpoint.active) == (receiver.address + "b/", [], False)
    fresh = operator.post(f"{ADMIN}webhookendpoint/{endpoint.pk}/rotate/").content.decode()
    assert endpoints.read_secrets(WebhookEndpoint.objects.get(), endpoint.created_at)[0] in fresh
    assert operator.get(f"{ADMIN}webhookendpoint/{endpoint.pk}/rotate/").status_code == 403
    operator.post(f"{ADMIN}webhookendpoint/{endpoint.pk}/delete/", {"post": "yes"})
    assert not WebhookEndpoint.objects.exists() and not WebhookDelivery.objects.exists()
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["add_webhook", "change_webhook", "rotate_webhook", "delete_webhook"]
    assert secret not in str(list(AuditEntry.objects.values_list("data", flat=True)))


def test_the_path_of_an_address_is_in_no_log_of_the_admin_and_in_no_export(
    operator: Client, receiver: Receiver, django_user_model: Any
) -> None:
    """Services such as chats put a secret into the path of their webhooks."""
    address = receiver.address + "T0/secret-of-the-site"
    operator.post(f"{ADMIN}webhookendpoint/add/", {"address": address, "active": "on"})
    endpoint, alice = WebhookEndpoint.objects.get(), django_user_model.objects.create(username="alice")
    create_session(user=alice)
    (delivery,) = (record for record in export_user(alice) if record["kind"] == "delivery")
    assert delivery["endpoint"] == f"{urlsplit(address).netloc} ({endpoint.pk})"
    clerk = staff("view_webhookdelivery")
    assert "secret-of-the-site" not in clerk.get(f"{ADMIN}webhookdelivery/").content.decode()
    page = operator.post(f"{ADMIN}webhookendpoint/{endpoint.pk}/change/", {"address": address}, follow=True)
    assert "secret-of-the-site" not in "".join(map(str, page.context["messages"]))
    operator.post(f"{ADMIN}webhookendpoint/{endpoint.pk}/delete/", {"post": "yes"})
    kept = [str(entry) for entry in LogEntry.objects.values_list("object_repr", "change_message")]
    assert len(kept) == 3 and "secret-of-the-site" not in str(kept)


def test_deliveries_are_seen_and_sent_again_in_the_admin(
    operator: Client, receiver: Receiver, endpoint: Made, settings: Any
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    clock, session = Clock(), create_session().session
    receiver.answer = lambda told: 500
    clock.send()
    page = operator.get(f"{ADMIN}webhookdelivery/").content.decode()
    assert "500" in page and "session_created" in page
    assert f"again at {localtime(WebhookCursor.objects.get().next_at):%H:%M:%S}" in page
    clock.send(timedelta(hours=25))
    assert list_states(session) == ["dead"]
    delivery = WebhookDelivery.objects.get()
    detail = operator.get(f"{ADMIN}webhookdelivery/{delivery.pk}/change/").content.decode()
    assert "given up" in detail and "&quot;sequence&quot;: 1" in detail
    answer = operator.post(
        f"{ADMIN}webhookdelivery/", {"action": "replay_selected", "_selected_action": [delivery.pk]}, follow=True
    )
    assert [str(message) for message in answer.context["messages"]] == ["1 delivery will be sent again."]
    receiver.answer = lambda told: 204
    assert clock.send()["sent"] == 1
    assert operator.post(f"{ADMIN}webhookdelivery/{delivery.pk}/delete/", {"post": "yes"}).status_code == 403


def test_who_may_only_look_changes_nothing_in_the_admin(receiver: Receiver, endpoint: Made) -> None:
    clerk = staff("view_webhookendpoint", "view_webhookdelivery")
    create_session()
    WebhookDelivery.objects.update(state="dead", settled_at=endpoint.endpoint.created_at)
    pk = endpoint.endpoint.pk
    page = clerk.get(f"{ADMIN}webhookendpoint/{pk}/change/").content.decode()
    assert receiver.address in page and "New secret" not in page
    assert clerk.post(f"{ADMIN}webhookendpoint/{pk}/rotate/").status_code == 403
    assert clerk.post(f"{ADMIN}webhookendpoint/add/", {"address": receiver.address}).status_code == 403
    assert clerk.post(f"{ADMIN}webhookendpoint/{pk}/change/", {"address": receiver.address}).status_code == 403
    given = {"action": "replay_selected", "_selected_action": [WebhookDelivery.objects.get().pk]}
    clerk.post(f"{ADMIN}webhookdelivery/", given)
    assert WebhookDelivery.objects.get().state == "dead"


def test_people_of_a_tenant_see_and_add_its_endpoints_only(operator: Client, receiver: Receiver, settings: Any) -> None:
    mine = endpoints.add_endpoint(receiver.address + "mine/", tenant="acme")
    other = endpoints.add_endpoint(receiver.address + "other/", tenant="other")
    configure(settings, tenant_of=lambda request: "acme")
    page = operator.get(f"{ADMIN}webhookendpoint/").content.decode()
    assert "/mine/" in page and "/other/" not in page
    assert operator.post(f"{ADMIN}webhookendpoint/{other.endpoint.pk}/rotate/").status_code == 404
    operator.post(f"{ADMIN}webhookendpoint/add/", {"address": receiver.address, "active": "on"})
    assert list(WebhookEndpoint.objects.order_by("pk").values_list("tenant", flat=True)) == ["acme", "other", "acme"]
    assert mine.endpoint.tenant == "acme"

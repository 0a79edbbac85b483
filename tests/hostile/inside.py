"""Run inside the hostile project by `test_hostile_host`; its name keeps it out of the suite's own run."""

from __future__ import annotations

import io
import re
from datetime import datetime, timedelta
from html import unescape

import pytest
from channels.testing import WebsocketCommunicator
from django.apps import apps
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import reverse

from session_mgmt import asgi
from session_mgmt.actions import cleanup
from session_mgmt.actions.sessions import expiry, lifecycle
from session_mgmt.bridge import bridge
from session_mgmt.consumers.websocket import SUBPROTOCOL
from session_mgmt.models import ClientSession, Publication, StateDocument
from session_mgmt.shortcuts import create_session, drain, get_session, is_connected, state, terminate_session
from session_mgmt.writes import verbs
from tests.hostile.accounts.models import Basket, Invoice, Person
from tests.walks.conftest import Peer

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "people"])
ROOM = "topic:orders:1"


@pytest.fixture
def person() -> Person:
    return Person.objects.create(email="ada@example.org")


@pytest.fixture
def created(person: Person) -> lifecycle.Created:
    return create_session(user=person, metadata={"device": "phone"})


def bearer(created: lifecycle.Created) -> dict[str, str]:
    return {"Authorization": f"Bearer {created.token.secret}"}


def test_the_checks_are_silent_and_no_migration_is_missing() -> None:
    call_command("check")
    call_command("makemigrations", "session_mgmt", "--check", "--dry-run", stdout=io.StringIO())


def test_the_tables_are_in_the_database_that_the_settings_name() -> None:
    tables = {model._meta.db_table for model in apps.get_app_config("session_mgmt").get_models()}
    assert tables <= set(connections["people"].introspection.table_names())
    assert not tables & set(connections["default"].introspection.table_names())


def test_a_session_of_a_user_with_a_key_of_another_kind(created: lifecycle.Created, person: Person) -> None:
    found = get_session(created.session.pk)
    assert found.user == person
    assert found.activity.expires_at > found.created_at


def test_a_document_and_a_topic_are_written_outside_and_inside_a_transaction(created: lifecycle.Created) -> None:
    state.update(created.session, {"cart": {"coupon": "WELCOME"}})
    assert state.get(created.session) == {"cart": {"coupon": "WELCOME"}}
    answer = Client().get(f"/shop/order/{created.session.pk}/".removeprefix("/shop"))
    assert answer.json() == {"ok": True}
    drain()
    assert state.get(created.session)["ordered"] is True
    assert Publication.objects.count() == 1


def test_what_a_failing_request_would_have_told_is_told_to_nobody(created: lifecycle.Created) -> None:
    answer = Client(raise_request_exception=False).get(f"/order/{created.session.pk}/?fail=1")
    assert answer.status_code == 500
    drain()
    assert state.get(created.session) == {}
    assert not Publication.objects.exists()


def test_the_rest_side_keeps_its_own_rules_and_the_script_name(created: lifecycle.Created) -> None:
    client = Client()
    address = reverse("session_mgmt:session-detail", kwargs={"pk": created.session.pk})
    assert address.startswith("/shop/de/api/v7/")
    path = address.removeprefix("/shop")
    answer = client.get(path, headers=bearer(created) | {"Accept": "text/html"})
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer.json()["user_id"] == str(created.session.user_id)
    refused = client.get(path)
    assert (refused.status_code, refused.json()["name"]) == (401, "auth_required")
    whole = client.put(
        path + "state/main/", {"long": "x" * 5000}, content_type="application/json", headers=bearer(created)
    )
    assert whole.status_code == 200, whole.content


def test_a_logged_in_user_creates_a_session_over_http(person: Person) -> None:
    client = Client()
    client.force_login(person)
    answer = client.post("/de/api/v7/sessions/", {}, content_type="application/json")
    assert answer.status_code == 201, answer.content
    assert answer.json()["endpoints"]["websocket"] == "/shop/live/"
    assert answer.json()["endpoints"]["session"].startswith("/shop/de/api/v7/sessions/")


async def test_a_client_connects_writes_and_comes_back(person: Person) -> None:
    made = await bridge().call(lifecycle.create_session, user=person)
    peer = Peer()
    connected = await peer.open(made.token.secret, logs={"state:main": None, ROOM: None})
    assert connected["session"]["user_id"] == str(person.pk)
    assert connected["session"]["created_at"].endswith("Z")
    assert connected["endpoints"]["websocket"] == "/shop/live/"
    assert connected["endpoints"]["session"].startswith("/shop/de/api/v7/sessions/")
    await peer.say(type="update", seq=1, doc="main", base=0, ops=[["set", "/a", 1]])
    assert (await peer.receipt(1))["ok"]
    assert await bridge().read(is_connected, made.session)
    await peer.drop()
    await bridge().read(verbs.publish, "orders:1", {"status": "paid"})
    back = Peer()
    positions = {name: verdict["position"] for name, verdict in connected["logs"].items()}
    again = await back.open(made.token.secret, client_id=connected["client_id"], logs=positions)
    assert again["verdict"] == "full"
    assert (await back.entry(ROOM))[0][2] == {"status": "paid"}
    await back.leave()


@pytest.mark.parametrize(
    ("path", "root", "is_there"),
    [
        ("/shop/live/", "", True),
        # As behind a proxy that takes the prefix away, and of a server that is told of it.
        ("/live/", "", True),
        ("/shop/live/", "/shop", True),
        ("/shopping/live/", "", False),
        ("/nowhere/", "", False),
    ],
)
async def test_a_socket_finds_its_address_below_the_script_name(path: str, root: str, is_there: bool) -> None:
    application = asgi.application(lambda *_: None)
    communicator = WebsocketCommunicator(application, path, [(b"host", b"shop.example")], [SUBPROTOCOL])
    communicator.scope["root_path"] = root
    assert (await communicator.connect(timeout=60))[0] is is_there
    await communicator.disconnect()


def test_sessions_expire_and_are_terminated_in_times_without_zone(created: lifecycle.Created, person: Person) -> None:
    other = create_session(user=person)
    expires = other.session.activity.expires_at
    assert expiry.expire_due(limit=10, now=expires.replace(year=expires.year + 1)) != []
    assert ClientSession.objects.get(pk=other.session.pk).state == ClientSession.State.EXPIRED
    third = create_session(user=person)
    assert terminate_session(third.session)
    cleanup.run_cleanup()


@pytest.fixture(scope="session")
def collected() -> None:
    call_command("collectstatic", "--noinput", verbosity=0)


def test_the_built_sdk_can_be_collected_with_hashed_names(collected: None) -> None:
    plain = "/shop/static/session_mgmt/session-client.js"
    assert staticfiles_storage.url("session_mgmt/session-client.js") not in ("", plain)


def test_the_admin_opens_in_another_language(collected: None, person: Person, created: lifecycle.Created) -> None:
    person.is_staff = person.is_superuser = True
    person.save()
    state.update(created.session, {"a": 1})
    client = Client()
    client.force_login(person)
    for page, arguments in (("changelist", []), ("change", [created.session.pk])):
        address = reverse(f"admin:session_mgmt_clientsession_{page}", args=arguments).removeprefix("/shop")
        assert client.get(address).status_code == 200


def test_deleting_a_user_takes_the_sessions_along(created: lifecycle.Created, person: Person) -> None:
    state.update(created.session, {"a": 1})
    person.delete()
    assert not ClientSession.objects.exists()
    assert not StateDocument.objects.exists()


def test_ended_sessions_are_purged_with_rows_of_the_project_and_one_that_is_protected_stays_alone(
    person: Person,
) -> None:
    kept, gone, plain = (create_session(user=person).session for _ in range(3))
    Invoice.objects.create(session=kept)
    Basket.objects.create(session=gone)
    for session in (kept, gone, plain):
        state.update(session, {"a": 1})
        terminate_session(session)
    ClientSession.objects.update(ended_at=datetime.now() - timedelta(days=40))
    report = cleanup.run_cleanup()
    assert (report.purged, report.failed) == (2, 0)
    assert list(ClientSession.objects.all()) == [kept]
    assert state.get(kept) == {"a": 1}
    assert not Basket.objects.exists()


def test_deleting_a_user_takes_rows_of_the_project_along(person: Person) -> None:
    session = create_session(user=person).session
    state.update(session, {"a": 1})
    Basket.objects.create(session=session)
    person.delete()
    assert not Basket.objects.exists()
    assert not ClientSession.objects.exists()


def test_the_admin_shows_restores_and_keeps_documents(
    collected: None, person: Person, created: lifecycle.Created
) -> None:
    person.is_staff = person.is_superuser = True
    person.save()
    client = Client()
    client.force_login(person)
    for coupon in ("WELCOME", "GOODBYE"):
        state.update(created.session, {"coupon": coupon})
    row = StateDocument.objects.get()
    pages = {
        name: reverse(f"admin:session_mgmt_statedocument_{name}", args=[row.pk]).removeprefix("/shop")
        for name in ("change", "versions", "compare", "restore", "act", "verify")
    }
    shown = {name: client.get(pages[name]).content.decode() for name in ("change", "versions", "compare")}
    assert "GOODBYE" in shown["change"] and "WELCOME" in shown["compare"]
    assert not re.findall(r'(?:href|action)="(?!/shop["/]|#|\?)[^"]*"', shown["change"] + shown["versions"])
    seen = re.search(r'name="seen" value="([^"]*)"', shown["compare"])
    assert seen is not None
    # The writer is another thread; inside the request's transaction it would wait for its own caller.
    answer = client.post(pages["restore"], {"to": 1, "seen": unescape(seen[1])})
    assert answer.status_code == 302 and answer["Location"].startswith("/shop/admin/")
    assert state.get(created.session) == {"coupon": "WELCOME"}
    assert client.post(pages["act"], {"do": "persist", "label": "kept"}).status_code == 302
    assert client.post(pages["verify"]).status_code == 200
    assert client.get(pages["compare"], {"moment": "2020-01-01T00:00"}).status_code == 200

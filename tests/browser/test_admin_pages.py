"""Every page of the admin can be read on a laptop and on a phone, in light and in dark, and from right to left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.test import Client
from playwright.sync_api import Browser, Page, Route

from session_mgmt.actions import audit
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.sessions.lifecycle import Device
from session_mgmt.actions.state.updates import Terms
from session_mgmt.actions.webhooks import endpoints
from session_mgmt.models import Connection, Outbox, StateConflict, StateDocument, WebhookCursor, WebhookDelivery
from session_mgmt.protocol.events import EVENT_TYPES
from session_mgmt.protocol.frames import Connect
from session_mgmt.shortcuts import publish, send, state
from session_mgmt.writes import verbs
from tests.attaching import attach_client
from tests.browser.waiting import open_context
from tests.ends import close, keep_receipt

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("on_this_thread")]
READABLE = Path(__file__).with_name("readable.js").read_text()
AGENT = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36"
ADDRESS = "2001:db8:85a3::8a2e:370:7334"
ADMIN = "/admin/session_mgmt/"
ARABIC = "/in-arabic"
RECEIPT = {
    "verdict": "state_only",
    "replayed": {"state:main": [3, 9], "topic:orders:42": [5, 16]},
    "lost": {"topic:news": [1, 40]},
    "duration_ms": 12.4,
}


@pytest.fixture(scope="module", autouse=True)
def beside_an_event_loop() -> Iterator[None]:
    """Let the ORM work on this thread, where the browser's event loop runs between the steps of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture
def operator(on_this_thread: None) -> Client:
    http = Client()
    http.force_login(get_user_model().objects.create_superuser("operator"))
    return http


@pytest.fixture
def addresses(operator: Client) -> list[str]:
    """Each kind of page about a session with long names, drops, conflicts and a trail."""
    owner = get_user_model().objects.create_user("a-rather-long-name@department.example.com")
    made = lifecycle.create_session(user=owner, device=Device("", ADDRESS, AGENT))
    _make_others(owner)
    client_id = None
    for number in range(3):
        connect = Connect(token=made.token.secret, client_id=client_id, acked=0, logs={}, agent="t")
        attachment = attach_client(connect, frozenset(), server="web-1:4242:ab12cd34")
        client_id = attachment.client_id
        keep_receipt(attachment, RECEIPT)
        if number < 2:
            close(attachment, code=4002, closed_by="server")
    Connection.objects.update(rtt_ms=140.2, rtt_average_ms=133, rtt_p95_ms=1480.5, rtt_jitter_ms=217, bytes_out=10**7)
    session = made.session
    for base, value in ((0, "old"), (1, "theirs"), (1, "mine " * 20)):
        terms = Terms(base=base, strategy="manual")
        verbs.update_now(session.pk, "main", "merge", {"cart": {"note": value}}, terms)
    state.update(session, {"list": list(range(60)), "text": "x" * 300})
    publish("orders:a-topic-with-a-rather-long-name-of-its-own", 1)
    send(session, {"hello": "a message that is longer than a phone is wide " * 3})
    entry = audit.add_entry(
        "restore_state", user=owner, ip=ADDRESS, session=session.pk, document="main", to=1, version=2
    )
    Outbox.objects.create(
        kind="publish", target="orders:a-topic-of-its-own", payload=b"1", refused="busy", created_at=entry.at
    )
    document = StateDocument.objects.get(name="main").pk
    conflict = StateConflict.objects.get().pk
    return [
        f"{ADMIN}clientsession/",
        f"{ADMIN}clientsession/{session.pk}/change/",
        f"{ADMIN}clientsession/person/{owner.pk}/",
        f"{ADMIN}statedocument/",
        *(f"{ADMIN}statedocument/{document}/{page}/" for page in ("change", "versions", "compare")),
        f"{ADMIN}stateconflict/",
        f"{ADMIN}stateconflict/{conflict}/change/",
        f"{ADMIN}auditentry/",
        f"{ADMIN}auditentry/{entry.pk}/change/",
        f"{ADMIN}stream/",
        f"{ADMIN}outbox/",
        f"{ADMIN}sessionevent/",
        *_make_webhooks(session.pk),
    ]


def _make_webhooks(session: uuid.UUID) -> list[str]:
    """Make an endpoint with a delivery that failed; return the addresses of their pages."""
    address = "https://hooks.a-rather-long-name.example.com/a/path/of/some/length?and=a-query"
    endpoint = endpoints.add_endpoint(address, EVENT_TYPES[:9]).endpoint
    moment = endpoint.created_at
    WebhookCursor.objects.create(session_id=session, endpoint=endpoint, head=2, next_at=moment, leased_until=moment)
    for number, event in enumerate(("connection_established", "session_created")):
        delivery = WebhookDelivery.objects.create(
            session_id=session,
            endpoint=endpoint,
            sequence=number + 1,
            event=event,
            payload=b'{"type": "connection_established", "data": {"client_id": "c_0123456789abcdef"}}',
            attempts=3,
            last_error="The host is at 192.168.1.1, which is private. SESSION_MGMT['webhook_networks'] can allow it.",
            state=("dead", "waiting")[number],
            recorded_at=moment,
            due_since=moment,
        )
    return [
        f"{ADMIN}webhookendpoint/",
        f"{ADMIN}webhookendpoint/add/",
        *(f"{ADMIN}webhookendpoint/{endpoint.pk}/{page}/" for page in ("change", "delete")),
        f"{ADMIN}webhookdelivery/",
        f"{ADMIN}webhookdelivery/{delivery.pk}/change/",
    ]


def _make_others(owner: Any) -> None:
    """Fill the lists with what asks for much room: other people, devices and long reasons."""
    for name in ("ben", "chloe@example.org"):
        device = Device(f"The kitchen tablet of {name}", "10.0.0.9", "Mozilla/5.0 (X11; Linux x86_64) Firefox/127.0")
        lifecycle.create_session(user=get_user_model().objects.create_user(name), device=device)
    ended = lifecycle.create_session(user=owner).session
    lifecycle.terminate_session(SERVER, ended.pk, reason="abuse")
    audit.add_entry("terminate", user=owner, session=ended.pk, reason="abuse of the service, as the operator has seen")
    audit.add_entry("compare_state", session=uuid.uuid4(), document="main", versions=[1, 3])


@pytest.fixture
def pages(operator: Client, addresses: list[str], settings: Any) -> dict[str, bytes]:
    """What the views answer, some of them also in Arabic. The browser asks on a context of its own, which does not see
    the test's transaction.
    """
    found = {address: _read_page(operator, address) for address in addresses}
    settings.LANGUAGE_CODE = "ar"
    mixed = (address for address in addresses if "session/" in address or "compare" in address)
    return found | {ARABIC + address: _read_page(operator, address) for address in mixed}


def _read_page(operator: Client, address: str) -> bytes:
    answer = operator.get(address)
    assert answer.status_code == 200, address
    return answer.content


@pytest.fixture
def screen(browser: Browser, pages: dict[str, bytes]) -> Iterator[Page]:
    """A browser that is given these pages and the static files."""
    context = open_context(browser)

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix("http://admin.test")
        found = finders.find(path.removeprefix("/static/")) if path.startswith("/static/") else None
        if found:
            route.fulfill(path=str(found))
        elif path in pages:
            route.fulfill(body=pages[path], content_type="text/html; charset=utf-8")
        else:
            route.abort()

    context.route("**/*", answer)
    yield context.new_page()
    context.close()


LOOKS: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
# A laptop, and a page that is magnified four times, which is narrower than any phone (WCAG 2.2, 1.4.10).
WIDTHS = (1280, 320)
# Colours that fade into each other are neither the ones nor the others when they are read.
AT_ONCE = "*, ::before, ::after { transition: none !important }"


def test_no_word_is_cut_off_or_too_faint(screen: Page, pages: dict[str, bytes]) -> None:
    problems: dict[tuple[str, str, int], list[str]] = {}
    for address in pages:
        screen.goto(f"http://admin.test{address}")
        screen.add_style_tag(content=AT_ONCE)
        for look, width in product(LOOKS, WIDTHS):
            screen.emulate_media(color_scheme=look)
            screen.set_viewport_size({"width": width, "height": 900})
            if found := screen.evaluate(READABLE):
                problems[address, look, width] = found
    assert problems == {}

"""A receiver of webhooks on this machine, and a project that may call it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from threading import Thread
from typing import Any, NamedTuple, Self

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.webhooks import endpoints, sending
from session_mgmt.actions.webhooks.calling import Answer
from session_mgmt.actions.webhooks.endpoints import Made
from session_mgmt.actions.webhooks.recording import known_endpoints
from session_mgmt.models import WebhookDelivery, clock
from tests.ports import take_port

ADMIN = "/admin/session_mgmt/"
LOCAL = ("127.0.0.0/8",)


class Call(NamedTuple):
    """What a receiver was sent."""

    id: str
    timestamp: int
    signature: str
    body: bytes
    path: str
    host: str

    @property
    def payload(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """A service that is told of events; ``answer`` gives the status of a call, by its payload.

    ``retry_after`` goes with each answer, if there is one.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answer: Callable[[Any], int] = lambda payload: 204
        self.retry_after = ""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                names = ("webhook-id", "webhook-timestamp", "webhook-signature")
                id_, stamp, signature = (self.headers[name] for name in names)
                call = Call(id_, int(stamp), signature, body, self.path, self.headers["Host"])
                receiver.calls.append(call)
                status = receiver.answer(call.payload)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", receiver.address + "elsewhere")
                if receiver.retry_after:
                    self.send_header("Retry-After", receiver.retry_after)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", take_port()), Handler)
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"

    @property
    def told(self) -> list[tuple[str, int]]:
        """Type and sequence of each call."""
        return [(call.payload["type"], call.payload["sequence"]) for call in self.calls]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="session")
def listening() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def receiver(listening: Receiver) -> Receiver:
    listening.calls.clear()
    listening.answer, listening.retry_after = lambda payload: 204, ""
    return listening


def configure(settings: Any, **more: Any) -> None:
    given = {"webhooks": True, "webhook_http": True, "webhook_networks": LOCAL, **more}
    settings.SESSION_MGMT = {**getattr(settings, "SESSION_MGMT", {}), **given}
    known_endpoints.forget()


@pytest.fixture(autouse=True)
def webhooks(settings: Any) -> Iterator[None]:
    """Switch webhooks on, to this machine too."""
    configure(settings)
    yield
    known_endpoints.forget()


@pytest.fixture
def endpoint(receiver: Receiver, webhooks: None, db: None) -> Made:
    """An endpoint that is told of all events."""
    return endpoints.add_endpoint(receiver.address)


class Clock:
    """A time after all that the test records, however slow the machine is, and as much later as the test wants."""

    def __init__(self) -> None:
        self.now: datetime = clock.read("default") + timedelta(minutes=10)

    def send(self, later: timedelta = timedelta(0)) -> dict[str, int]:
        """Let that time pass and send what is due."""
        self.now += later
        return sending.send_due(now=self.now).as_dict()


class OnThisThread:
    """Pool whose calls are made at once, so that they may ask the test's database."""

    def __init__(self, *_: Any) -> None:
        """Need no threads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Have nothing to wait for."""

    def submit(self, call: Callable[[], Answer]) -> Future[Answer]:
        found: Future[Answer] = Future()
        found.set_result(call())
        return found


def update_session(session: Any, number: int) -> None:
    """Record one event more."""
    lifecycle.update_session(SERVER, session.pk, metadata={"number": number})


def list_states(session: Any) -> list[str]:
    rows = WebhookDelivery.objects.filter(session=session).order_by("sequence")
    return list(rows.values_list("state", flat=True))


def is_signed(call: Call, secret: str) -> bool:
    """Verify as a receiver does that knows one secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{call.id}.{call.timestamp}.".encode() + call.body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}" in call.signature.split(" ")


def run(*given: str) -> Any:
    """Run the command, and return what it prints."""
    out = StringIO()
    call_command("session_webhooks", *given, "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.fixture
def operator() -> Client:
    http = Client()
    http.force_login(get_user_model().objects.create_superuser("operator"))
    return http

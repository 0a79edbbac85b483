"""A receiver of webhooks on this machine, and a project that may call it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import pytest

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.webhooks import endpoints, sending
from session_mgmt.actions.webhooks.endpoints import Made
from session_mgmt.actions.webhooks.recording import known_endpoints
from session_mgmt.models import WebhookDelivery, clock
from tests.ports import take_port

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
    """A service that is told of events; ``answer`` gives the status of a call, by its payload."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answer: Callable[[Any], int] = lambda payload: 204
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
    listening.answer = lambda payload: 204
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


def update_session(session: Any, number: int) -> None:
    """Record one event more."""
    lifecycle.update_session(SERVER, session.pk, metadata={"number": number})


def list_states(session: Any) -> list[str]:
    rows = WebhookDelivery.objects.filter(session=session).order_by("sequence")
    return list(rows.values_list("state", flat=True))

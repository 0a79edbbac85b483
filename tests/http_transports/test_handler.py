"""Calls pass through the project's middleware and the view on one thread, and everything else as Django does it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from django.core import signals
from django.core.handlers.asgi import ASGIHandler
from django.http import StreamingHttpResponse
from django.test import override_settings
from django.utils.decorators import async_only_middleware
from django.utils.deprecation import MiddlewareMixin

from session_mgmt.api.connections import CallView
from session_mgmt.asgi import application
from session_mgmt.consumers.http_handler import build_call_handler
from session_mgmt.consumers.http_requests import most_bytes
from session_mgmt.consumers.hub import hub
from tests.http_peer import HttpPeer

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]
HERE = "tests.http_transports.test_handler."
# Who did what on which thread, in its order.
noted: list[tuple[str, threading.Thread]] = []


def note(what: str) -> None:
    noted.append((what, threading.current_thread()))


class Outer(MiddlewareMixin):
    """Middleware that Django can run both ways."""

    def process_request(self, request: Any) -> None:
        note("outer request")

    def process_response(self, request: Any, response: Any) -> Any:
        note("outer response")
        response["X-Outer"] = "1"
        return response


class Inner:
    """Middleware that knows no event loop."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        note("inner request")
        response = self._get_response(request)
        note("inner response")
        return response


class Streaming(MiddlewareMixin):
    """Middleware that puts a stream in the place of the answer."""

    def process_response(self, request: Any, response: Any) -> Any:
        async def stream() -> AsyncIterator[bytes]:
            note("sent")
            yield response.content

        streaming = StreamingHttpResponse(stream(), content_type=response["Content-Type"])
        streaming._resource_closers.append(lambda: note("closed"))
        return streaming


@async_only_middleware
def need_loop(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap a handler by one that is asynchronous."""

    async def answer(request: Any) -> Any:
        note("needs the loop")
        return await get_response(request)

    return answer


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    noted.clear()
    original = CallView.answer

    def answer(view: CallView, request: Any, **more: Any) -> Any:
        note("view")
        return original(view, request, **more)

    monkeypatch.setattr(CallView, "answer", answer)


@pytest.fixture
async def attach(created: Any, declared: None) -> AsyncIterator[Callable[[], Any]]:
    """Attach a client by an application that is made in the test."""

    async def run() -> dict[str, Any]:
        transport = httpx.ASGITransport(app=application(ASGIHandler()))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await HttpPeer(client, created.token.secret).attach({})

    yield run
    await hub().stop()


@override_settings(MIDDLEWARE=[HERE + "Outer", HERE + "Inner"])
async def test_a_call_takes_one_thread_for_all_middleware_and_its_view(attach: Any) -> None:
    def begin(**kwargs: Any) -> None:
        note("started")

    def end(**kwargs: Any) -> None:
        note("finished")

    signals.request_started.connect(begin)
    signals.request_finished.connect(end)
    try:
        await attach()
    finally:
        signals.request_started.disconnect(begin)
        signals.request_finished.disconnect(end)
    around = ["started", "outer request", "inner request", "view", "inner response", "outer response", "finished"]
    assert [what for what, _ in noted] == around
    (thread,) = {thread for _, thread in noted}
    assert thread.name == "session_mgmt-request"


@override_settings(MIDDLEWARE=[HERE + "Streaming"])
async def test_what_a_middleware_streams_is_closed_when_it_was_sent(attach: Any) -> None:
    assert (await attach())["type"] == "connected"
    assert [what for what, _ in noted] == ["view", "sent", "closed"]


@override_settings(MIDDLEWARE=[HERE + "Outer", HERE + "need_loop"])
async def test_a_middleware_that_needs_the_event_loop_has_it(attach: Any) -> None:
    await attach()
    told = dict(noted)
    assert told["needs the loop"] is threading.current_thread() is not told["view"]


def test_only_djangos_own_application_is_passed_in_the_short_way() -> None:
    class Watched(ASGIHandler):
        """Application whose project adds something to each request."""

    assert build_call_handler(Watched()) is build_call_handler(lambda *_: None) is None
    assert build_call_handler(ASGIHandler()) is not None


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large_is_refused_before_all_of_it_has_come(declared: bool) -> None:
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += (size := most_bytes() // 2)
        assert taken <= 2 * most_bytes()
        return {"type": "http.request", "body": b" " * size, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")] + [(b"content-length", b"%d" % 10**12)] * declared
    path = "/api/connections/frames/"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    handler = build_call_handler(ASGIHandler())
    assert handler is not None
    await handler({**scope, "query_string": b"", "root_path": "", "scheme": "http"}, receive, send)
    assert sent[0]["status"] == 413 and not (declared and taken)
    await hub().stop()

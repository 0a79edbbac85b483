"""Calls of clients before Django: polls and streams, for which Django would hold a thread each, are answered here; for
other calls, its middleware and views run in one thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import orjson
from django.conf import settings as django_settings
from django.urls import Resolver404, resolve

from session_mgmt.actions import checking, limits
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers import origins
from session_mgmt.consumers.http_calls import record_refusal
from session_mgmt.consumers.http_handler import build_call_handler, run_on_thread
from session_mgmt.consumers.http_polls import answer_poll, stream_poll
from session_mgmt.consumers.http_requests import Request, most_bytes
from session_mgmt.consumers.hub import hub
from session_mgmt.consumers.prefix import strip_script_name
from session_mgmt.exceptions import (
    AuthError,
    FrameTooLarge,
    InternalError,
    InvalidField,
    MethodNotAllowed,
    SessionMgmtError,
)
from session_mgmt.protocol.codes import describe_refusal

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
# Checks the project's throttles for the scope and the body of a poll. No edge may import another one, so it is passed
# in.
Throttle = Callable[[Any, bytes], None]

POLL, CALLS = "connection-poll", ("connections", "connection-frames", "connection-leave")
PATH_ENDS = ("connections/poll/", "connections/", "connections/frames/", "connections/leave/")
JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"
# Longest part of a caller's name of a parameter that is sent back.
SHOWN_NAME = 100


class HttpApplication:
    """Answer polls and streams, pass other calls of clients through Django in one thread, and leave all other requests
    to it.
    """

    def __init__(self, django_application: Any, throttle: Throttle) -> None:
        self._django, self._throttle = django_application, throttle
        self._calls = build_call_handler(django_application) or django_application

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        # So that views, which run in threads, can find the loop of the server.
        bridge().home.adopt()
        route = _find_route(scope)
        if route != POLL:
            await (self._calls if route in CALLS else self._django)(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await _send_answer(scope, send, 204, b"")
        else:
            await _answer(scope, receive, send, self._throttle)


def _find_route(scope: Any) -> str | None:
    """Return which call of a client this is, by the name in our URL conf."""
    path = scope.get("path", "")
    # The list of a session's connections (GET) has as many paths as there are sessions.
    if not path.endswith(PATH_ENDS[0] if scope.get("method") != "POST" else PATH_ENDS):
        return None
    return _resolve_route("/" + strip_script_name(scope).lstrip("/"), django_settings.ROOT_URLCONF)


# Few paths have these ends. A client that invents such paths only fills this cache, and gains nothing.
@lru_cache(maxsize=64)
def _resolve_route(path: str, urlconf: Any) -> str | None:
    try:
        match = resolve(path, urlconf)
    except Resolver404:
        return None
    return match.url_name if "session_mgmt" in match.app_names else None


async def _answer(scope: Any, receive: Receive, send: Send, throttle: Throttle) -> None:
    request, caller = Request(scope, b""), None
    try:
        _check_head(request)
        request = Request(scope, await _read_body(receive))
        caller = limits.Caller(request.address, request.find_token())
        # Before any query, because guessed tokens must not reach the database.
        limits.admit_caller(caller)
        if settings().throttle_classes:
            # Code of the project, which may wait for a cache.
            await run_on_thread(throttle, scope, request.body)
        await _answer_unless_gone(request, receive, send)
    except SessionMgmtError as error:
        if caller is not None:
            limits.fine_caller(caller, error)
        hub().denials.note(error, "poll", address=request.address)
        if isinstance(error, AuthError) and caller is not None:
            await record_refusal(request, error)
        await _send_refusal(scope, send, error)
    except _Gone:
        pass
    except Exception:
        logger.exception("A poll failed")
        await _send_refusal(scope, send, InternalError())


class _Gone(Exception):
    """The client has closed the connection."""


async def _answer_unless_gone(request: Request, receive: Receive, send: Send) -> None:
    """Answer, and stop when the client is gone."""
    answering = asyncio.ensure_future(_answer_poll(request, send))
    leaving = asyncio.ensure_future(_wait_until_gone(receive))
    try:
        await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        answering.cancel()
        leaving.cancel()
        # A cancelled poll leaves its logs before the request ends.
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer_poll(request: Request, send: Send) -> None:
    if "text/event-stream" in request.headers.get("accept", ""):
        await stream_poll(request, send, _build_headers(request.scope, EVENTS, [(b"x-accel-buffering", b"no")]))
    else:
        await _send_answer(request.scope, send, 200, await answer_poll(request))


def _check_head(request: Request) -> None:
    if request.scope["method"] != "POST":
        raise MethodNotAllowed()
    _refuse_parameters(request.scope)
    checking.check_media_type(request.headers.get("content-type"), request.headers.get("content-encoding"))
    if checking.declares_more(request.headers.get("content-length"), most_bytes()):
        raise FrameTooLarge(limit=most_bytes())


def _refuse_parameters(scope: Any) -> None:
    """Refuse any parameter of the URL, as the views do for the other calls."""
    for name, _ in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
        raise InvalidField("There is no such parameter.", field=name[:SHOWN_NAME])


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _Gone()
        body += event.get("body", b"")
        if len(body) > most_bytes():
            raise FrameTooLarge(limit=most_bytes())
        if not event.get("more_body"):
            return bytes(body)


async def _send_refusal(scope: Any, send: Send, error: SessionMgmtError) -> None:
    more: Headers = []
    if error.retry_after is not None:
        more.append((b"retry-after", str(math.ceil(error.retry_after)).encode()))
    if error.status == 405:
        more.append((b"allow", b"POST, OPTIONS"))
    if error.status == 401:
        more.append((b"www-authenticate", b"Bearer"))
    await _send_answer(scope, send, error.status, orjson.dumps(describe_refusal(error)), more)


async def _send_answer(scope: Any, send: Send, status: int, body: bytes, more: Headers | None = None) -> None:
    headers = _build_headers(scope, JSON, [(b"content-length", str(len(body)).encode()), *(more or [])])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _build_headers(scope: Any, kind: bytes, more: Headers) -> Headers:
    found = [(name.lower().encode(), value.encode()) for name, value in origins.build_answer_headers(scope).items()]
    return [(b"content-type", kind), *found, *more]

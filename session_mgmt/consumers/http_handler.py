"""Django's handler for calls of clients, which runs all middleware and the view in one thread, as with WSGI.

With ASGI, Django enters and leaves a thread for each method of each middleware: sixteen times per call with the
middleware of a new project.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from contextvars import copy_context
from functools import partial
from typing import Any

from django.conf import settings as django_settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponseBase
from django.urls import set_script_prefix
from django.utils.module_loading import import_string

from session_mgmt.actions import checking
from session_mgmt.bridge import bridge
from session_mgmt.consumers import origins
from session_mgmt.consumers.http_requests import most_bytes


class CallHandler(ASGIHandler):
    """Handler of Django that enters a thread once for a request, and leaves it once."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Load the middleware in the form that needs no event loop."""
        super().load_middleware(is_async=False)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request. It is handled completely, even if the client no longer waits."""
        try:
            body = await self.read_body(_bound_body(scope, receive))
        except RequestAborted:
            return
        response = await run_on_thread(self._answer, scope, body)
        try:
            await self.send_response(response, send)
        finally:
            if response.streaming:
                await run_on_thread(response.close)

    def _answer(self, scope: Any, body: Any) -> HttpResponseBase:
        with closing(body):
            set_script_prefix(get_script_prefix(scope))
            signals.request_started.send(sender=type(self), scope=scope)
            request, refusal = self.create_request(scope, body)
            response: Any = refusal if request is None else self.get_response(request)
            response._handler_class = type(self)
            # A complete response is closed here; a middleware may have replaced it by a stream.
            if not response.streaming:
                response.close()
            return response


def _bound_body(scope: Any, receive: Any) -> Any:
    """Return ``receive``, with an end after as many bytes as show the view that the body is too large.

    Django first collects the whole body, on the disk if it is large; nobody needs that of a body that is refused.
    """
    most, taken = most_bytes(), 0
    is_refused = checking.declares_more(origins.read_headers(scope).get("content-length"), most)

    async def receive_bounded() -> Any:
        nonlocal taken
        if is_refused:
            return {"type": "http.request", "body": b"", "more_body": False}
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= most else {**message, "more_body": False}

    return receive_bounded


def build_call_handler(django_application: Any) -> CallHandler | None:
    """Build the handler for calls beside Django's own application; None if that is not the plain one, or if a
    middleware needs the event loop.
    """
    if type(django_application) is not ASGIHandler:
        return None
    classes = map(import_string, django_settings.MIDDLEWARE)
    return CallHandler() if all(getattr(one, "sync_capable", True) for one in classes) else None


async def run_on_thread(work: Any, *args: Any) -> Any:
    """Run work of a request in a thread of its own, with the context variables of the caller."""
    return await asyncio.wrap_future(bridge().start_request(partial(copy_context().run, work, *args)))

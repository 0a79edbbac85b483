"""Connections over HTTP (PROTOCOL section 16): the views pass each call to the event loop that serves the clients."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions import limits
from session_mgmt.api import errors
from session_mgmt.api.authentication import read_address, read_bearer
from session_mgmt.api.cookies import read_cookie, require_csrf
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.reading import read_body
from session_mgmt.api.views import ApiView
from session_mgmt.exceptions import (
    ClientForgotten,
    ConnectionLimit,
    Detached,
    Disconnected,
    FrameTooLarge,
    HeartbeatLost,
    InvalidToken,
    LoginCheck,
    OriginDenied,
    Replaced,
    SessionExpired,
    SessionMgmtError,
    SessionTerminated,
    TokenExpired,
    TransportUnavailable,
)
from session_mgmt.protocol.codes import describe_refusal

logger = logging.getLogger(__name__)

REFUSALS = (OriginDenied, InvalidToken, TokenExpired, LoginCheck, SessionExpired, SessionTerminated, ClientForgotten)
LATER_REFUSALS = (*REFUSALS, Replaced, HeartbeatLost, Detached, Disconnected)


class CallView(ApiView):
    """View of one call. ``serve`` answers the call, ``most_bytes`` limits its body, and ``build_headers`` returns the
    headers of every response. The URL conf passes them in, because this module may not import the event loop's code.
    """

    anonymous = True
    serve: Callable[..., bytes] | None = None
    wrap: Callable[..., Any] | None = None
    most_bytes: Callable[[], int] | None = None
    build_headers: Callable[..., dict[str, str]] | None = None

    def get_authenticators(self) -> list[Any]:
        """Return none: ``serve`` authenticates the call, together with everything else that the call claims."""
        return []

    def perform_authentication(self, request: Request) -> None:
        """Count the call for its rate limit, and require a CSRF token if the page's cookie proves the session."""
        cookie = read_cookie(request)
        self._caller = limits.Caller(read_address(request), read_bearer(request) or cookie)
        limits.admit_caller(self._caller)
        if self.needs_csrf() and cookie is not None:
            require_csrf(request)

    def check_permissions(self, request: Request) -> None:
        """Check no permissions here, for the same reason."""

    def needs_csrf(self) -> bool:
        """Return whether the call changes anything."""
        return True

    def get_exception_handler(self) -> Any:
        return _handle_exception

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        assert self.build_headers is not None
        for name, value in self.build_headers(build_scope(request)).items():
            final[name] = value
        return final

    def answer(self, request: Request, **more: Any) -> HttpResponse:
        """Pass the call to ``serve``, and return its response."""
        assert self.serve is not None and self.wrap is not None and self.most_bytes is not None
        body = read_body(request, most=self.most_bytes(), too_large=FrameTooLarge)
        return HttpResponse(self.serve(self.wrap(build_scope(request), body), **more), content_type="application/json")


class ConnectionsView(CallView):
    """View of ``connections/``."""

    @endpoint(
        "Attach a client over HTTP",
        description="The frame `connected`, as over a socket.",
        body="AttachBody",
        answer="Frames",
        errors=(*REFUSALS, ConnectionLimit),
    )
    def post(self, request: Request) -> HttpResponse:
        return self.answer(request)


class FramesView(CallView):
    """View of ``connections/frames/``."""

    @endpoint(
        "Send frames over HTTP",
        description="Entries of the named documents, receipts and replies, in order.",
        body="FramesBody",
        answer="Frames",
        errors=LATER_REFUSALS,
    )
    def post(self, request: Request) -> HttpResponse:
        return self.answer(request)


class LeaveView(CallView):
    """View of ``connections/leave/``."""

    @endpoint("Close the connection of a client for good", status=204, body="LeaveBody", errors=LATER_REFUSALS)
    def post(self, request: Request) -> HttpResponse:
        self.answer(request)
        return HttpResponse(status=204)


class PollView(CallView):
    """View of ``connections/poll/`` for servers that do not run this app's ASGI application; a poll that waits occupies
    a thread.
    """

    def needs_csrf(self) -> bool:
        return False

    @endpoint(
        "Receive missed frames, and wait for new ones",
        description="Frames as over a socket, as soon as there are any, or a stream of them.",
        body="PollBody",
        answer="Polled",
        errors=(*LATER_REFUSALS, TransportUnavailable),
    )
    def post(self, request: Request) -> HttpResponse:
        if "text/event-stream" in request.headers.get("Accept", ""):
            raise TransportUnavailable()
        has_loop = isinstance(request._request, ASGIRequest)
        if has_loop:
            _warn_of_threads()
        return self.answer(request, has_loop=has_loop)


def throttle_poll(scope: dict[str, Any], body: bytes) -> None:
    """Check the throttles of ``throttle_classes`` for a poll that is answered before Django. Raises
    ``TooManyRequests``, or the documented error for any exception of a throttle.
    """
    view = PollView()
    plain = ASGIRequest(scope, BytesIO(body))
    view.setup(plain)
    view.request = view.initialize_request(plain)
    try:
        view.check_throttles(view.request)
    except SessionMgmtError:
        raise
    except Exception as error:
        raise errors.translate_error(error) from error
    finally:
        # As after each request: a throttle may count in the database.
        close_old_connections()


@lru_cache
def _warn_of_threads() -> None:
    logger.warning(
        "A poll is held inside Django, with a thread of its own; session_mgmt.asgi.application holds it without one:"
        " docs/howto/serve.md"
    )


def build_scope(request: Request) -> dict[str, Any]:
    """Build an ASGI scope from a request of any server."""
    plain = request._request
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in plain.headers.items()]
    scheme = plain.META.get("wsgi.url_scheme") or getattr(plain, "scope", {}).get("scheme", "http")
    client = (plain.META["REMOTE_ADDR"], 0) if plain.META.get("REMOTE_ADDR") else None
    root = plain.META.get("SCRIPT_NAME", "")
    return {"type": "http", "headers": headers, "scheme": scheme, "root_path": root, "client": client}


def _handle_exception(error: Exception, context: dict[str, Any]) -> Response:
    response = errors.handle_exception(error, context)
    response.data = describe_refusal(errors.translate_error(error))
    return response

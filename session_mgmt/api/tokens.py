"""Tokens over HTTP: the exchange of a refresh token for the next pair, and tokens with fewer scopes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.sessions import narrowing, refreshing, stamps
from session_mgmt.api.authentication import read_bearer
from session_mgmt.api.cookies import is_from_page
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import NarrowForm, RefreshForm
from session_mgmt.api.sessions import read_device
from session_mgmt.api.views import ApiView, proven_session
from session_mgmt.exceptions import (
    InvalidToken,
    LoginCheck,
    PermissionDenied,
    ScopeMissing,
    SessionExpired,
    SessionTerminated,
    TokenExpired,
)

LONGEST_SECONDS = 10 * 365 * 24 * 3600


class _PageAuthentication(SessionAuthentication):
    """Authenticate the page's login by its cookies. No CSRF token is needed, because nothing happens without the secret
    in the body.
    """

    def enforce_csrf(self, request: Any) -> None:
        """Let the request pass."""


class RefreshView(ApiView):
    """View of ``tokens/refresh/``. The secret in the body is the proof of the session."""

    anonymous = True

    def get_authenticators(self) -> list[Any]:
        return [_PageAuthentication()]

    @endpoint(
        "Exchange a refresh token for the next pair",
        description="`access`, `refresh`, `expires_in` in seconds, `login_due_in`, `login_changed`."
        " The same nonce gets the same answer.",
        body="RefreshBody",
        answer="TokenPair",
        errors=(InvalidToken, TokenExpired, LoginCheck, SessionExpired, SessionTerminated),
    )
    def post(self, request: Request) -> Response:
        wanted = self.read_form(RefreshForm)
        if is_from_page(request):
            # This pair is from before the switch to cookies; the page gets a cookie when it enters again.
            raise InvalidToken("Here a page keeps its session in a cookie: enter.")
        refreshed = refreshing.refresh_tokens(
            wanted["token"],
            wanted["nonce"],
            evidence=stamps.read_evidence(request._request, request.user, may_write=False),
            device=read_device(request, ""),
        )
        return Response(refreshed.as_dict())


class NarrowView(ApiView):
    """View of ``tokens/narrow/``, for the holder of a session's token."""

    @endpoint(
        "Create a token with fewer scopes",
        status=201,
        description="`access`, `expires_in` in seconds, `scopes`. It expires no later than the caller's own token.",
        body="NarrowBody",
        answer="NarrowedToken",
        errors=(ScopeMissing, SessionTerminated, SessionExpired),
    )
    def post(self, request: Request) -> Response:
        if proven_session(request) is None:
            raise PermissionDenied("Only a session's token can be narrowed.")
        if is_from_page(request):
            raise PermissionDenied("Here a page keeps its session in a cookie, and is given no token.")
        wanted = self.read_form(NarrowForm)
        seconds = wanted.get("expires_in")
        # Longer than any token lives, and still small enough for arithmetic with dates.
        lifetime = None if seconds is None else timedelta(seconds=min(seconds, LONGEST_SECONDS))
        found = narrowing.narrow_token(read_bearer(request) or "", wanted["scopes"], lifetime=lifetime)
        body = {"access": found.access.secret, "expires_in": found.expires_in, "scopes": found.scopes}
        return Response(body, status=201)

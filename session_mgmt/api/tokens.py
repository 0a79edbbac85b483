"""Tokens over HTTP: the exchange of a refresh token for the next pair."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.sessions import refreshing, stamps
from session_mgmt.api.authentication import read_address
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import RefreshForm
from session_mgmt.api.views import ApiView
from session_mgmt.exceptions import InvalidToken, LoginCheck, SessionExpired, SessionTerminated, TokenExpired


class _PageAuthentication(SessionAuthentication):
    """Login of the page by its cookies. No CSRF token is needed: nothing happens without the secret of the body."""

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
        refreshed = refreshing.refresh_tokens(
            wanted["token"],
            wanted["nonce"],
            evidence=stamps.read_evidence(request._request, request.user, may_write=False),
            ip=read_address(request),
        )
        return Response(refreshed.as_dict())

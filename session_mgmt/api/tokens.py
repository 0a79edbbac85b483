"""Tokens over HTTP: the exchange of a refresh token for the next pair."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.sessions import refreshing
from session_mgmt.api.authentication import read_address
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import RefreshForm
from session_mgmt.api.views import ApiView
from session_mgmt.exceptions import InvalidToken, SessionExpired, SessionTerminated, TokenExpired


class RefreshView(ApiView):
    """View of ``tokens/refresh/``. The secret in the body is the only proof, so nothing else is looked at."""

    anonymous = True

    def get_authenticators(self) -> list[Any]:
        return []

    @endpoint(
        "Exchange a refresh token for the next pair",
        description="`access`, `refresh`, `expires_in` in seconds. The same nonce gets the same answer.",
        body="RefreshBody",
        answer="TokenPair",
        errors=(InvalidToken, TokenExpired, SessionExpired, SessionTerminated),
    )
    def post(self, request: Request) -> Response:
        wanted = self.read_form(RefreshForm)
        refreshed = refreshing.refresh_tokens(wanted["token"], wanted["nonce"], ip=read_address(request))
        return Response(refreshed.as_dict())

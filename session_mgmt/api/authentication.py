"""Who asks: a session by its bearer token, else whatever the project's own authentication says."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from session_mgmt.actions import access
from session_mgmt.actions.access import Actor
from session_mgmt.actions.sessions import incidents, tokens
from session_mgmt.conf import settings
from session_mgmt.exceptions import AuthError
from session_mgmt.models import ClientSession, clock

# What callers with a login of the project may be allowed beyond their own sessions.
RIGHTS = (access.MANAGE, access.MESSAGE, access.PUBLISH)


class SessionTokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer sma_…``. Sets ``request.auth`` to an ``Actor`` and ``request.client_session``.

    A session that has ended is still found: its client may ask why, and for a successor. ``ApiView`` refuses the rest.
    """

    def authenticate(self, request: Request) -> tuple[Any, Actor] | None:
        secret = bearer(request)
        if secret is None or not secret.startswith(tokens.ACCESS_PREFIX):
            return None
        session = self._find(request, secret)
        request.client_session = session  # type: ignore[attr-defined] # for the view
        return session.user or AnonymousUser(), Actor(session=session.pk, user_id=session.user_id)

    def _find(self, request: Request, secret: str) -> ClientSession:
        using = settings().database
        now = clock.read(using)
        try:
            return tokens.find(using, secret, now=now)
        except AuthError as error:
            incidents.auth_refused(secret, error, ip=address_of(request), now=now)
            raise

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def address_of(request: Request) -> str | None:
    """The caller's IP address; a Unix socket has none. Headers of proxies are the server's to believe, not ours."""
    try:
        return str(ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")))
    except ValueError:
        return None


def bearer(request: Request) -> str | None:
    """The bearer token of a request, whoever made it. Never from the query: URLs end up in logs."""
    scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def actor_of(request: Request) -> Actor:
    """The asker for the verbs; an anonymous one may do nothing with sessions that exist."""
    if isinstance(request.auth, Actor):
        return request.auth
    user = request.user
    if user is None or not user.is_authenticated:
        return Actor()
    return Actor(user_id=user.pk, permissions=frozenset(right for right in RIGHTS if user.has_perm(right)))

"""Cookie that authenticates a page's session over HTTP, with Django's CSRF protection.

A browser sends the cookie with every request, even with requests that another page has started. So a call that changes
something also needs the CSRF token.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied as DjangoRefusal
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.access import Actor
from session_mgmt.actions.sessions import cookies, stamps, tokens
from session_mgmt.actions.sessions.pairs import Pair
from session_mgmt.api.authentication import admit_token, refuse_ended
from session_mgmt.conf import settings
from session_mgmt.exceptions import AuthError, PermissionDenied
from session_mgmt.models import clock

NAME_HEADER = "X-Session-Name"
# Browsers add the first two automatically, and scripts cannot remove them.
_OF_BROWSERS = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE", "HTTP_COOKIE")


class ProvenCookie(BaseAuthentication):
    """Authentication of this app's own calls by the cookie of a page's session, where ``token_mode`` is ``cookie``.

    If a user who is logged in calls for another session than the cookie's, or has an old cookie, the project's own
    authentication decides.
    """

    def authenticate(self, request: Request) -> tuple[Any, Actor] | None:
        """Return the user and the actor of the session of a page's cookie, or ``None``. Unsafe calls need CSRF."""
        secret = read_cookie(request)
        if secret is None:
            return None
        using = settings().database
        try:
            token = tokens.find_token(using, secret, now=clock.read(using))
        except AuthError:
            if _has_login(request):
                return None
            raise
        if _has_login(request) and request.parser_context["kwargs"].get("pk") not in (None, str(token.session_id)):
            return None
        require_csrf(request)
        return admit_token(request, token)


class SessionCookieAuthentication(ProvenCookie):
    """Authentication of the project's own views by the cookie of a page's session, where ``token_mode`` is ``cookie``.

    A session that has ended is refused, and each refusal is an answer that REST framework gives.
    """

    def authenticate(self, request: Request) -> tuple[Any, Actor] | None:
        """Return the user and the actor of the live session of a page's cookie, or ``None``. Unsafe calls need CSRF."""
        with refuse_ended(request):
            return super().authenticate(request)


def _has_login(request: Request) -> bool:
    user = getattr(request._request, "user", None)
    return user is not None and user.is_authenticated


def read_cookie(request: Request) -> str | None:
    """Return the token in a page's cookie; ``None`` in bearer mode, and if the call has a token of its own."""
    return None if stamps.is_own_proof(request.META.get("HTTP_AUTHORIZATION", "")) else read_page_cookie(request)


def read_page_cookie(request: Request, name: str | None = None) -> str | None:
    """Return the token in a page's cookie, even if the call has another proof; ``None`` in bearer mode."""
    return cookies.read_secret(request.COOKIES, find_name(request, name)) if cookies.are_used() else None


def find_name(request: Request, name: str | None = None) -> str:
    """Return the name of the cookie for a request. A page with a ``name`` sends it in a header, or in the body of the
    call to enter.
    """
    found = request.headers.get(NAME_HEADER) if name is None else name
    return cookies.build_name(found, scheme=request.scheme or "", host=request.get_host())


def is_from_page(request: Request) -> bool:
    """Return whether a browser may have sent this request; browsers get tokens only in a cookie.

    A script in a page cannot pretend to be another program, because it cannot leave out these headers.
    """
    return cookies.are_used() and any(request.META.get(name) for name in _OF_BROWSERS)


def require_csrf(request: Request) -> None:
    """Require Django's CSRF token for a call that changes something. Raises ``PermissionDenied`` with Django's reason:
    a missing token, or an origin that is not trusted.
    """
    # Use Django's own check: DRF's would parse the body, which our own reader has to read, and only once.
    plain: Any = request._request
    try:
        SessionAuthentication().enforce_csrf(plain)
    except DjangoRefusal as error:
        raise PermissionDenied(str(error.detail)) from error


def set_cookie(request: Request, response: Response, pair: Pair, until: datetime, name: str | None = None) -> None:
    """Set the cookie of a page's session, which no script can read and no other host receives."""
    is_plain = cookies.is_plain(request.scheme or "", request.get_host())
    left = until - clock.read(settings().database)
    response.set_cookie(
        find_name(request, name),
        pair.refresh.secret,
        max_age=max(int(left.total_seconds()), 0),
        path="/",
        secure=not is_plain,
        httponly=True,
        samesite="Lax",
    )

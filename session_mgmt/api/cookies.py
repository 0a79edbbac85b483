"""Cookie that proves a page's session over HTTP: read, set and taken back, with Django's protection against forgery.

A browser sends it with every request, also with those that another page has made; so a call that changes something
needs the CSRF token as well.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.access import Actor
from session_mgmt.actions.sessions import cookies, tokens
from session_mgmt.actions.sessions.pairs import Pair
from session_mgmt.api.authentication import admit_token, refuse_ended
from session_mgmt.conf import settings
from session_mgmt.exceptions import AuthError
from session_mgmt.models import clock

NAME_HEADER = "X-Session-Name"
# Browsers add the first two by themselves, and no script can leave them out.
_OF_BROWSERS = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE", "HTTP_COOKIE")


class ProvenCookie(BaseAuthentication):
    """Authentication of this app's own calls by the cookie of a page's session, where ``token_mode`` is ``cookie``.

    Somebody who is logged in, and calls for another session than the cookie's or has an old cookie, is left to the
    project's own authentication.
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
    """Return the token of a page's cookie; ``None`` in the other mode, and where the call has an own proof."""
    return None if "HTTP_AUTHORIZATION" in request.META else read_page_cookie(request)


def read_page_cookie(request: Request, name: str | None = None) -> str | None:
    """Return the token of a page's cookie, whatever else proves who calls; ``None`` in the other mode."""
    return cookies.read_secret(request.COOKIES, find_name(request, name)) if cookies.are_used() else None


def find_name(request: Request, name: str | None = None) -> str:
    """Return the name of the cookie for a request. A page with a ``name`` says so in a header, or where it enters."""
    found = request.headers.get(NAME_HEADER) if name is None else name
    return cookies.build_name(found, scheme=request.scheme or "", host=request.get_host())


def is_from_page(request: Request) -> bool:
    """Return whether a browser may have sent this, to which tokens are given in a cookie only.

    A script in the page cannot pass for a program: it can leave out none of these headers.
    """
    return cookies.are_used() and any(request.META.get(name) for name in _OF_BROWSERS)


def require_csrf(request: Request) -> None:
    """Require Django's CSRF token for a call that changes something. Raises ``PermissionDenied``."""
    # Of Django itself: that of DRF would parse the body, which is read once, by our own reader.
    plain: Any = request._request
    SessionAuthentication().enforce_csrf(plain)


def set_cookie(request: Request, response: Response, pair: Pair, until: datetime, name: str | None = None) -> None:
    """Give a page the cookie of its session; no script can read it, and no other host gets it."""
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

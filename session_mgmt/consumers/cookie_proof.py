"""Proof of a socket if pages have a cookie for their session: the cookie of its handshake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.http.cookie import parse_cookie

from session_mgmt.actions.sessions import cookies, tokens
from session_mgmt.consumers import origins
from session_mgmt.exceptions import InvalidToken
from session_mgmt.models import Token
from session_mgmt.protocol.frames import BY_COOKIE, Connect


def prove_connect(frame: Connect, scope: Mapping[str, Any]) -> Connect:
    """Return a ``connect`` with the token that proves it.

    Raises ``InvalidField`` for a bad name, ``InvalidToken`` or ``OriginDenied``.
    """
    if frame.auth != BY_COOKIE:
        # A page has no token here, unless it is old or the token is stolen; programs have tokens, and send no origin.
        is_page = cookies.are_used() and "origin" in origins.read_headers(scope)
        if is_page or tokens.find_kind(frame.token) == Token.Kind.COOKIE:
            raise InvalidToken("Here the cookie of its handshake proves a page's socket.")
        return frame
    if not cookies.are_used():
        # An old page: it asks again how its session is proved now.
        raise InvalidToken("Here a token proves a socket: enter.")
    # Check it again, because a project may have overridden ``may_open``. Lax cookies are sent from every sister domain.
    origins.check_origin(scope, is_required=True)
    headers = origins.read_headers(scope)
    name = cookies.build_name(frame.name, scheme=origins.read_scheme(scope, headers), host=origins.read_host(headers))
    secret = cookies.read_secret(parse_cookie(headers.get("cookie", "")), name)
    if secret is None:
        raise InvalidToken("The handshake has no cookie of a session.")
    return replace(frame, token=secret)

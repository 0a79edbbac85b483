"""Calls of clients over HTTP as they come in, from Django's views and from the ASGI application alike.

The Origin rule is that of sockets. What proves the session is in the headers: a token, or the cookie of a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson
from django.http.cookie import parse_cookie

from session_mgmt.actions import addresses, checking
from session_mgmt.actions.sessions import cookies, stamps, tokens
from session_mgmt.conf import settings
from session_mgmt.consumers import origins
from session_mgmt.consumers.prefix import find_script_name
from session_mgmt.exceptions import AuthRequired, FrameTooLarge, InvalidJSON, InvalidToken
from session_mgmt.models import Token

# Room in addition to frames of the largest size: for claims, and the positions of all logs that a session may have.
AROUND_FRAMES = 64 * 1024
NAME_HEADER = "x-session-name"


def most_bytes() -> int:
    """Return how large a body may be."""
    return settings().max_frame_bytes + AROUND_FRAMES


@dataclass(frozen=True)
class Request:
    """One call: an ASGI scope, or what a view has made of its request in the same form, and the body."""

    scope: Mapping[str, Any]
    body: bytes = field(repr=False)

    @cached_property
    def headers(self) -> dict[str, str]:
        return origins.read_headers(self.scope)

    @property
    def address(self) -> str | None:
        return addresses.read_scope(self.scope)

    @property
    def script_name(self) -> str:
        return find_script_name(self.scope)

    def parse_body(self) -> Any:
        """Parse the body of a call that has a proof. Raises as ``find_token``, and the errors of JSON."""
        # First, so that a page of another site learns nothing, not even that its body was wrong.
        self.find_token()
        if not self.body:
            raise InvalidJSON("The body is empty.")
        if len(self.body) > most_bytes():
            raise FrameTooLarge(limit=most_bytes())
        return checking.parse_frames(self.body, most_bytes())

    def find_token(self) -> str:
        """Return what proves the session, once the page's origin is allowed.

        Raises ``OriginDenied``, ``InvalidToken``, ``InvalidField`` or ``AuthRequired``.
        """
        secret = self._read_bearer()
        origins.check_origin(self.scope, is_required=secret is None and cookies.are_used())
        if secret is None:
            return self._read_cookie()
        # A page has no token if cookies are used, unless it is old or the token is stolen.
        if (cookies.are_used() and "origin" in self.headers) or tokens.find_kind(secret) == Token.Kind.COOKIE:
            raise InvalidToken("Here a page's session is proved by its cookie.")
        return secret

    def _read_bearer(self) -> str | None:
        scheme, _, secret = self.headers.get("authorization", "").partition(" ")
        return secret.strip() if scheme.lower() == "bearer" else None

    def _read_cookie(self) -> str:
        if not cookies.are_used() or stamps.is_own_proof(self.headers.get("authorization", "")):
            raise AuthRequired()
        scheme, host = origins.read_scheme(self.scope, self.headers), origins.read_host(self.headers)
        name = cookies.build_name(self.headers.get(NAME_HEADER), scheme=scheme, host=host)
        secret = cookies.read_secret(parse_cookie(self.headers.get("cookie", "")), name)
        if secret is None:
            raise AuthRequired()
        return secret


def build_frames(texts: Iterable[str], **more: Any) -> bytes:
    """Build an answer of frames that are encoded already."""
    rest = "".join(f',"{name}":{orjson.dumps(value).decode()}' for name, value in more.items())
    return f'{{"frames":[{",".join(texts)}]{rest}}}'.encode()

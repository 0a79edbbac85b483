"""Origin of a handshake: pages of other sites cannot open a socket, and the server answers only to its own names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.http.request import split_domain_port, validate_host

from session_mgmt.conf import settings
from session_mgmt.documents.legible import show_plainly
from session_mgmt.exceptions import OriginDenied

_LOCAL_HOSTS = (".localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# Longest part of a caller's header that is sent back and logged.
_SHOWN = 200


def check_origin(scope: Mapping[str, Any], *, is_required: bool = False) -> None:
    """Check the origin and the host of a handshake. Raises ``OriginDenied``, which names both.

    A client that is not a browser sends no origin; it proves itself by its token. With a cookie as the proof, an origin
    is required, because a browser adds cookies to all requests of foreign pages. The scheme is that of
    ``SECURE_PROXY_SSL_HEADER`` or of the server, as for Django's own requests.
    """
    headers = read_headers(scope)
    host, origin = read_host(headers), headers.get("origin", "")
    _check_host(host)
    if is_required and not origin:
        raise OriginDenied("A cookie proves a session to a page only, and this handshake has no origin.")
    if not origin or _is_listed(origin):
        return
    own = f"{read_scheme(scope, headers)}://{host}"
    if _normalise(origin) != _normalise(own):
        theirs, ours = _show(origin), _show(own)
        raise OriginDenied(
            f"The page's origin is {theirs}, and this server was asked as {ours}. Behind nginx, pass the browser's own"
            ' host and scheme on: "proxy_set_header Host $http_host;" and X-Forwarded-Proto. Other origins are listed'
            " in allowed_origins.",
            origin=theirs,
            own=ours,
        )


def build_answer_headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """Build the headers of an answer to a call of a connection: not stored by caches, and readable for pages of allowed
    origins.
    """
    found = {
        "Cache-Control": "no-store, no-transform",
        "Vary": "Authorization, Cookie, Origin",
        "X-Content-Type-Options": "nosniff",
        "X-Session-Mgmt": "1",
    }
    origin = read_headers(scope).get("origin", "")
    if not origin or not _is_listed(origin):
        return found
    # With cookies a browser needs this header; it then sends credentials to the origins that are named.
    credentials = {"Access-Control-Allow-Credentials": "true"} if settings().token_mode == "cookie" else {}
    return {
        **found,
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, X-CSRFToken, X-Session-Name",
        "Access-Control-Expose-Headers": "Retry-After, X-Session-Mgmt",
        "Access-Control-Max-Age": "7200",
        **credentials,
    }


def _is_listed(origin: str) -> bool:
    return _normalise(origin) in map(_normalise, settings().allowed_origins)


def read_headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a handshake by their names in lower case; values of a repeated name are joined, as in
    Django.

    So nobody can add a second value that is read instead of the first.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in found:
            # HTTP/2 may send each cookie in a header of its own (RFC 9113 section 8.2.3).
            value = found[name] + ("; " if name == "cookie" else ",") + value
        found[name] = value
    return found


def read_host(headers: Mapping[str, str]) -> str:
    """Return the host of the request, from the same headers as Django."""
    forwarded = headers.get("x-forwarded-host") if django_settings.USE_X_FORWARDED_HOST else None
    return headers.get("host", "") if forwarded is None else forwarded


def _check_host(host: str) -> None:
    allowed = django_settings.ALLOWED_HOSTS or (_LOCAL_HOSTS if django_settings.DEBUG else ())
    if host and not _is_allowed(host, tuple(allowed)):
        shown = _show(host)
        raise OriginDenied(f"This server was asked as {shown}, which is not in ALLOWED_HOSTS.", host=shown)


def _show(text: str) -> str:
    # The caller chose the text, and it is logged: it must not fill the log, nor look like another line.
    return show_plainly(text, _SHOWN).text


# Few names, which all callers use. A caller that invents names only fills this cache, and gains nothing.
@lru_cache(maxsize=64)
def _is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    return validate_host(split_domain_port(host)[0], allowed)


def read_scheme(scope: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Return the scheme of allowed pages, ``http`` or ``https``, as the trusted proxy reports it."""
    trusted = django_settings.SECURE_PROXY_SSL_HEADER
    if trusted:
        name, secure = trusted
        forwarded = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())
        if forwarded is not None:
            # Each proxy of a chain appends a value; the first is from the proxy that the browser connected to. Django
            # reads it in the same way.
            return "https" if forwarded.split(",", 1)[0].strip() == secure else "http"
    return "https" if scope.get("scheme") in ("wss", "https") else "http"


def _normalise(origin: str) -> str:
    """Write an origin without the port that its scheme implies; a browser leaves it out."""
    # No origin contains NUL, so the port of an unknown scheme stays.
    return origin.lower().removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0].lower(), "\0"))

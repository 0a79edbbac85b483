"""Stamp inside a Django session, which identifies the login of a browser.

The key of a Django session changes at each login, and with signed cookies at each write; a value inside it remains
until the session is flushed. Therefore the stamp is such a value, and nothing else of the Django session is used.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.utils.crypto import salted_hmac

from session_mgmt.actions.sessions import hooks

NAME = "_session_mgmt"
_COOKIE = "session_mgmt.cookie"
_DERIVED = "session_mgmt.stamp"
# A browser adds these to every request to a site behind a password, also to a request that a foreign page has started.
_ADDED_BY_BROWSERS = ("", "basic", "digest", "negotiate")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Login that a request proves. Without a ``stamp``, it does not come from a Django session, and no login is linked
    to the session.

    ``auth_time`` is unknown for logins from before there were stamps, for logins without a Django session if the
    project does not know it, and while somebody else is ``acting``.
    """

    user: Any = None
    stamp: bytes | None = None
    cookie: bytes | None = None
    auth_time: datetime | None = None
    tenant: str = ""
    acting: str = ""
    scopes: tuple[str, ...] = ()


def read_evidence(request: Any, user: Any, *, may_write: bool = True) -> Evidence:
    """Return the evidence of a Django request for the user that authentication has found."""
    tenant = hooks.find_tenant(request)
    if user is None or not user.is_authenticated:
        return Evidence(tenant=tenant)
    has_own_proof = is_own_proof(request.META.get("HTTP_AUTHORIZATION", ""))
    is_by_cookie = not has_own_proof and is_logged_in(request, user)
    acting = hooks.find_impersonator(request, is_by_cookie=is_by_cookie)
    if not is_by_cookie:
        auth_time = None if acting else hooks.find_auth_time(request)
        return Evidence(user=user, auth_time=auth_time, tenant=tenant, acting=acting)
    cookie = read_cookie(request)
    stamp = read_stamp(request)
    if stamp is None and may_write and cookie is not None:
        # The login is from before there were stamps. Two requests at once must derive the same stamp.
        stamp = request.session[NAME] = {"id": _derive_id(cookie), "at": None}
    return Evidence(
        user=user,
        stamp=None if stamp is None else hash_id(stamp["id"]),
        cookie=hash_cookie(cookie),
        auth_time=None if acting else _find_auth_time(user, stamp),
        tenant=tenant,
        acting=acting,
    )


def is_own_proof(authorization: str) -> bool:
    """Return whether an ``Authorization`` header is a proof of the call's own; otherwise the cookies prove who calls.

    The check of the CSRF token and the search for the proof must agree on this.
    """
    return authorization.partition(" ")[0].lower() not in _ADDED_BY_BROWSERS


def is_logged_in(request: Any, user: Any) -> bool:
    """Return whether the request's Django session is a login of this user."""
    session = getattr(request, "session", None)
    return session is not None and session.get(SESSION_KEY) == user._meta.pk.value_to_string(user)


def write_stamp(request: Any, *, is_new: bool, now: datetime) -> None:
    """Stamp a Django session after a login; an existing stamp gets the new time, unless ``is_new``."""
    found = None if is_new else read_stamp(request)
    identity = secrets.token_urlsafe(32) if found is None else found["id"]
    request.session[NAME] = {"id": identity, "at": now.timestamp()}


def read_stamp(request: Any) -> dict[str, Any] | None:
    """Return the stamp of a request's Django session, or ``None``."""
    found = request.session.get(NAME)
    return found if isinstance(found, dict) and isinstance(found.get("id"), str) else None


def find_digest(request: Any) -> bytes | None:
    """Return the digest under which the login of a request is stored, with or without a stamp; ``None`` without a
    cookie.
    """
    stamp = read_stamp(request)
    if stamp is not None:
        return hash_id(stamp["id"])
    cookie = read_cookie(request)
    return None if cookie is None else hash_id(_derive_id(cookie))


def find_digest_by_key(key: str) -> bytes | None:
    """Return the digest of the login of a stored Django session; ``None`` if it is gone, or has no stamp."""
    engine = import_module(django_settings.SESSION_ENGINE)
    found = engine.SessionStore(key).get(NAME)
    return hash_id(found["id"]) if isinstance(found, dict) and isinstance(found.get("id"), str) else None


def read_cookie(request: Any) -> str | None:
    """Return the value of the cookie of Django's session, or ``None``."""
    value: str | None = request.COOKIES.get(django_settings.SESSION_COOKIE_NAME)
    return value or None


def hash_cookie(cookie: str | None) -> bytes | None:
    """Return the keyed hash of a cookie; only this hash is stored."""
    return None if cookie is None else salted_hmac(_COOKIE, cookie, algorithm="sha256").digest()


def hash_id(identity: str) -> bytes:
    """Return the SHA-256 of a stamp's id."""
    return hashlib.sha256(identity.encode(errors="surrogatepass")).digest()


def _derive_id(cookie: str) -> str:
    return salted_hmac(_DERIVED, cookie, algorithm="sha256").hexdigest()


def _find_auth_time(user: Any, stamp: dict[str, Any] | None) -> datetime | None:
    at = None if stamp is None else stamp.get("at")
    if not isinstance(at, int | float) or isinstance(at, bool):
        return None
    stamped = datetime.fromtimestamp(at, UTC)
    last = getattr(user, "last_login", None)
    return stamped if last is None else min(stamped, last if last.tzinfo else last.astimezone(UTC))

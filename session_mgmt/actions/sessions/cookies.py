"""Cookie that proves the session of a page when scripts must not read the token (``token_mode`` is ``cookie``).

Its value is a token like all others: random, stored as a digest, and revoked by the ``auth_version`` of its session. It
lives as long as its session can be recovered, and is valid for calls until the login of its browser must be proved
again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import datetime

from django.conf import settings as django_settings
from django.http.request import split_domain_port

from session_mgmt.actions.sessions import logins, tokens
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession, SessionActivity, Token

# With this prefix, browsers guarantee that the cookie was set over https, by this host, and for this host only (RFC
# 6265bis).
_HOST_ONLY = "__Host-"
_NAME = "session-mgmt"
_SUFFIX = re.compile("[A-Za-z0-9_-]{1,40}")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def are_used() -> bool:
    """Return whether pages prove their sessions with a cookie."""
    return settings().token_mode == "cookie"


def build_name(name: str | None, *, scheme: str, host: str) -> str:
    """Return the name of the cookie for a page's ``name``, given how this server was reached. Raises
    ``InvalidField``.
    """
    if name is not None and _SUFFIX.fullmatch(name) is None:
        raise InvalidField("name is 1 to 40 letters, digits, _ and -.", field="name")
    # A sister domain can set any other name, but not one with the prefix, which browsers accept over https only.
    prefix = "" if is_plain(scheme, host) else _HOST_ONLY
    return prefix + _NAME + (f"-{name}" if name else "")


def is_plain(scheme: str, host: str) -> bool:
    """Return whether this is a developer's own machine without TLS, the only place where ``Secure`` is left out."""
    domain = split_domain_port(host)[0]
    is_local = domain in _LOCAL or domain.endswith(".localhost")
    return django_settings.DEBUG and scheme == "http" and is_local


def read_secret(values: Mapping[str, str], name: str) -> str | None:
    """Return the token in the cookie of this name, or ``None`` if there is none or its form is wrong."""
    secret = values.get(name, "")
    return secret if secret.startswith(tokens.COOKIE_PREFIX) else None


def find_session(using: str, secret: str) -> uuid.UUID | None:
    """Return the session that a cookie was made for, even if the cookie is no longer valid, or ``None``."""
    mine = Token.objects.using(using).filter(digest=tokens.hash_token(secret), kind=Token.Kind.COOKIE)
    return mine.values_list("session_id", flat=True).first()


def find_end(session: ClientSession, activity: SessionActivity, now: datetime) -> datetime:
    """Return until when a new cookie is valid: to the next check of its login, or to the end of the retention."""
    end = activity.absolute_deadline + settings().retention
    due = None if session.login is None else logins.find_due(session.login)
    return end if due is None else min(end, due)

"""Cookie that proves the session of a page where no script may read the proof (``token_mode`` is ``cookie``).

Its value is a token as any other: random, stored as a digest, revoked by its session's ``auth_version``. It lives as
long as its session can be recovered, and counts for calls until its browser's login is due to be proved again.
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

# The prefix is a promise of the browser: set over https, by this host itself, and for this host alone (RFC 6265bis).
_HOST_ONLY = "__Host-"
_NAME = "session-mgmt"
_SUFFIX = re.compile("[A-Za-z0-9_-]{1,40}")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def are_used() -> bool:
    """Return whether pages prove their sessions by a cookie."""
    return settings().token_mode == "cookie"


def build_name(name: str | None, *, scheme: str, host: str) -> str:
    """Return the cookie's name for a page's ``name``, by how this server was asked. Raises ``InvalidField``."""
    if name is not None and _SUFFIX.fullmatch(name) is None:
        raise InvalidField("name is 1 to 40 letters, digits, _ and -.", field="name")
    # A sister domain can set any name but the one with the prefix, which a browser takes over https only.
    prefix = "" if is_plain(scheme, host) else _HOST_ONLY
    return prefix + _NAME + (f"-{name}" if name else "")


def is_plain(scheme: str, host: str) -> bool:
    """Return whether this is a developer's own machine without TLS, the one place without ``Secure``."""
    domain = split_domain_port(host)[0]
    is_local = domain in _LOCAL or domain.endswith(".localhost")
    return django_settings.DEBUG and scheme == "http" and is_local


def read_secret(values: Mapping[str, str], name: str) -> str | None:
    """Return the token of a cookie of this name; a value of another form is none."""
    secret = values.get(name, "")
    return secret if secret.startswith(tokens.COOKIE_PREFIX) else None


def find_session(using: str, secret: str) -> uuid.UUID | None:
    """Return the session that a cookie was made for, valid or not."""
    mine = Token.objects.using(using).filter(digest=tokens.hash_token(secret), kind=Token.Kind.COOKIE)
    return mine.values_list("session_id", flat=True).first()


def find_end(session: ClientSession, activity: SessionActivity, now: datetime) -> datetime:
    """Return until when a cookie counts that is made now: to a page's next proof of its login, if it has one."""
    end = activity.absolute_deadline + settings().retention
    due = None if session.login is None else logins.find_due(session.login)
    return end if due is None else min(end, due)

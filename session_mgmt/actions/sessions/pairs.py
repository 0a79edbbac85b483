"""Pairs of an access and a refresh token, which can be sent again to a client that has lost the answer.

The secrets of a pair are derived from the client's secret, a salt and a key of the server. Therefore the same request
gets the same pair, and the database contains only digests.
"""

from __future__ import annotations

import base64
import random
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_bytes

from django.conf import settings as django_settings
from django.db import connections
from django.db.models import Q
from django.utils.crypto import salted_hmac

from session_mgmt.actions.sessions import cookies
from session_mgmt.actions.sessions.tokens import ACCESS_PREFIX, COOKIE_PREFIX, Issued, hash_token
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession, SessionActivity, Token
from session_mgmt.models.sql import Statements

REFRESH_PREFIX = "smr_"
JITTER = 0.1
_SALT_BYTES = 16
_RANDOM = "[A-Za-z0-9_-]"
_REFRESH = re.compile(f"{REFRESH_PREFIX}({_RANDOM}{{22}})_{_RANDOM}{{43}}")
_NONCE = re.compile(f"{_RANDOM}{{43}}")
_PURPOSE = "session_mgmt.tokens."


@dataclass(frozen=True, slots=True)
class Pair:
    """Access token, and the refresh token that is exchanged for the next pair. Their secrets are never stored.

    For a page with a cookie, both are the same token.
    """

    access: Issued
    refresh: Issued


@dataclass(frozen=True, slots=True)
class Origin:
    """Secret from which a pair is derived, and the place of the pair in its family: ``parent`` is the id of the
    previous token.

    With ``is_cookie``, one token for a cookie is made instead of a pair.
    """

    secret: str = field(repr=False)
    family: uuid.UUID
    parent: int | None = None
    is_cookie: bool = False


def check_nonce(nonce: str) -> str:
    """Check and return a nonce, which is 256 random bits as base64url. Raises ``InvalidField``."""
    if _NONCE.fullmatch(nonce) is None:
        raise InvalidField("nonce is 32 random bytes as 43 characters of base64url.", field="nonce")
    return nonce


def begin_family(nonce: str, *, is_cookie: bool = False) -> Origin:
    """Return the origin of the first pair of a new family."""
    return Origin(nonce, uuid.uuid4(), is_cookie=is_cookie)


def read_family(secret: str) -> uuid.UUID | None:
    """Return the id of the family that a refresh token names, or ``None`` for any other text."""
    found = _REFRESH.fullmatch(secret)
    return uuid.UUID(bytes=base64.urlsafe_b64decode(found[1] + "==")) if found else None


def make_pair(
    origin: Origin, session: ClientSession, activity: SessionActivity, now: datetime
) -> tuple[list[Token], Pair]:
    """Return the rows of a new pair, not stored yet, and the pair. The refresh token lives as long as its session can
    be recovered.
    """
    salt = token_bytes(_SALT_BYTES)
    key = _list_keys()[0]
    if origin.is_cookie:
        cookie = Issued(_derive_cookie(key, origin, salt), cookies.find_end(session, activity, now))
        pair, issued = Pair(cookie, cookie), {Token.Kind.COOKIE: cookie}
    else:
        lifetime = settings().access_lifetime * random.uniform(1 - JITTER, 1 + JITTER)
        access, refresh = _derive_secrets(key, origin, salt)
        pair = Pair(Issued(access, now + lifetime), Issued(refresh, activity.absolute_deadline + settings().retention))
        issued = {Token.Kind.ACCESS: pair.access, Token.Kind.REFRESH: pair.refresh}
    rows = [
        Token(
            kind=kind,
            digest=hash_token(token.secret),
            session_id=activity.pk,
            family=origin.family,
            parent_id=origin.parent,
            auth_version=session.auth_version,
            salt=salt,
            created_at=now,
            expires_at=token.expires_at,
        )
        for kind, token in issued.items()
    ]
    return rows, pair


def start_family(using: str, session: ClientSession, origin: Origin, now: datetime) -> Pair:
    """Create and store the first pair of a new family for a session whose row the caller has locked."""
    rows, pair = make_pair(origin, session, session.activity, now)
    Statements(connections[using]).put(*rows)
    return pair


def tell_first_again(
    using: str, session: ClientSession, secrets: Iterable[str], *, unused_since: datetime | None = None
) -> Pair | None:
    """Return the first pair of one of a session's families if one of these secrets is its origin, else ``None``.

    With ``unused_since``, only a pair that was made since then and not exchanged.
    """
    rows = Token.objects.using(using).filter(session=session, parent=None, salt__isnull=False)
    if unused_since is not None:
        rows = rows.filter(created_at__gte=unused_since, used_at=None)
    families: dict[uuid.UUID, list[Token]] = {}
    # A used cookie is valid only for seconds, so it is useless to the client.
    used = Q(kind=Token.Kind.COOKIE, used_at__isnull=False)
    for row in rows.filter(auth_version=session.auth_version).exclude(used):
        families.setdefault(row.family, []).append(row)
    for family, members in families.items():
        for secret in secrets:
            pair = tell_again(Origin(secret, family), members)
            if pair is not None:
                return pair
    return None


def tell_again(origin: Origin, rows: Sequence[Token]) -> Pair | None:
    """Return the pair of these rows, or ``None`` if the rows or the key that made them are gone."""
    found = {row.kind: row for row in rows}
    if (cookie := found.get(Token.Kind.COOKIE)) is not None:
        return _tell_cookie_again(origin, cookie)
    access, refresh = found.get(Token.Kind.ACCESS), found.get(Token.Kind.REFRESH)
    if access is None or refresh is None or refresh.salt is None:
        return None
    for secrets in (_derive_secrets(key, origin, bytes(refresh.salt)) for key in _list_keys()):
        if hash_token(secrets[1]) == bytes(refresh.digest):
            return Pair(Issued(secrets[0], access.expires_at), Issued(secrets[1], refresh.expires_at))
    return None


def _tell_cookie_again(origin: Origin, row: Token) -> Pair | None:
    for secret in (_derive_cookie(key, origin, bytes(row.salt or b"")) for key in _list_keys()):
        if hash_token(secret) == bytes(row.digest):
            cookie = Issued(secret, row.expires_at)
            return Pair(cookie, cookie)
    return None


def _derive_cookie(key: str | bytes, origin: Origin, salt: bytes) -> str:
    return COOKIE_PREFIX + _derive_text(key, Token.Kind.COOKIE, origin.secret.encode() + salt)


def _derive_secrets(key: str | bytes, origin: Origin, salt: bytes) -> tuple[str, str]:
    """Return the secrets of the access and the refresh token of a pair."""
    value = origin.secret.encode() + salt
    access, refresh = (_derive_text(key, kind, value) for kind in (Token.Kind.ACCESS, Token.Kind.REFRESH))
    family = _encode(origin.family.bytes)
    return ACCESS_PREFIX + access, f"{REFRESH_PREFIX}{family}_{refresh}"


def _derive_text(key: str | bytes, kind: Token.Kind, value: bytes) -> str:
    return _encode(salted_hmac(_PURPOSE + kind.value, value, secret=key, algorithm="sha256").digest())


def _list_keys() -> list[str | bytes]:
    """Return the keys of the server, beginning with the one for new tokens."""
    return [*settings().token_keys] or [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

"""Fingerprints of credentials: a session is bound to its user's password, like Django's own sessions.

A session stores the first bytes of the SHA-256 of ``get_session_auth_hash()``. That hash is made with the server's
secret key, so a dump of the database shows nothing new about passwords.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, cast

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser

from session_mgmt.conf import settings

LENGTH = 16
# Passwords whose fingerprints are cached, so that the hash of an active user is computed once.
_KEPT = 10_000
_METHODS = ("get_session_auth_hash", "get_session_auth_fallback_hash", "_get_session_auth_hash")


def list_fingerprints(user: Any) -> tuple[bytes, ...]:
    """Return the fingerprint of a user's credentials, followed by those with the server's fallback keys.

    The result is empty without a user, and for a user model without such a hash.
    """
    if user is None or not hasattr(user, "get_session_auth_hash"):
        return ()
    return list_by_password(user.password) if is_of_password() else _hash_user(user)


def make_fingerprint(user: Any) -> bytes | None:
    """Return the fingerprint to which sessions of the user are bound now, or ``None``."""
    return next(iter(list_fingerprints(user)), None)


def fits(stored: bytes | memoryview | None, prints: tuple[bytes, ...]) -> bool:
    """Return whether a session is bound to these credentials. One that is not bound yet fits any."""
    return stored is None or not prints or bytes(stored) in prints


@lru_cache(maxsize=1)
def is_of_password() -> bool:
    """Return whether the hash depends only on a column ``password`` of the users' own table."""
    model = get_user_model()
    if any(getattr(model, name, None) is not getattr(AbstractBaseUser, name) for name in _METHODS):
        return False
    return any(field.column == field.name == "password" for field in model._meta.local_concrete_fields)


def list_by_password(password: str) -> tuple[bytes, ...]:
    """Return the fingerprints of a user with this value in the column ``password``."""
    # The keys are part of the cache's key, because tests replace them while the process runs.
    return _list_by_password(password, django_settings.SECRET_KEY, tuple(django_settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=_KEPT)
def _list_by_password(password: str, key: Any, fallbacks: tuple[Any, ...]) -> tuple[bytes, ...]:
    return _hash_user(get_user_model().from_db(settings().database, ["password"], [password]))


def _hash_user(user: Any) -> tuple[bytes, ...]:
    fallbacks = getattr(user, "get_session_auth_fallback_hash", tuple)
    hashes = [user.get_session_auth_hash(), *fallbacks()]
    return tuple(hashlib.sha256(cast(str, text).encode()).digest()[:LENGTH] for text in hashes)


def make_mark(stored: bytes | memoryview | None, password: str | None) -> bytes:
    """Return one digest of a session's fingerprint together with its user's password.

    The database computes the same digest (``render_mark``). Therefore the two are compared inside the database, and no
    password of the table is sent over the network or written to a log of slow statements.
    """
    return hashlib.sha256(f"{bytes(stored or b'').hex()}{password or ''}".encode()).digest()


def render_mark(fingerprint: str, password: str, *, postgres: bool) -> str:
    """Return ``make_mark`` as an SQL expression over two columns: hexadecimal digits on SQLite, bytes on PostgreSQL."""
    if postgres:
        text = f"encode(coalesce({fingerprint}, ''::bytea), 'hex') || coalesce({password}, '')"
        return f"sha256(convert_to({text}, 'UTF8'))"
    # SHA256 is a function that Django adds to its SQLite connections.
    return f"SHA256(lower(hex(coalesce({fingerprint}, ''))) || coalesce({password}, ''))"

"""Fingerprints of credentials: a session is bound to its user's password as Django binds its own sessions.

A session holds the first bytes of the SHA-256 of ``get_session_auth_hash()``. The secret of that hash is the server's
key, so a dump of the database shows nothing that was not in it before.
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
# Passwords of which the fingerprints are kept, so that a user who is served is hashed once.
_KEPT = 10_000
_METHODS = ("get_session_auth_hash", "get_session_auth_fallback_hash", "_get_session_auth_hash")


def list_fingerprints(user: Any) -> tuple[bytes, ...]:
    """Return the fingerprint of a user's credentials, then those by keys of the server that are being replaced.

    Empty for nobody, and for a user model without such a hash.
    """
    if user is None or not hasattr(user, "get_session_auth_hash"):
        return ()
    return list_by_password(user.password) if is_of_password() else _hash_user(user)


def make_fingerprint(user: Any) -> bytes | None:
    """Return the fingerprint that a session of the user is bound to today."""
    return next(iter(list_fingerprints(user)), None)


def fits(stored: bytes | memoryview | None, prints: tuple[bytes, ...]) -> bool:
    """Return whether a session goes with these credentials. One that is not bound yet goes with any."""
    return stored is None or not prints or bytes(stored) in prints


@lru_cache(maxsize=1)
def is_of_password() -> bool:
    """Return whether the hash depends on nothing but a column ``password`` of the users' own table."""
    model = get_user_model()
    if any(getattr(model, name, None) is not getattr(AbstractBaseUser, name) for name in _METHODS):
        return False
    return any(field.column == field.name == "password" for field in model._meta.local_concrete_fields)


def list_by_password(password: str) -> tuple[bytes, ...]:
    """Return the fingerprints of a user whose ``password`` is this column's value."""
    # Keys are part of the question: tests replace them in a process that lives on.
    return _list_by_password(password, django_settings.SECRET_KEY, tuple(django_settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=_KEPT)
def _list_by_password(password: str, key: Any, fallbacks: tuple[Any, ...]) -> tuple[bytes, ...]:
    return _hash_user(get_user_model().from_db(settings().database, ["password"], [password]))


def _hash_user(user: Any) -> tuple[bytes, ...]:
    fallbacks = getattr(user, "get_session_auth_fallback_hash", tuple)
    hashes = [user.get_session_auth_hash(), *fallbacks()]
    return tuple(hashlib.sha256(cast(str, text).encode()).digest()[:LENGTH] for text in hashes)


def make_mark(stored: bytes | memoryview | None, password: str | None) -> bytes:
    """Return one digest for a session's fingerprint and its user's password together.

    The database computes the same (``render_mark``), so that the two are compared where they are, and no password of
    the table goes over the wire or into a log of slow statements.
    """
    return hashlib.sha256(f"{bytes(stored or b'').hex()}{password or ''}".encode()).digest()


def render_mark(fingerprint: str, password: str, *, postgres: bool) -> str:
    """Return the expression of ``make_mark`` over two columns, as hexadecimal digits on SQLite and bytes otherwise."""
    if postgres:
        text = f"encode(coalesce({fingerprint}, ''::bytea), 'hex') || coalesce({password}, '')"
        return f"sha256(convert_to({text}, 'UTF8'))"
    # A function of Django's own connections.
    return f"SHA256(lower(hex(coalesce({fingerprint}, ''))) || coalesce({password}, ''))"

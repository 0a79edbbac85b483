"""Cursors: positions of pages. They are signed, and encrypted if they contain values that the page does not show."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from django.conf import settings as django_settings
from django.core import signing
from django.core.exceptions import ImproperlyConfigured

from session_mgmt.exceptions import CursorExpired, CursorForeign, CursorInvalid, InvalidField
from session_mgmt.protocol import position
from session_mgmt.protocol.position import Position

NEXT, PREVIOUS, RANGE = "next", "previous", "range"
_VERSION: Final = 1
_SALT: Final = "session_mgmt.pagination"
_MOST_TEXT: Final = 8192
_NONCE_BYTES: Final = 12


@dataclass(frozen=True)
class Reader:
    """Owner of a cursor, which is valid only for the same session, view, ordering and filters."""

    session: str
    view: str
    ordering: list[str]
    filters: str


@dataclass(frozen=True)
class Cursor:
    """Position in a list: a direction from a key, or the range between two keys. Keys are JSON."""

    direction: str
    key: list[Any] | None
    until: list[Any] | None
    size: int
    position: Position | None


def write_cursor(cursor: Cursor, reader: Reader, *, expires: datetime, sealed: bool) -> str:
    """Return the text of a cursor. ``sealed`` hides its keys, and needs the package cryptography.

    Raises ``InvalidField`` if a row's values are too long, because ``read_cursor`` would refuse the cursor.
    """
    keys: Any = [cursor.key, cursor.until]
    place = None if cursor.position is None else cursor.position.as_json()
    text = signing.dumps(
        {
            "v": _VERSION,
            "s": reader.session,
            "w": reader.view,
            "o": reader.ordering,
            "f": reader.filters,
            "d": cursor.direction,
            "k": _seal(keys) if sealed else keys,
            "n": cursor.size,
            "p": place,
            "e": expires.timestamp(),
        },
        salt=_SALT,
        compress=True,
    )
    if len(text) > _MOST_TEXT:
        order = ", ".join(reader.ordering)
        raise InvalidField(
            f"The list cannot be read by {order}: its values are too long for a cursor.", field="ordering"
        )
    return text


def read_cursor(text: str, reader: Reader, *, now: datetime) -> Cursor:
    """Read a cursor. Raises ``CursorInvalid``, ``CursorForeign`` (of another session or view) or ``CursorExpired``."""
    try:
        given = signing.loads(text, salt=_SALT) if len(text) <= _MOST_TEXT else None
    # Text that has no signature at all raises other errors.
    except (signing.BadSignature, ValueError):
        given = None
    if given is None:
        raise CursorInvalid()
    # Another release may have written the cursor; its client must read the list from the beginning.
    if given["v"] != _VERSION:
        raise CursorExpired()
    if (given["s"], given["w"]) != (reader.session, reader.view):
        raise CursorForeign()
    if given["e"] <= now.timestamp() or (given["o"], given["f"]) != (reader.ordering, reader.filters):
        raise CursorExpired()
    key, until = _open(given["k"]) if isinstance(given["k"], str) else given["k"]
    return Cursor(given["d"], key, until, given["n"], position.parse(given["p"]))


def _seal(keys: Any) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    cipher = _make_cipher(django_settings.SECRET_KEY)
    return signing.b64_encode(nonce + cipher.encrypt(nonce, orjson.dumps(keys), None)).decode()


def _open(text: str) -> Any:
    ciphers = [_make_cipher(secret) for secret in (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)]
    from cryptography.exceptions import InvalidTag

    raw = signing.b64_decode(text.encode())
    for cipher in ciphers:
        try:
            return orjson.loads(cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None))
        except InvalidTag:
            continue
    raise CursorInvalid()


def _make_cipher(secret: str | bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise ImproperlyConfigured(
            "Pages are ordered by a field that their rows do not show, so that their cursors must be encrypted: install"
            " session-mgmt[crypto], show the field in the serializer, or name it in keys of @publishes."
        ) from error
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_SALT.encode())
    return AESGCM(key.derive(secret.encode() if isinstance(secret, str) else secret))

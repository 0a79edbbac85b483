"""Check input from users against the limits of the settings."""

from __future__ import annotations

from dataclasses import replace
from email.message import Message
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from session_mgmt.conf import NAME, settings
from session_mgmt.documents import strict
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.limits import Extent, Limits, widen_limits
from session_mgmt.exceptions import (
    ERRORS_BY_NAME,
    DocumentTooLarge,
    InvalidJSON,
    SessionMgmtError,
    TooManyKeys,
    UnsupportedMediaType,
)

# The body and its list.
_AROUND_FRAMES = 2
# Digits of a declared length; whatever has more is beyond every limit.
_LENGTH_DIGITS = 18
# Characters of a content type; none that means JSON in UTF-8 is nearly as long.
_LONGEST_TYPE = 200


@lru_cache(maxsize=1)
def document_limits() -> Limits:
    """Return the limits of documents from the settings."""
    now = settings()
    return Limits(
        document_bytes=now.max_document_bytes,
        depth=now.max_depth,
        keys=now.max_keys,
        key_bytes=now.max_key_bytes,
        string_bytes=now.max_string_bytes,
        ops=now.max_ops,
    )


@lru_cache(maxsize=1)
def _text_limits() -> Limits:
    return widen_limits(document_limits())


@receiver(setting_changed)
def _forget_limits(*, setting: str, **_: Any) -> None:
    if setting == NAME:
        document_limits.cache_clear()
        _text_limits.cache_clear()


def translate_error(error: DocumentError) -> SessionMgmtError:
    """Return an error of the pure rooms as one of ours; both use the same codes."""
    place: dict[str, Any] = {"path": error.path} if error.path else {}
    return ERRORS_BY_NAME.get(error.code, InvalidJSON)(str(error) or None, **place)


class _Translation:
    """Block whose errors are translated. No generator: entering one costs a microsecond, several times a frame."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, DocumentError):
            raise translate_error(error) from error


_TRANSLATION = _Translation()


def translate_errors() -> _Translation:
    """Raise errors of the pure rooms as ours."""
    return _TRANSLATION


def declares_more(length: str | None, most: int) -> bool:
    """Return whether a header ``Content-Length`` declares more than ``most`` bytes; text that is no number does not."""
    # `isdigit` alone accepts signs that `int` refuses, and `int` refuses very many digits.
    if not length or not (length.isascii() and length.isdigit()):
        return False
    return len(length) > _LENGTH_DIGITS or int(length) > most


def check_media_type(kind: str | None, encoding: str | None) -> None:
    """Accept only JSON in UTF-8: another encoding would need a second parser, with other rules. Both values are those
    of the headers. Raises ``UnsupportedMediaType``.
    """
    kind = kind or "application/json"
    # The parser below takes quadratic time for some texts: seconds for one header of 32 KB.
    if (encoding or "").strip().lower() not in ("", "identity") or len(kind) > _LONGEST_TYPE:
        raise UnsupportedMediaType()
    # Use the standard library's header parser, because parameters may be quoted and in any order.
    given = Message()
    given["content-type"] = kind
    charset = str(given.get_param("charset") or "utf-8").lower()
    if given.get_content_type() != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType()


def parse_json(text: bytes | str, most: int) -> Any:
    """Parse JSON from outside: a frame or a body. Raises ``SessionMgmtError``.

    The values inside are checked where they are used, because their depth depends on the frame around them.
    """
    # Once for every frame: a context manager costs as much as the parser.
    try:
        return strict.parse_json(text, _text_limits(), most)
    except DocumentError as error:
        raise translate_error(error) from error


def parse_frames(text: bytes, most: int) -> Any:
    """Parse the JSON of a body that carries frames. Raises ``SessionMgmtError``."""
    limits = _text_limits()
    with translate_errors():
        return strict.parse_json(text, replace(limits, depth=limits.depth + _AROUND_FRAMES), most)


def check_value(value: Any, inside: int = 0) -> Any:
    """Return a value, normalised, under the rules of every transport. Raises ``SessionMgmtError``.

    ``inside`` counts the containers around it.
    """
    with translate_errors():
        return strict.check_value(value, document_limits(), inside)


def check_extent(extent: Extent) -> None:
    """Refuse a document that would be too large or have too many keys. Raises ``SessionMgmtError``."""
    most = document_limits().extent
    if extent.bytes > most.bytes:
        raise DocumentTooLarge(size=extent.bytes, limit=most.bytes)
    if extent.keys > most.keys:
        raise TooManyKeys("The document would have more keys than the limit.", size=extent.keys, limit=most.keys)

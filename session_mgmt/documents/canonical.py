"""RFC 8785 (JCS): one byte string for each value, the same in Python and JavaScript."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import orjson
import rfc8785

from session_mgmt.documents.errors import InvalidJSON, NumberOutOfRange
from session_mgmt.documents.values import JSON

# A float that the fast encoder may write differently from JavaScript: with an exponent, or with an integral value.
_ODD_FLOAT = re.compile(rb"(?:^|[:,\[])-?[0-9]+(?:\.[0-9]+)?(?:e|(?<=\.0)(?:[,\]}]|$))")
_SHAPES: Final = bytes.maketrans(b"123456789", b"111111111")
_ODD_SHAPES: Final = (b"0e", b"1e", b".0,", b".0]", b".0}")
# First bytes in UTF-8 of U+E000-U+FFFF and of the astral planes. JCS sorts by UTF-16 units, so astral planes go first.
_AFTER_SURROGATES: Final = (b"\xee", b"\xef")
_ASTRAL: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")


def encode_canonical(value: JSON) -> bytes:
    """Return the RFC 8785 bytes of a value that came from `strict.parse_json` or `strict.check_value`.

    Raises NumberOutOfRange or InvalidJSON for values that JCS cannot represent. Does not look for NaN, because both
    functions refuse it.
    """
    try:
        written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        return _encode_slowly(value)
    # The fast encoder is several times faster and agrees with RFC 8785 on nearly all values; check whether this one may
    # be an exception.
    return _encode_slowly(value) if _may_differ(written) else written


def compute_checksum(value: JSON) -> str:
    """Return the SHA-256 of the canonical bytes in lower-case hex. It detects divergence, but does not
    prevent forgery.
    """
    return hashlib.sha256(encode_canonical(value)).hexdigest()


def _may_differ(written: bytes) -> bool:
    shapes = written.translate(_SHAPES)
    # Search for bytes first, which is cheap. A hit may be inside a string, so the regular expression decides.
    odd = written.endswith(b".0") or any(shape in shapes for shape in _ODD_SHAPES)
    if odd and _ODD_FLOAT.search(written):
        return True
    if written.isascii():
        return False
    return any(byte in written for byte in _AFTER_SURROGATES) and any(byte in written for byte in _ASTRAL)


def _encode_slowly(value: JSON) -> bytes:
    try:
        return rfc8785.dumps(value)
    except (rfc8785.FloatDomainError, rfc8785.IntegerDomainError) as error:
        raise NumberOutOfRange("A number is not finite or an integer beyond 2^53-1.") from error
    except rfc8785.CanonicalizationError as error:
        raise InvalidJSON("The value cannot be written as JSON.") from error

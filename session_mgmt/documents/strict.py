"""JSON parser of all transports, and the same rules for values from Python code."""

from __future__ import annotations

import math
import re
from itertools import accumulate
from typing import Final

import orjson

from session_mgmt.documents.errors import (
    DocumentError,
    DocumentTooLarge,
    ForbiddenKey,
    InvalidJSON,
    KeyTooLong,
    NumberOutOfRange,
    StringTooLong,
    TooDeep,
    TooManyKeys,
)
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import JSON, normalise_number

# As a key of a JavaScript object it would set the prototype.
_FORBIDDEN: Final = "__proto__"
_LONGEST_UTF8: Final = 4

_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
# 16 digits in a row, after all digits were replaced by zeros: the integer may be beyond 2^53.
_SUSPECT_INTEGER: Final = b"0" * 16
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {ord("["): 1, ord("]"): -1}
# To search for one byte costs a fifth of a search for two or more.
_BACKSLASH, _UNDERSCORE, _POINT, _PLUS = b"\\_.+"
# orjson silently turns integers of 2^64 and more into floats; smaller ones are checked as values.
_ODD_FLOAT = re.compile(rb"\.0(?![0-9])|e\+")
_HUGE_INTEGER = re.compile(rb"(?:^|[\s,:\[])-?[0-9]{17,}+(?![.eE])")
# Numbers that may be infinite, by digits or exponent. Possessive, so that all digits are read only once.
_VAST = re.compile(
    rb"(?<![0-9.])(?:[0-9]{309,}+(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|[0-9]++(?:\.[0-9]++)?+[eE]\+?[0-9]{3,}+)"
)


def parse_json(raw: bytes | str, limits: Limits, max_bytes: int) -> JSON:
    """Parse JSON from outside: UTF-8 without BOM, at most `max_bytes`, within `limits`.

    Refuses NaN, infinities, numbers that no double can hold, integers beyond 2^53-1, duplicate keys, lone surrogates,
    NUL characters and `__proto__` keys. Floats with integral values are returned as int. Raises a DocumentError.
    """
    data = raw if type(raw) is bytes else _as_bytes(raw)
    # Before anything else, because the cost of all later steps depends on the size.
    if len(data) > max_bytes:
        raise DocumentTooLarge(f"The JSON text is larger than {max_bytes} bytes.")
    # The depth cannot exceed the number of opening brackets; most texts have fewer than the limit.
    if data.count(b"[") + data.count(b"{") > limits.depth:
        _check_depth(data, limits.depth)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _explain_parse_error(data, error) from error
    # True for nearly all texts: a walk in Python costs much more than the parser.
    if _is_plain(data, value, limits):
        return value
    return _examine_value(data, value, limits)


def dump_json(value: JSON) -> bytes:
    """Return compact UTF-8 JSON in insertion order."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise InvalidJSON("The value cannot be written as JSON.") from error


def check_value(value: JSON, limits: Limits, inside: int = 0) -> JSON:
    """Return a normalised copy of a Python value, checked by the rules of `parse_json`; `inside` is the number of
    containers around it.

    Accepts only dict (str keys), list, str, int, float, bool and None. A tuple is refused, because it would be read
    back as a list.
    """
    return _Walk(limits).copy_value(value, inside)


def _as_bytes(raw: bytes | str) -> bytes:
    if isinstance(raw, bytes):
        return raw
    try:
        return raw.encode()
    except UnicodeEncodeError as error:
        raise InvalidJSON("The text holds a lone surrogate.") from error


def _explain_parse_error(data: bytes, error: orjson.JSONDecodeError) -> DocumentError:
    """Return the reason why the parser failed. A number that no double can hold is valid JSON, and is refused with the
    same error as in Python values.
    """
    if any(float(found[0]) == math.inf for found in _VAST.finditer(_outside_strings(data))):
        return NumberOutOfRange("A number is not finite.")
    # The parser names the first character for text that is not UTF-8.
    place = f", at line {error.lineno}, column {error.colno}" if error.pos else ""
    return InvalidJSON(f"The text is not valid JSON in UTF-8{place}.")


def _is_plain(data: bytes, value: JSON, limits: Limits) -> bool:
    """Return True if searches in C prove that every rule holds; False only means that a walk must decide."""
    # An escape may hide a colon, a key or a surrogate from the searches.
    if (_BACKSLASH in data and b"\\u" in data) or (_UNDERSCORE in data and b"__proto__" in data):
        return False
    if _SUSPECT_INTEGER in data.translate(_DIGITS):
        return False
    colons, size = data.count(b":"), len(data)
    # No string is longer than the whole text.
    is_short = size <= limits.key_bytes and size <= limits.string_bytes
    if colons > limits.keys or not (is_short or _strings_are_short(data, limits)):
        return False
    # Each duplicate key that the parser dropped also dropped its colon. Without \u escapes, colons inside strings stay
    # as they are, so equal counts mean that nothing was dropped.
    written = orjson.dumps(value)
    if written.count(b":") != colons:
        return False
    # A float with an integral value is written with .0 or a positive exponent.
    may_be_odd = (_POINT in written and b".0" in written) or (_PLUS in written and b"e+" in written)
    return not may_be_odd or _ODD_FLOAT.search(_outside_strings(written)) is None


def _strings_are_short(data: bytes, limits: Limits) -> bool:
    # An escaped quote would split the strings at the wrong places.
    if b"\\" in data:
        return False
    strings = data.split(b'"')[1::2]
    return max(map(len, strings), default=0) <= min(limits.key_bytes, limits.string_bytes)


def _examine_value(data: bytes, value: JSON, limits: Limits) -> JSON:
    # Ignore numbers and colons inside strings.
    outside = _outside_strings(data)
    walk = _Walk(limits)
    # The walk names the place, but it does not see what the parser has made a float of.
    copy = walk.copy_value(value, 0)
    if _HUGE_INTEGER.search(outside):
        raise NumberOutOfRange("An integer is beyond 2^53-1.")
    # orjson keeps only the last of two equal keys, so the walk counts fewer keys.
    if walk.keys != outside.count(b":"):
        raise InvalidJSON("An object holds a key twice.")
    return copy


def _outside_strings(data: bytes) -> bytes:
    """Return the text without the parts between quotes; only brackets, colons and numbers in the result are used."""
    # Remove pairs of backslashes first, so that the quote after "\\" ends its string.
    parts = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    return b'"'.join(parts[::2])


def _check_depth(data: bytes, limit: int) -> None:
    brackets = _outside_strings(data).translate(_BRACKETS, _NO_BRACKET)
    # Each pass removes the innermost pairs, so the number of passes for a well-formed text is its depth.
    rest, too_deep = brackets, b"[" * (limit + 1)
    for _ in range(limit):
        rest = rest.replace(b"[]", b"")
        if not rest:
            return
        if too_deep in rest:
            break
    # The rest is too deep or not well-formed; in the second case the parser reports the error.
    if any(deep > limit for deep in accumulate(map(_STEPS.__getitem__, brackets))):
        raise TooDeep(f"The JSON text is nested deeper than {limit}.")


class _Walk:
    """Walk over a value that checks, normalises and copies it, and counts its keys."""

    def __init__(self, limits: Limits) -> None:
        self.keys = 0
        self._limits = limits

    def copy_value(self, value: JSON, inside: int) -> JSON:
        kind = type(value)
        if kind is str:
            _check_text(value, self._limits)
            return value
        if kind is int or kind is float:
            return check_number(value)
        if value is None or kind is bool:
            return value
        # Values from Python code have no depth limit from the parser, so the recursion must end here.
        if inside >= self._limits.depth:
            raise TooDeep(f"The value is nested deeper than {self._limits.depth}.")
        if kind is dict:
            return self._copy_object(value, inside + 1)
        if kind is list:
            return self._copy_list(value, inside + 1)
        raise InvalidJSON(f"A value of Python's type {kind.__name__} is not JSON.")

    def _copy_object(self, members: dict[str, JSON], inside: int) -> dict[str, JSON]:
        self.keys += len(members)
        if self.keys > self._limits.keys:
            raise TooManyKeys(f"More than {self._limits.keys} keys.")
        copied = {}
        for key, value in members.items():
            try:
                check_key(key, self._limits)
                copied[key] = self.copy_value(value, inside)
            except DocumentError as error:
                error.add_step(key)
                raise
        return copied

    def _copy_list(self, items: list[JSON], inside: int) -> list[JSON]:
        copied: list[JSON] = []
        try:
            for item in items:
                copied.append(self.copy_value(item, inside))
        except DocumentError as error:
            error.add_step(len(copied))
            raise
        return copied


def check_key(key: object, limits: Limits) -> None:
    """Check a key of an object, or a token of a path, which may become a key. Raises a DocumentError."""
    if type(key) is not str:
        raise InvalidJSON("The keys of an object are strings.")
    if key == _FORBIDDEN:
        raise ForbiddenKey("The key __proto__ is not accepted.")
    # Encode it only if its number of characters is not small enough.
    if len(key) * _LONGEST_UTF8 > limits.key_bytes and len(_encode_utf8(key)) > limits.key_bytes:
        raise KeyTooLong(f"A key is longer than {limits.key_bytes} bytes.")
    _check_characters(key)


def check_number(value: float) -> int | float:
    """Return the normal form of a number. Raises NumberOutOfRange."""
    normal = normalise_number(value)
    if normal is None:
        raise NumberOutOfRange("A number is not finite or an integer beyond 2^53-1.")
    return normal


def _check_text(text: str, limits: Limits) -> None:
    if len(text) * _LONGEST_UTF8 > limits.string_bytes and len(_encode_utf8(text)) > limits.string_bytes:
        raise StringTooLong(f"A string is longer than {limits.string_bytes} bytes.")
    _check_characters(text)


def _check_characters(text: str) -> None:
    if "\x00" in text:
        # PostgreSQL can store it neither in text nor in jsonb.
        raise InvalidJSON("A string holds a NUL character.")
    if not text.isascii():
        _encode_utf8(text)


def _encode_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidJSON("A string holds a lone surrogate.") from error

"""Take Python values as JSON: subclasses by their plain value, and types without JSON by Django's rules."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import Promise

from session_mgmt.actions import checking
from session_mgmt.conf import settings
from session_mgmt.documents.merge import Unresolved
from session_mgmt.documents.values import Missing
from session_mgmt.exceptions import InvalidJSON, SessionMgmtError

_ENCODED = (Decimal, datetime, date, time, timedelta, uuid.UUID)
_DJANGO = DjangoJSONEncoder()


def encode_python(value: Any) -> Any:
    """Return a value of dict, list, str, int, float, bool and None. Raises ``InvalidJSON`` with the path of a place.

    Subclasses of these, tuples, members of enums and lazy text become their plain value. Decimal, dates, times, UUID
    and dataclasses are encoded as ``DjangoJSONEncoder`` does, unless the setting ``encode_values`` is off.
    """
    return _encode(value, "", checking.document_limits().depth + 1)


def _encode(value: Any, path: str, depth: int) -> Any:
    if value is None or type(value) in (str, int, float, bool) or depth < 0:
        # A value that is too deep is refused where its limits are known.
        return value
    if isinstance(value, dict):
        return {_encode_key(key, path): _encode(inner, _extend(path, key), depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(inner, f"{path}/{at}", depth - 1) for at, inner in enumerate(value)]
    if isinstance(value, Enum) and not isinstance(value, Missing | Unresolved):
        return _encode(value.value, path, depth)
    return _encode_scalar(value, path, depth)


def _encode_scalar(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, str | Promise):
        # Lazy text may give a subclass of str again, which the strict check would refuse.
        return str.__str__(str(value))
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if settings().encode_values:
        if isinstance(value, _ENCODED):
            return _encode_by_django(value, path)
        if is_dataclass(value) and not isinstance(value, type):
            named = {each.name: getattr(value, each.name) for each in fields(value)}
            return _encode(named, path, depth)
    raise _refuse(f"{type(value).__name__} is no JSON value", path)


def _encode_key(key: Any, path: str) -> str:
    key = key.value if isinstance(key, Enum) else key
    if not isinstance(key, str | Promise):
        raise _refuse(f"A key is text, not {type(key).__name__}", path)
    return str.__str__(str(key))


def _encode_by_django(value: Any, path: str) -> Any:
    try:
        return _DJANGO.default(value)
    except ValueError as error:
        # A time with a zone has no text of its own.
        raise _refuse(str(error).removesuffix("."), path) from error


def _refuse(reason: str, path: str) -> InvalidJSON:
    return InvalidJSON(f"{reason}.", path=path)


def _extend(path: str, key: Any) -> str:
    return f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"


@contextmanager
def telling_place() -> Iterator[None]:
    """Add the place of an error to its text, for a caller of the Python API: a traceback shows the text only.

    Clients receive ``error.detail``, which has no place.
    """
    try:
        yield
    except SessionMgmtError as error:
        if path := error.facts.get("path"):
            error.args = (f"{error.detail.removesuffix('.')}, at {path}.",)
        raise

"""Fields of frames and bodies from clients, checked by type and limit. Raises ``InvalidField``."""

from __future__ import annotations

import re
from typing import Any, TypeAlias, TypeGuard

from session_mgmt.exceptions import InvalidField
from session_mgmt.protocol.position import MAX_OFFSET

JSON: TypeAlias = Any

REPLACED_LIMIT = 500
_DIGEST = re.compile("[0-9a-f]{16}")


def read_text(message: JSON, name: str, limit: int) -> str:
    """Read text of 1 to ``limit`` characters."""
    value = message.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise InvalidField(f"{name} is text of 1 to {limit} characters.", field=name)
    return value


def read_optional_text(message: JSON, name: str, limit: int) -> str | None:
    """Read text like ``read_text``; None if it is absent or null."""
    return None if message.get(name) is None else read_text(message, name, limit)


def is_count(value: JSON, least: int = 0) -> TypeGuard[int]:
    """Return True for an integer from ``least`` to 2^53-1."""
    # In Python `true` equals 1. Above 2^53-1 JavaScript rounds, so two numbers would become the same.
    return type(value) is int and least <= value <= MAX_OFFSET


def read_count(message: JSON, name: str, *, least: int = 0, default: int | None = None) -> int:
    """Read an integer from ``least`` to 2^53-1; ``default`` if it is absent."""
    value = message.get(name, default)
    if is_count(value, least):
        return value
    raise InvalidField(f"{name} is an integer from {least} to 2^53-1.", field=name)


def read_seconds(message: JSON, name: str) -> float:
    """Read a number of seconds; the caller checks its range."""
    value = message[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidField(f"{name} is a number of seconds.", field=name)
    return float(value)


def read_optional_count(message: JSON, name: str) -> int | None:
    """Read an integer from 0 to 2^53-1; None if it is absent or null."""
    return None if message.get(name) is None else read_count(message, name)


def read_flag(message: JSON, name: str) -> bool:
    """Read true or false; absent or null is false."""
    given = message.get(name)
    if given not in (None, False, True) or (isinstance(given, int | float) and not isinstance(given, bool)):
        raise InvalidField(f"{name} is true or false.", field=name)
    return given is True


def check_tag(value: JSON, base: JSON) -> str | None:
    """Check the tag of a base. Raises ``InvalidField``."""
    if value is None:
        return None
    # Version 0 has no content, so it has no tag.
    if base is None or not isinstance(value, str) or (_DIGEST.fullmatch(value) is None and (value or base)):
        raise InvalidField('tag is the 16 hex digits of the base, "" at 0, and comes with it.', field="tag")
    return value


def check_replaced(value: JSON) -> dict[str, str | None]:
    """Check the digests of an update whose base is older than the log. Raises ``InvalidField``."""
    if isinstance(value, dict) and len(value) <= REPLACED_LIMIT and all(map(_is_digest, value.values())):
        return value
    raise InvalidField(
        f"replaced has at most {REPLACED_LIMIT} paths, each with 16 hex digits or null.", field="replaced"
    )


def _is_digest(value: JSON) -> bool:
    return value is None or (isinstance(value, str) and _DIGEST.fullmatch(value) is not None)

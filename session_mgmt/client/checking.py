"""What a server would refuse for good is refused at the call: it gets no number, and holds up nothing behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from session_mgmt.client.errors import Refused
from session_mgmt.documents import operations, strict
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.limits import Limits

_FRAME_BYTES = 256 * 1024
# Room for what is added when a write is sent: its number, its base, digests of what it replaced.
_MARGIN = 1024


def checked_data(data: Any, limits: Mapping[str, int]) -> Any:
    """A copy of what a `send` or `publish` carries, normalised. Raises Refused."""
    try:
        fine = strict.check(data, _limits(limits))
    except DocumentError as error:
        raise _refused(error.code, str(error)) from error
    _check_size(fine, limits)
    return fine


def checked_ops(ops: Any, limits: Mapping[str, int]) -> list[list[Any]]:
    """The operations of an update, normalised. Raises Refused."""
    try:
        fine = [list(op) for op in operations.validate(ops, _limits(limits))]
    except DocumentError as error:
        raise _refused(error.code, str(error)) from error
    _check_size(fine, limits)
    return fine


def _check_size(value: Any, limits: Mapping[str, int]) -> None:
    most = limits.get("frame_bytes", _FRAME_BYTES)
    if len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()) + _MARGIN > most:
        raise _refused("frame_too_large", f"A write is larger than {most} bytes.")


def _limits(told: Mapping[str, int]) -> Limits:
    return Limits(**{one.name: told[one.name] for one in fields(Limits) if one.name in told})


def _refused(name: str, message: str) -> Refused:
    return Refused({"name": name, "message": message})

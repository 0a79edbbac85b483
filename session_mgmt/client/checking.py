"""Checks before a write is numbered, because a write that no server accepts would block all later writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import quote

from session_mgmt.client.errors import Refused
from session_mgmt.documents import operations, pointer, strict
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import JSON, Missing
from session_mgmt.exceptions import ERRORS_BY_NAME
from session_mgmt.protocol.addresses import fits_address

_FRAME_BYTES = 256 * 1024
# Room for the fields that are added when a write is sent: its number, its base, digests of replaced values.
_MARGIN = 1024


def check_publication(data: Any, limits: Mapping[str, int]) -> Any:
    """Return a normalised copy of the data of a publication. Raises Refused."""
    fine = check_data(data, limits)
    most = limits.get("publication_bytes")
    if most is not None and _count_bytes(fine) > most:
        raise _build_refusal(
            "publication_too_large", f"The data is larger than {most} bytes: publish less, or where to find it."
        )
    return fine


def check_data(data: Any, limits: Mapping[str, int]) -> Any:
    """Return a normalised copy of the data of a `send` or of a document. Raises Refused."""
    try:
        fine = strict.check_value(data, _read_limits(limits))
    except DocumentError as error:
        raise _translate_error(error) from error
    _check_size(fine, limits)
    return fine


def check_operations(ops: Any, limits: Mapping[str, int]) -> list[list[Any]]:
    """Return the normalised operations of an update. Raises Refused."""
    try:
        fine = [list(op) for op in operations.validate_ops(ops, _read_limits(limits))]
    except DocumentError as error:
        raise _translate_error(error) from error
    _check_size(fine, limits)
    return fine


def read_value(document: JSON, path: str) -> JSON | Missing:
    """Return the value at a pointer, MISSING if there is none. Raises Refused if the path is not a pointer."""
    try:
        return pointer.find_value(document, path)
    except DocumentError as error:
        raise _translate_error(error) from error


def _count_bytes(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _check_size(value: Any, limits: Mapping[str, int]) -> None:
    most = limits.get("frame_bytes", _FRAME_BYTES)
    if _count_bytes(value) + _MARGIN > most:
        raise _build_refusal("frame_too_large", f"A write is larger than {most} bytes: divide it, or PUT the document.")


def _read_limits(given: Mapping[str, int]) -> Limits:
    return Limits(**{one.name: given[one.name] for one in fields(Limits) if one.name in given})


def encode_part(name: Any, words: str) -> str:
    """Quote a name as a part of a URL. Raises Refused for a name that would lead to another URL, such as ``..``."""
    check_name(name, words)
    return quote(name, safe="")


def check_name(name: Any, words: str) -> None:
    """Raise Refused if this cannot be a name; ``words`` say in the message whose name it is."""
    if not isinstance(name, str) or not name or not fits_address(name):
        raise _build_refusal("invalid_field", f"{words} is text, not empty, and has no part . or .. between slashes.")


def _translate_error(error: DocumentError) -> Refused:
    return _build_refusal(error.code, str(error), **({"path": error.path} if error.path else {}))


def _build_refusal(name: str, message: str, **facts: Any) -> Refused:
    return Refused({"code": ERRORS_BY_NAME[name].number, "name": name, "message": message, **facts})

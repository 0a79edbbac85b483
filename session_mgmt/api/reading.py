"""Request bodies: one strict parser, with a byte limit that applies before anything is parsed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from session_mgmt.actions import checking
from session_mgmt.documents.values import SAFE_INTEGER
from session_mgmt.exceptions import InvalidJSON, NumberOutOfRange, SessionMgmtError

_CHUNK = 64 * 1024
# Longest part of a caller's field name that is sent back and logged.
_SHOWN_NAME = 100


class Untouched(BaseParser):
    """Parser that leaves the stream to ``read_body``.

    DRF would otherwise parse the body again for Django's CSRF check, without these limits.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        return {}


def read_json(request: Request, *, most: int, too_large: type[SessionMgmtError]) -> Any:
    """Parse the body as JSON; its fields are checked later, by their form.

    Raises ``InvalidJSON`` and the errors of limits.
    """
    raw = read_body(request, most=most, too_large=too_large)
    try:
        return checking.parse_json(raw, most)
    except NumberOutOfRange as error:
        field = _find_vast_field(raw)
        # Lone surrogates, which no response can contain, are not printable.
        if field is None or not field.isprintable():
            raise
        raise NumberOutOfRange(error.detail, field=field[:_SHOWN_NAME], **error.facts) from error


def _find_vast_field(raw: bytes) -> str | None:
    """Return the field of the body whose value has a number that is out of range, or ``None``.

    This runs only after a refusal: the standard library's parser is slower, but lets each number be inspected.
    """
    try:
        body = json.loads(raw, parse_int=_read_number, parse_float=_read_number)
    except ValueError:
        return None
    fields = body.items() if isinstance(body, dict) else ()
    return next((name for name, value in fields if _holds_infinity(value)), None)


def _read_number(text: str) -> float:
    number = float(text)
    is_vast = text.lstrip("-").isdigit() and abs(number) > SAFE_INTEGER
    return math.inf if is_vast else abs(number)


def _holds_infinity(value: Any) -> bool:
    """Return whether a value contains an infinity. It does not recurse, because the caller's text decides the depth."""
    rest = [value]
    while rest:
        one = rest.pop()
        if one == math.inf:
            return True
        rest += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return False


def read_body(request: Request, *, most: int, too_large: type[SessionMgmtError]) -> bytes:
    """Return the body's bytes, at most ``most``.

    Django's own limit does not apply to a stream that is read in pieces.
    """
    checking.check_media_type(request.META.get("CONTENT_TYPE"), request.META.get("HTTP_CONTENT_ENCODING"))
    # Refuse by the header before a byte is read. A body that declares less than it sends is counted while it is read.
    if checking.declares_more(request.META.get("CONTENT_LENGTH"), most):
        raise too_large(limit=most)
    raw = _read_bytes(request._request, most, too_large)
    if not raw:
        raise InvalidJSON("The body is empty.")
    return raw


def _read_bytes(request: HttpRequest, most: int, too_large: type[SessionMgmtError]) -> bytes:
    try:
        if getattr(request, "_read_started", False):
            # A middleware of the project has already read the body.
            return request.body
        return _read_pieces(request, most, too_large)
    except (RawPostDataException, UnreadablePostError) as error:
        raise InvalidJSON("The body could not be read.") from error


def _read_pieces(request: HttpRequest, most: int, too_large: type[SessionMgmtError]) -> bytes:
    body = bytearray()
    while piece := request.read(_CHUNK):
        body += piece
        if len(body) > most:
            raise too_large(limit=most)
    return bytes(body)

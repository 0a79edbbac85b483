"""Request bodies: one strict parser, with a byte limit that applies before anything is parsed."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from typing import Any

from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from session_mgmt.actions import checking
from session_mgmt.exceptions import InvalidJSON, SessionMgmtError, UnsupportedMediaType

_CHUNK = 64 * 1024


class Untouched(BaseParser):
    """Parser that leaves the stream to ``read_body``.

    DRF would otherwise parse the body again for Django's CSRF check, without these limits.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        return {}


def read_json(request: Request, *, most: int, too_large: type[SessionMgmtError]) -> Any:
    """Return the body's JSON; its values are checked where they are used.

    Raises ``InvalidJSON`` and the errors of limits.
    """
    return checking.parse_json(read_body(request, most=most, too_large=too_large), most)


def read_body(request: Request, *, most: int, too_large: type[SessionMgmtError]) -> bytes:
    """Return the body's bytes, at most ``most``.

    Django's own limit does not apply to a stream that is read in pieces.
    """
    _check_type(request.META)
    declared = request.META.get("CONTENT_LENGTH") or "0"
    # Refused by its header, before a byte is read; a body that declares less is counted while it comes.
    if declared.isdigit() and int(declared) > most:
        raise too_large(limit=most)
    raw = _read_bytes(request._request, most, too_large)
    if not raw:
        raise InvalidJSON("The body is empty.")
    return raw


def _read_bytes(request: HttpRequest, most: int, too_large: type[SessionMgmtError]) -> bytes:
    try:
        if getattr(request, "_read_started", False):
            # A middleware of the project has read it already.
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


def _check_type(meta: Mapping[str, Any]) -> None:
    """Accept JSON in UTF-8 only: a second encoding would be a second parser with other rules."""
    if meta.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType()
    # The standard library's parser of headers: parameters may be quoted, and stand in any order.
    given = Message()
    given["content-type"] = meta.get("CONTENT_TYPE") or "application/json"
    charset = str(given.get_param("charset") or "utf-8").lower()
    if given.get_content_type() != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType()

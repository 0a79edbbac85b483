"""Rendering: answers are JSON, whatever the request accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class JSON(BaseRenderer):
    """Render compact JSON; bytes are passed on as JSON that is already encoded."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None or isinstance(data, bytes):
            return data or b""
        return orjson.dumps(data)


class OnlyJSON(BaseContentNegotiation):
    """Always choose JSON, because an HTML error page or a bare 406 would have no documented code."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        only = next(iter(renderers))
        return only, only.media_type

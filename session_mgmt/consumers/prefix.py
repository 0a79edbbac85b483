"""Prefix under which a project is served, set by the server (``root_path``) or by Django's ``FORCE_SCRIPT_NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.routing import URLRouter
from django.conf import settings
from django.urls import re_path


def find_script_name(scope: Mapping[str, Any]) -> str:
    """Return the prefix of a connection's path, without a slash at its end."""
    return str(scope.get("root_path") or settings.FORCE_SCRIPT_NAME or "").rstrip("/")


def strip_script_name(scope: Mapping[str, Any]) -> str:
    """Return the path after the prefix. A proxy may have removed the prefix; like Django, accept both."""
    path, prefix = str(scope.get("path", "")), find_script_name(scope)
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path


class SocketRouter:
    """Routes of WebSockets below the prefix. Any other path is refused without an error in the server's log."""

    def __init__(self, patterns: list[Any]) -> None:
        refusal: Any = _refuse
        self._router: Any = URLRouter([*patterns, re_path("", refusal)])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # The remaining path, in the form that routers of Channels use among themselves; path and prefix stay as they
        # are.
        await self._router({**scope, "path_remaining": strip_script_name(scope)}, receive, send)


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Close before the handshake, so that the server answers 403, as for every unknown path."""
    await receive()
    await send({"type": "websocket.close"})

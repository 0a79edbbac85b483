"""A project's own way to settle conflicts."""

from __future__ import annotations

from typing import Any

from session_mgmt.shortcuts import CONFLICT


def first_text(path: str, base: Any, server: Any, client: Any) -> Any:
    """Texts in alphabetical order count; everything else is the server's."""
    if isinstance(server, str) and isinstance(client, str):
        return min(server, client)
    return CONFLICT

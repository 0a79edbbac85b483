"""The topic of the fan-out."""

from __future__ import annotations

from typing import Any

from session_mgmt.registry import topic


@topic("room:{name}", publish=True)
def may_follow(session: Any, name: str) -> bool:
    return True

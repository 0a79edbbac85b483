"""The topics of the fan-out, in whole and in part."""

from __future__ import annotations

from typing import Any

from session_mgmt.registry import topic


@topic("room:{name}", publish=True)
@topic("offers:{name}", publish=True, keys=("place",))
def may_follow(session: Any, name: str) -> bool:
    return True

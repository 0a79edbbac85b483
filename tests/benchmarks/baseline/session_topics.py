"""The topics of the fan-out, in whole and in part."""

from __future__ import annotations

from typing import Any

from session_mgmt.registry import topic


@topic("room:{name}", publish=True)
@topic("offers:{name}", publish=True, keys=("place",))
@topic("notes:{name}", publish=True, allow_entry=lambda session, entry: bool(entry.data["place"]))
def may_follow(session: Any, name: str) -> bool:
    return True

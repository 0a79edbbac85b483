"""The topic with presence, which a server has only when asked for."""

from __future__ import annotations

from typing import Any

from session_mgmt.registry import Presence, topic


def declare(members_shown: int) -> None:
    """Declare the topic, with so many members named."""

    @topic("hall:{name}", presence=Presence(members_shown=members_shown))
    def may_follow(session: Any, name: str) -> bool:
        return True

"""Found as ``admin.py`` is found."""

from __future__ import annotations

from typing import Any

from session_mgmt.shortcuts import topic


@topic("orders:{pk}", publish=True)
def may_follow_order(session: Any, pk: str) -> bool:
    return session.user is not None

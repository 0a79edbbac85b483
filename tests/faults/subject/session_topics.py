"""One topic per group of clients, one in which clients are there, and a handler that publishes from inside a
transaction, hence through the outbox.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from session_mgmt.registry import Presence
from session_mgmt.shortcuts import on_message, publish, topic


@topic("faults:{group}", publish=True)
def may_follow(session: Any, group: str) -> bool:
    """Ask the database, as projects do: while it is away this is no answer."""
    return not get_user_model().objects.filter(pk=0).exists()


@topic("hall:{name}", presence=Presence())
def may_enter(session: Any, name: str) -> bool:
    return True


@on_message
def answer(session: Any, data: Any) -> dict[str, Any]:
    """The effect can be counted: one publication per message that was handled and committed."""
    with transaction.atomic():
        publish(data["topic"], {"v": data["v"]})
    return {"seen": data["v"]}

"""One topic per group of clients, two in which clients are there, one of rows that publish, and a handler that
publishes from inside a transaction, hence through the outbox.
"""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from session_mgmt.registry import Presence
from session_mgmt.shortcuts import on_message, publish, topic
from tests.faults.subject import HANGS
from tests.faults.subject.rows import change_row


@topic("faults:{group}", publish=True, keys=("k",))
def may_follow(session: Any, group: str) -> bool:
    """Ask the database, as projects do: while it is away this is no answer."""
    return not get_user_model().objects.filter(pk=0).exists()


@topic("hall:{name}", presence=Presence())
def may_enter(session: Any, name: str) -> bool:
    return True


# No kill takes so long, on any machine: whoever is told to have gone wanted to go.
@topic("visits:{name}", presence=Presence(grace=timedelta(hours=1)))
def may_visit(session: Any, name: str) -> bool:
    return True


@topic("rows:{name}")
def may_list(session: Any, name: str) -> bool:
    return True


@topic("handled:{name}")
def may_audit(session: Any, name: str) -> bool:
    return False


@on_message
def answer(session: Any, data: Any) -> dict[str, Any]:
    """The effect can be counted: one publication per message that was handled and committed."""
    if os.environ.get("SESSION_MGMT_TEST_HANG"):
        print(HANGS, flush=True)
        threading.Event().wait()
    with transaction.atomic():
        publish(data["topic"], {key: data[key] for key in ("v", "k") if key in data})
        if "row" in data:
            kind, place = data["row"]
            change_row(kind, place, data["v"])
    return {"seen": data["v"]}

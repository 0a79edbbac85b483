"""Record entries in the caller's own transaction, for functions that do not run in a lane."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connections

from session_mgmt.actions import notify
from session_mgmt.actions.timeline.ledger import Record, TimelineLedger
from session_mgmt.models.sql import Statements


def record_entries(
    using: str,
    entries: Sequence[Record],
    *,
    at: datetime,
    orders: dict[str, Any] | None = None,
) -> None:
    """Write entries now, and send their notifications after the commit of the transaction.

    ``orders`` are sent to all processes with these notifications.
    """
    ledger = TimelineLedger(Statements(connections[using]))
    ledger.load(entries, at=at, wait=True)
    for entry in entries:
        ledger.decide(entry)
    ledger.write(at)
    notify.after_commit(using, rings=ledger.list_heads(), events=ledger.list_events(), orders=orders)

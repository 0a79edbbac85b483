"""Write the leases and figures of clients that are connected over HTTP, many together.

Any process may answer any call, so each process adds what it has counted, and a lease is only ever extended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from session_mgmt.actions.sessions.connections import polling_lease
from session_mgmt.conf import settings
from session_mgmt.models import clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import CONNECTION

_COUNTED = ("messages_in", "messages_out", "bytes_in", "bytes_out")
_COLUMNS = {"id": "bigint", "lease_expires_at": "timestamptz", **dict.fromkeys(_COUNTED, "bigint")}


@dataclass(frozen=True, slots=True)
class Heard:
    """Connection whose client made a call ``seconds_ago``, with the counts since the last flush."""

    connection: int
    seconds_ago: float
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int


def keep_heard(heard: Iterable[Heard], *, now: datetime | None = None) -> None:
    """Extend leases and add figures, with one statement for all. A connection that is closed stays closed."""
    using = settings().database
    by_key = {one.connection: one for one in heard}
    if not by_key:
        return
    statements = Statements(connections[using])
    with open_transaction(using):
        now = now or clock.read(using)
        names = ", ".join(_COUNTED)
        lease = statements.plain("lease_expires_at")
        # Lock the rows, so that the counts of two processes are added up.
        rows = statements.select_locked(f"id, {lease}, {names}", CONNECTION, by_key, wait=True)
        statements.update(CONNECTION, _COLUMNS, [_build_row(statements, row, by_key[row[0]], now) for row in rows])


def _build_row(statements: Statements, row: tuple[Any, ...], heard: Heard, now: datetime) -> tuple[Any, ...]:
    key, stored, *counted = row
    # Another process may have answered a later call.
    lease = max(statements.as_moment(stored), now - timedelta(seconds=heard.seconds_ago) + polling_lease())
    added = [before + getattr(heard, name) for before, name in zip(counted, _COUNTED, strict=True)]
    return (key, statements.moment(lease), *added)

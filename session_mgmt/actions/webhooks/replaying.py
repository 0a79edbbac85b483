"""Replay deliveries: they wait again, with the same ids and bodies as before."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from session_mgmt.actions.pacing import make_pace
from session_mgmt.conf import settings
from session_mgmt.models import WebhookCursor, WebhookDelivery, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import WEBHOOK_CURSOR

Progress = Callable[[int], None]
State = WebhookDelivery.State
CHUNK = 200


def find_settled(
    *,
    endpoint: int | None = None,
    session: uuid.UUID | None = None,
    states: tuple[str, ...] = (State.DEAD,),
    since: datetime | None = None,
) -> QuerySet[WebhookDelivery]:
    """Return the settled deliveries in these states, filtered by endpoint, session, and earliest time if given."""
    wanted: dict[str, Any] = {"endpoint": endpoint, "session": session, "recorded_at__gte": since}
    given = {name: value for name, value in wanted.items() if value is not None}
    rows = WebhookDelivery.objects.using(settings().database).exclude(state=State.WAITING)
    return rows.filter(state__in=states, **given)


def replay(rows: QuerySet[WebhookDelivery], progress: Progress | None = None, *, now: datetime | None = None) -> int:
    """Let settled deliveries wait again, oldest first, in order for each session; return their number.

    ``progress(count)`` is called after each chunk with the number so far.
    """
    total, after = 0, 0
    pace = make_pace(settings().database)
    while page := list(rows.filter(pk__gt=after).order_by("pk")[:CHUNK]):
        after = page[-1].pk
        total += pace.take(partial(_replay_page, page, now))
        if progress is not None:
            progress(total)
    return total


def _replay_page(page: list[WebhookDelivery], now: datetime | None) -> int:
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        pairs = {(row.session_id, row.endpoint_id) for row in page}
        theirs = WebhookCursor.objects.using(using).filter(session__in={session for session, _ in pairs})
        # Lock by ascending key, so that two replays take their locks in the same order.
        cursors = {(c.session_id, c.endpoint_id): c for c in theirs.order_by("pk").select_for_update(of=("self",))}
        first: dict[tuple[uuid.UUID, int], int] = {}
        for row in page:
            place = row.session_id, row.endpoint_id
            first[place] = min(row.sequence, first.get(place, row.sequence))
        statements = Statements(connections[using])
        moment = statements.moment(now)
        # Clear the lease, so that a worker that sends now does not move the cursor forward again; the time of the lease
        # still has to pass.
        moved = [
            (cursors[place].pk, min(cursors[place].done, first[place] - 1), moment, "")
            for place in first.keys() & cursors.keys()
        ]
        columns = {"id": "bigint", "done": "bigint", "next_at": "timestamptz", "lease": "text"}
        statements.update(WEBHOOK_CURSOR, columns, moved)
        mine = WebhookDelivery.objects.using(using).filter(pk__in=[row.pk for row in page]).exclude(state=State.WAITING)
        return mine.update(state=State.WAITING, attempts=0, due_since=now, settled_at=None)

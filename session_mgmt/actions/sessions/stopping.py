"""Close the connections of sessions without ending the sessions: their clients stay away, or come back at once.

The order is stored in the rows, and also sent by doorbell. A process that no doorbell reaches finds it with its next
control query.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import F, QuerySet

from session_mgmt.actions import notify
from session_mgmt.actions.pacing import make_pace
from session_mgmt.actions.sessions.connections import WEBSOCKET, explain_close, find_raised_generations
from session_mgmt.actions.sessions.ending import TOGETHER, lock_in_order
from session_mgmt.actions.timeline.ledger import TimelineLedger, make_record
from session_mgmt.conf import settings
from session_mgmt.models import Client, Connection, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import CONNECTION
from session_mgmt.protocol import events as names
from session_mgmt.protocol.codes import Close


class Fenced(NamedTuple):
    """Generation below which connections of a client must close, and the code that gives the reason."""

    generation: int
    code: Close


def stop_session(session: uuid.UUID, code: Close) -> int:
    """Close a session's open connections, in any process, and return their number.

    After the commit they can write nothing. Connections that clients open later are not affected.
    """
    using = settings().database
    with open_transaction(using):
        return _stop_group(using, [session], code)


def stop_sessions(
    sessions: Iterable[uuid.UUID], code: Close, note: Callable[[list[uuid.UUID]], Any]
) -> Iterator[list[uuid.UUID]]:
    """Close the connections of sessions in the same way as ``stop_session``, in groups with one transaction each, and
    yield each group.

    ``note`` is called with each group in its transaction, to record the action.
    """
    using = settings().database
    pace = make_pace(using, TOGETHER)
    waiting = list(dict.fromkeys(sessions))

    def stop(group: list[uuid.UUID]) -> list[uuid.UUID]:
        with open_transaction(using):
            _stop_group(using, group, code)
            note(group)
        return group

    while waiting:
        group, waiting = waiting[: pace.size], waiting[pace.size :]
        yield pace.take(partial(stop, group))


def _stop_group(using: str, sessions: list[uuid.UUID], code: Close) -> int:
    statements, now = Statements(connections[using]), clock.read(using)
    clients = Client.objects.using(using).filter(session__in=sessions, connections__closed_at__isnull=True).distinct()
    found = dict(clients.values_list("pk", "session"))
    # Sessions before clients and connections, in the same order as everywhere.
    ledger = TimelineLedger(statements)
    ledger.load(sorted(set(found.values())), at=now, wait=True)
    mine = Client.objects.using(using).filter(pk__in=list(found))
    lock_in_order(using, mine)
    # Fence the clients first, as at the end of a session, so that writes that are on their way are refused.
    mine.update(generation=F("generation") + 1)
    open_ = Connection.objects.using(using).filter(client__in=list(found), closed_at__isnull=True)
    lock_in_order(using, open_)
    # The row of a socket stays open until its process, which has the figures, closes it, or until the lease expires.
    count = open_.update(close_code=code, closed_by="server")
    _close_polling(open_.exclude(transport=WEBSOCKET), ledger, code, now)
    fenced = list(mine.order_by("pk").values_list("pk", "generation", "session"))
    if fenced:
        stopped = sorted({session for _, _, session in fenced})
        orders = notify.order_stop(stopped, [row[:2] for row in fenced], code)
        notify.after_commit(using, rings=ledger.list_heads(), events=ledger.list_events(), orders=orders)
    return count


def _close_polling(polling: QuerySet[Connection], ledger: TimelineLedger, code: Close, now: datetime) -> None:
    """Close rows of clients over HTTP: no process holds one, so it would seem to be connected until its lease expires.

    Figures that a process has not written yet are added later.
    """
    sessions = list(polling.values_list("session", flat=True))
    polling.update(closed_at=now)
    # Clients that must stay away have not lost their connections.
    for session in sessions if code is not Close.NORMAL else ():
        ledger.decide(make_record(session, names.CONNECTION_LOST, {"code": int(code), "by": "server"}))
    ledger.write(now)


def find_fenced(known: Mapping[int, int]) -> dict[int, Fenced]:
    """Return the clients that have a higher generation than is known here, because they have attached elsewhere or
    their connections were ordered to close.
    """
    raised = find_raised_generations(known)
    if not raised:
        return {}
    statements = Statements(connections[settings().database])
    rows = statements.select_wanted(
        f"SELECT c.client_id, c.close_code, c.closed_by FROM wanted CROSS JOIN {CONNECTION} c"
        " WHERE c.client_id = wanted.client AND c.generation = wanted.generation",
        {"client": "bigint", "generation": "bigint"},
        [(client, known[client]) for client in raised],
    )
    codes = {client: explain_close(code, by) for client, code, by in rows if code is not None}
    return {client: Fenced(generation, codes.get(client, Close.REPLACED)) for client, generation in raised.items()}

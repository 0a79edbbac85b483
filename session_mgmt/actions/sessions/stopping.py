"""Close the connections of sessions that go on: their clients stay away, or come back at once.

The order is kept in the rows, and told by the doorbell as well. Whatever process holds a connection finds it by its
next control query where no doorbell reaches it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import F

from session_mgmt.actions import notify
from session_mgmt.actions.pacing import make_pace
from session_mgmt.actions.sessions.connections import explain_close, find_raised_generations
from session_mgmt.actions.sessions.ending import TOGETHER, lock_in_order
from session_mgmt.conf import settings
from session_mgmt.models import Client, Connection
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import CONNECTION
from session_mgmt.protocol.codes import Close


class Fenced(NamedTuple):
    """Generation below which the connections of a client may go on no longer, and the code that says why."""

    generation: int
    code: Close


def stop_session(session: uuid.UUID, code: Close) -> int:
    """Close a session's open connections on whatever process holds them, and return their number.

    From the commit on they can write nothing. A connection that its client opens later is not concerned.
    """
    using = settings().database
    with open_transaction(using):
        return _stop_group(using, [session], code)


def stop_sessions(
    sessions: Iterable[uuid.UUID], code: Close, note: Callable[[list[uuid.UUID]], Any]
) -> Iterator[list[uuid.UUID]]:
    """Close the connections of sessions as ``stop_session``, in groups with a transaction each, and yield each group.

    ``note`` writes what is kept of it, in the same transaction.
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
    clients = Client.objects.using(using).filter(session__in=sessions, connections__closed_at__isnull=True).distinct()
    keys = list(clients.values_list("pk", flat=True))
    mine = Client.objects.using(using).filter(pk__in=keys)
    lock_in_order(using, mine)
    # Fenced first, as at the end of a session: whatever is on its way is refused.
    mine.update(generation=F("generation") + 1)
    open_ = Connection.objects.using(using).filter(client__in=keys, closed_at__isnull=True)
    lock_in_order(using, open_)
    # The row stays open until its process, which knows its figures, has closed it; or until its lease ends.
    told = open_.update(close_code=code, closed_by="server")
    fenced = list(mine.order_by("pk").values_list("pk", "generation", "session"))
    if fenced:
        stopped = sorted({session for _, _, session in fenced})
        notify.after_commit(using, orders=notify.order_stop(stopped, [row[:2] for row in fenced], code))
    return told


def find_fenced(known: Mapping[int, int]) -> dict[int, Fenced]:
    """Return the clients that have a higher generation than is known here: another place has taken over, or somebody
    has ordered their connections to close.
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

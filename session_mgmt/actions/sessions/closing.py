"""Close connections that have ended, many together, with a fixed number of statements for each group.

``disconnect`` may never run, and a process may die before its group is written; in both cases the leases expire.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections

from session_mgmt.actions import notify
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.sessions.connections import FIGURES, LOST, TAKEN_OVER, Beat, Confirmed, forget_receipts
from session_mgmt.actions.timeline.ledger import TimelineLedger, make_record
from session_mgmt.conf import settings
from session_mgmt.models import Connection, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import CONNECTION
from session_mgmt.protocol import events as names
from session_mgmt.protocol.codes import Close

# Longest wait for a lock, because other work waits for the same thread. A row that is locked for longer is left to its
# lease.
HELD_LOCK_MILLISECONDS = 5000
_CLOSING = {"id": "bigint", "closed_at": "timestamptz", "close_code": "integer", "closed_by": "text"}
_EXPLAINING = {"id": "bigint", "close_code": "integer", "closed_by": "text"}
_KEEPING = {"id": "bigint", "verdict": "text", "receipt": "text"}
# The `closed_by` of connections whose process has not reported their end.
_LEASE = "lease"


class Ended(NamedTuple):
    """Connection that has ended, with its last figures and the facts that no flush has written: when its client wrote
    last, and the number up to which the client has its receipts.

    If ``is_swept``, its lease has expired, and it is closed only if that is still true. Without figures, those of the
    row are kept.
    """

    connection: int
    session: uuid.UUID
    client: int
    code: int
    closed_by: str
    figures: Beat | None = None
    wrote_at: datetime | None = None
    confirmed: Confirmed | None = None
    is_swept: bool = False


class Recovered(NamedTuple):
    """Receipt of a recovery as JSON, to be stored with its connection so that people can see it."""

    connection: int
    verdict: str
    receipt: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Result of a group: the members whose session another transaction has locked, for which nothing was written, and
    the events to send after the commit.
    """

    held: list[Ended]
    events: list[EmittedEvent]


def close_connections(
    ended: Sequence[Ended], recovered: Sequence[Recovered] = (), *, now: datetime | None = None, wait: bool = True
) -> Closed:
    """Mark connections closed, and store receipts of recoveries, in one transaction.

    A close that the client did not request is recorded as ``connection_lost``. With ``wait``, locked sessions are
    waited for; without it, their members are returned as ``held``.
    """
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        if wait:
            statements.limit_lock_wait(HELD_LOCK_MILLISECONDS)
        now = now or clock.read(using)
        # Lock sessions before clients and connections, in the same order as everywhere.
        ledger = TimelineLedger(statements)
        ledger.load([member.session for member in ended], at=now, wait=wait)
        held = [member for member in ended if ledger.is_locked(member.session)]
        mine = [member for member in ended if not ledger.is_locked(member.session)]
        # Before the connections, because activity and clients are locked first, in the same order as everywhere.
        _write_unflushed(mine)
        _close_group(statements, ledger, mine, recovered, now)
        # The caller sends the events, because their receivers may be slow.
        notify.after_commit(using, rings=ledger.list_heads())
    return Closed(held, ledger.list_events())


def close_dead(*, limit: int, now: datetime | None = None) -> int:
    """Close connections whose lease has expired because their process died, and return their number."""
    using = settings().database
    statements = Statements(connections[using])
    with open_transaction(using):
        now = now or clock.read(using)
        rows = Connection.objects.using(using).filter(closed_at__isnull=True, lease_expires_at__lt=now)
        # In the order of the index: with the order of the key, each chunk would sort all due rows.
        first = rows.order_by("lease_expires_at", "pk").values_list("pk", "session_id", "client_id")[:limit]
        dead = [Ended(*row, LOST, _LEASE, is_swept=True) for row in first]
        ledger = TimelineLedger(statements)
        ledger.load([member.session for member in dead], at=now, wait=True)
        closed = _close_group(statements, ledger, dead, (), now)
        notify.after_commit(using, rings=ledger.list_heads(), events=ledger.list_events())
    return closed


def _write_unflushed(ended: Iterable[Ended]) -> None:
    """Write the figures that no flush has written, because many connections are shorter than the interval of
    flushes.
    """
    active: dict[uuid.UUID, datetime] = {}
    confirmed: dict[int, Confirmed] = {}
    for member in ended:
        if member.wrote_at is not None:
            # Several connections of one session may end in one group.
            active[member.session] = max(member.wrote_at, active.get(member.session, member.wrote_at))
        if member.confirmed is not None:
            confirmed[member.client] = max(member.confirmed, confirmed.get(member.client, member.confirmed))
    if active:
        lifecycle.count_activity_at(active)
    forget_receipts(confirmed)


def _close_group(
    statements: Statements,
    ledger: TimelineLedger,
    ended: Sequence[Ended],
    recovered: Sequence[Recovered],
    now: datetime,
) -> int:
    """Write the rows of a group whose sessions ``ledger`` has locked, and return how many connections it has closed."""
    rows = statements.select_locked(
        "id, closed_at IS NULL, closed_by, close_code, lease_expires_at < %s",
        CONNECTION,
        {member.connection for member in ended} | {kept.connection for kept in recovered},
        wait=True,
        given=[statements.moment(now)],
    )
    group = _Group(statements, ledger, now, {row[0]: _Row(*row[1:]) for row in rows})
    for member in ended:
        group.close(member)
    for kept in recovered:
        group.keep_receipt(kept)
    group.write()
    return group.closed


@dataclass(frozen=True, slots=True)
class _Row:
    is_open: bool
    closed_by: str
    close_code: int | None
    is_expired: bool


class _Group:
    """Rows of one group, by the columns that are written."""

    def __init__(self, statements: Statements, ledger: TimelineLedger, now: datetime, rows: dict[int, _Row]) -> None:
        self._sql, self._ledger, self._rows = statements, ledger, rows
        self._now, self._moment = now, statements.moment(now)
        self._closing: list[tuple[Any, ...]] = []
        self._sweeping: list[tuple[Any, ...]] = []
        self._explaining: list[tuple[Any, ...]] = []
        self._receipts: list[tuple[Any, ...]] = []
        self.closed = 0

    def close(self, member: Ended) -> None:
        """Close a row that is open. If another process has closed it, write only the figures, which only this process
        has.
        """
        row = self._rows.get(member.connection)
        # Deleted, or renewed since it was selected: its process is alive.
        if row is None or (member.is_swept and not (row.is_open and row.is_expired)):
            return
        closing = (member.connection, self._moment, member.code, member.closed_by)
        if member.figures is None:
            self._sweeping += [closing] if row.is_open else []
        elif row.is_open:
            self._closing.append((*closing, *_list_figures(member.figures)))
        else:
            # Its own process is alive and knows the reason, which the process that took the client over could not know.
            known = row.closed_by != TAKEN_OVER
            why = (row.close_code, row.closed_by) if known else (member.code, member.closed_by)
            self._explaining.append((member.connection, *why, *_list_figures(member.figures)))
        if row.is_open:
            self.closed += 1
            # A client that says that it leaves has not lost its connection.
            if member.code != Close.NORMAL:
                data = {"code": member.code, "by": member.closed_by}
                self._ledger.decide(make_record(member.session, names.CONNECTION_LOST, data))

    def keep_receipt(self, kept: Recovered) -> None:
        """Store a receipt if the row of its connection still exists."""
        if kept.connection in self._rows:
            self._receipts.append((kept.connection, kept.verdict, kept.receipt))

    def write(self) -> None:
        """Write all rows, with one statement for each kind, and the events."""
        self._sql.update(CONNECTION, _CLOSING | FIGURES, self._closing)
        self._sql.update(CONNECTION, _CLOSING, self._sweeping)
        self._sql.update(CONNECTION, _EXPLAINING | FIGURES, self._explaining)
        self._sql.update(CONNECTION, _KEEPING, self._receipts)
        self._ledger.write(self._now)


def _list_figures(figures: Beat) -> tuple[Any, ...]:
    return tuple(getattr(figures, name) for name in FIGURES)

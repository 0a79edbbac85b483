"""Clients over HTTP as this process knows them: the time of their last call, and counters since the last flush.

Any process can answer any call, so this is not the state of a connection. If the process dies, only some figures are
lost; any process that gets the client's next call renews its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from session_mgmt.actions.sessions import connections, hearing, lifecycle
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.closing import Ended
from session_mgmt.actions.sessions.connections import Beat, Confirmed, polling_lease
from session_mgmt.actions.sessions.hearing import Heard
from session_mgmt.bridge import bridge
from session_mgmt.bridge.late_writes import LateWrites
from session_mgmt.exceptions import Replaced
from session_mgmt.protocol.codes import Close

# Clients in one transaction.
SLICE = 2000


class Counted(Protocol):
    """Interface of the work of one call, with its counters."""

    def build_figures(self) -> Beat:
        """Build the figures of a lease flush."""

    def find_active(self) -> datetime | None:
        """Return when the session was last active, or ``None``."""


@dataclass(slots=True, eq=False)
class Visitor:
    """Client as of its last call; the figures are those since the last flush."""

    attachment: Attachment
    heard_at: float
    is_flushed: bool = False
    # Number of running writes to the database that will renew the lease.
    writes: int = 0
    # By the loop's clock; never earlier than the end of the lease in the database.
    lease_ends: float = 0.0
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    wrote_at: datetime | None = None
    acked: int = 0
    confirmed: int = 0
    empty_polls: int = 0


class Visitors:
    """Clients over HTTP, one object per event loop."""

    def __init__(self, late_writes: LateWrites) -> None:
        self._loop, self._late_writes = asyncio.get_running_loop(), late_writes
        self._by_client: dict[int, Visitor] = {}
        # Clients that have attached again, left or fallen silent, until their last figures are written; the keys are
        # the client and the generation.
        self._former: dict[tuple[int, int], Visitor] = {}

    def hear(self, attachment: Attachment, *, acked: int = 0) -> Visitor:
        """Note that a client has called. Raises ``Replaced`` if it has attached again here since the
        call was proved.
        """
        visitor = self._by_client.get(attachment.client)
        if visitor is not None and attachment.is_overtaken_by(visitor.attachment):
            raise Replaced()
        if visitor is None or visitor.attachment.generation != attachment.generation:
            if visitor is not None:
                self._keep_former(visitor)
            visitor = self._former.pop(_find_key(attachment), None) or Visitor(attachment, self._loop.time())
            self._by_client[attachment.client] = visitor
        visitor.heard_at, visitor.is_flushed = self._loop.time(), False
        visitor.acked = max(visitor.acked, acked)
        return visitor

    def add_figures(self, visitor: Visitor, counted: Counted) -> None:
        """Add the counters of a call that has ended."""
        figures = counted.build_figures()
        current = self._by_client.get(visitor.attachment.client)
        if current is not None and current.attachment.generation == visitor.attachment.generation:
            visitor = current
        else:
            visitor = self._keep_former(visitor)
        visitor.messages_in += figures.messages_in
        visitor.messages_out += figures.messages_out
        visitor.bytes_in += figures.bytes_in
        visitor.bytes_out += figures.bytes_out
        visitor.wrote_at = counted.find_active() or visitor.wrote_at
        visitor.is_flushed = False

    def _keep_former(self, visitor: Visitor) -> Visitor:
        """Keep a visitor until its figures are written; return the one that is kept for its attachment."""
        return self._former.setdefault(_find_key(visitor.attachment), visitor)

    async def leave(self, attachment: Attachment) -> None:
        """Close the connection of a client that leaves permanently."""
        visitor = self._by_client.pop(attachment.client, None)
        if visitor is not None:
            self._keep_former(visitor)
            await self._write_fresh([visitor])
        if attachment.connection:
            ended = self._build_end(attachment, int(Close.NORMAL), "client")
            await asyncio.shield(self._late_writes.add_ended(ended, attachment.client_id))

    # -- rounds ----------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write to the database which clients called, the counters, activity, and the receipts that may
        be forgotten.
        """
        # Former visitors first, so that of two numbers confirmed by one client the newer is written.
        await self._write_fresh([*self._former.values(), *self._by_client.values()])

    async def _write_fresh(self, visitors: list[Visitor]) -> None:
        # If two writes of one visitor ran at the same time, both would add the same figures.
        fresh = [visitor for visitor in visitors if not visitor.is_flushed and not visitor.writes]
        for start in range(0, len(fresh), SLICE):
            await self._write(fresh[start : start + SLICE])
        self._former = {key: v for key, v in self._former.items() if not v.is_flushed or v.writes}

    async def _write(self, visitors: list[Visitor]) -> None:
        # Before anything is awaited, because calls continue meanwhile and mark their clients again.
        for visitor in visitors:
            visitor.is_flushed = True
            visitor.writes += 1
        try:
            await self._write_all(visitors, self._loop.time())
        except BaseException:
            for visitor in visitors:
                visitor.is_flushed = False
            raise
        finally:
            for visitor in visitors:
                visitor.writes -= 1

    async def _write_all(self, visitors: list[Visitor], now: float) -> None:
        heard = {v.attachment.connection: _build_heard(v, now) for v in visitors if v.attachment.connection}
        leases = [visitor.heard_at + polling_lease().total_seconds() for visitor in visitors]
        active = _find_active(visitors)
        confirmed = {
            v.attachment.client: Confirmed(v.attachment.generation, v.acked) for v in visitors if v.acked > v.confirmed
        }
        await bridge().call(hearing.keep_heard, list(heard.values()))
        # The database counts from its own time of the write, which is later if other writes came first.
        late = self._loop.time() - now
        for visitor, lease in zip(visitors, leases, strict=True):
            visitor.lease_ends = max(visitor.lease_ends, lease + late)
        for visitor in visitors:
            # Subtract instead of setting 0, because other messages may have been counted meanwhile.
            if (told := heard.get(visitor.attachment.connection)) is not None:
                visitor.messages_in -= told.messages_in
                visitor.messages_out -= told.messages_out
                visitor.bytes_in -= told.bytes_in
                visitor.bytes_out -= told.bytes_out
        if active:
            await bridge().call(lifecycle.count_activity_at, active)
        if confirmed:
            await bridge().call(connections.forget_receipts, confirmed)
        for visitor in visitors:
            at = active.get(visitor.attachment.session.pk)
            visitor.wrote_at = None if at is not None and visitor.wrote_at in (at, None) else visitor.wrote_at
            visitor.confirmed = max(visitor.confirmed, visitor.acked if visitor.attachment.client in confirmed else 0)

    async def close_silent(self) -> None:
        """Close the connections of clients that called no process during their lease, and forget them."""
        now = self._loop.time()
        # Not while its lease is being renewed: if such a client were forgotten and stayed silent, nothing would close
        # it.
        silent = [v for v in self._by_client.values() if v.lease_ends < now and v.is_flushed and not v.writes]
        for visitor in silent:
            del self._by_client[visitor.attachment.client]
            if visitor.attachment.connection:
                # Close it only if the lease in the database has ended too, because another process may have heard the
                # client.
                ended = self._build_end(visitor.attachment, int(Close.HEARTBEAT_LOST), "server", is_swept=True)
                self._late_writes.add_ended(ended, visitor.attachment.client_id)

    def _build_end(self, attachment: Attachment, code: int, closed_by: str, *, is_swept: bool = False) -> Ended:
        key, session, client = attachment.connection, attachment.session.pk, attachment.client
        return Ended(key, session, client, code, closed_by, is_swept=is_swept)


def _find_key(attachment: Attachment) -> tuple[int, int]:
    return attachment.client, attachment.generation


def _build_heard(visitor: Visitor, now: float) -> Heard:
    return Heard(
        connection=visitor.attachment.connection,
        seconds_ago=max(now - visitor.heard_at, 0),
        messages_in=visitor.messages_in,
        messages_out=visitor.messages_out,
        bytes_in=visitor.bytes_in,
        bytes_out=visitor.bytes_out,
    )


def _find_active(visitors: Iterable[Visitor]) -> dict[UUID, datetime]:
    found: dict[UUID, datetime] = {}
    for visitor in visitors:
        if visitor.wrote_at is not None:
            session = visitor.attachment.session.pk
            found[session] = max(visitor.wrote_at, found.get(session, visitor.wrote_at))
    return found

"""Collect what is written to the database about one connection: figures, activity, and confirmed receipts."""

from __future__ import annotations

import asyncio
from datetime import datetime

from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.connections import Beat, Confirmed
from session_mgmt.conf import settings
from session_mgmt.consumers.heartbeat import Heartbeat
from session_mgmt.consumers.inbox import Inbox
from session_mgmt.consumers.lifetime import Lifetime
from session_mgmt.consumers.outlet import Outlet


class Report:
    """Figures that are collected while the connection lives; lease flushes and the end of the connection read them."""

    __slots__ = (
        "_acked",
        "_attachment",
        "_confirmed",
        "_heartbeat",
        "_inbox",
        "_lifetime",
        "_loop",
        "_outlet",
        "_told",
        "_wrote_at",
    )

    def __init__(
        self, attachment: Attachment, lifetime: Lifetime, heartbeat: Heartbeat, inbox: Inbox, outlet: Outlet
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._attachment, self._lifetime, self._heartbeat = attachment, lifetime, heartbeat
        self._inbox, self._outlet = inbox, outlet
        self._wrote_at: float | None = None
        # Value of all counters when the figures were last sent to the database.
        self._told = 0
        # Number that the client has acknowledged, and the last such number that was sent to the database.
        self._acked = self._confirmed = 0

    def build_figures(self) -> Beat:
        """Build the figures of a lease flush."""
        heartbeat = self._heartbeat
        return Beat(
            connection=self._attachment.connection,
            rtt_ms=heartbeat.rtt_ms,
            rtt_average_ms=heartbeat.rtt_average_ms,
            rtt_p95_ms=heartbeat.rtt_p95_ms,
            rtt_jitter_ms=heartbeat.rtt_jitter_ms,
            beats_sent=heartbeat.beats,
            beats_missed=heartbeat.missed,
            messages_in=self._inbox.messages,
            messages_out=self._outlet.messages,
            bytes_in=self._inbox.bytes,
            bytes_out=self._outlet.bytes,
        )

    @property
    def has_news(self) -> bool:
        """Return True if the figures have changed since they were sent to the database."""
        return self._told != self._count_all()

    def take_figures(self) -> Beat:
        """Build the figures of a lease flush, and count them as sent to the database."""
        self._told = self._count_all()
        return self.build_figures()

    def tell_again(self) -> None:
        """Send the figures again with the next flush, because the last one failed."""
        self._told = -1

    def _count_all(self) -> int:
        # Each counter only grows, and no other figure changes without one of them.
        heartbeat = self._heartbeat
        return heartbeat.beats + heartbeat.missed + self._inbox.messages + self._outlet.messages

    # -- activity --------------------------------------------------------------------------------------------------

    def note_write(self) -> None:
        """Count a write as activity of the session; beats and polls do not count."""
        self._wrote_at = self._loop.time()

    def find_active(self) -> datetime | None:
        """Return when the session was last active here; None if the database already knows it."""
        if settings().reading_is_activity:
            return self._lifetime.read_server_time()
        return None if self._wrote_at is None else self._lifetime.find_server_time(self._wrote_at)

    def forget_active(self, told: datetime) -> None:
        """Forget activity up to a moment that the database knows now."""
        # Not earlier, because after a failed flush it must be sent again, or the session would end too early (promise
        # L3).
        if self._wrote_at is not None and self._lifetime.find_server_time(self._wrote_at) <= told:
            self._wrote_at = None

    # -- receipts --------------------------------------------------------------------------------------------------

    def confirm(self, seq: int) -> None:
        """Note that the client has its receipts up to this number."""
        self._acked = max(self._acked, seq)

    def take_confirmed(self) -> Confirmed | None:
        """Return the number up to which receipts may be forgotten, if it has moved."""
        if self._acked <= self._confirmed:
            return None
        # A failed flush loses it, which does no harm: receipts that are not forgotten are purged by age.
        self._confirmed = self._acked
        return Confirmed(self._attachment.generation, self._acked)

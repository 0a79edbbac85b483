"""Chain of connections of one client: open, receive, wait, open again, until told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from websockets.exceptions import WebSocketException

from session_mgmt.client.connection import Connection, explain_failure
from session_mgmt.client.core import Core
from session_mgmt.client.effects import Leave
from session_mgmt.client.stats import Stats
from session_mgmt.protocol.codes import CLIENT_OUT_OF_ORDER, Close

# Deadline until the server has named its own.
FIRST_DEADLINE = 15.0
# The same token is refused from now on.
_OVER = (Close.SESSION_EXPIRED, Close.TOKEN_EXPIRED)
# Two replacements within this time are the work of a clone.
CLONE_SECONDS = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Target of a connection, with the token and the headers of its handshake."""

    url: str
    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Link:
    """Reconnecting link.

    `take` gets every frame, `lost` is called at the end of every connection, `renew` makes this a new client,
    `recover` enters the successor of an expired session; `address` is asked before every connection.
    """

    def __init__(
        self,
        core: Core,
        stats: Stats,
        take: Callable[[dict[str, Any]], None],
        lost: Callable[[Leave, bool], None],
        renew: Callable[[], None],
        recover: Callable[[Leave], Awaitable[Leave]],
    ) -> None:
        self._core, self._stats = core, stats
        self._take, self._lost, self._renew, self._recover = take, lost, renew, recover
        self._replaced_at: float | None = None
        self._connection: Connection | None = None
        self._leaving: Leave | None = None
        self.departure: Leave | None = None

    async def run(self, address: Callable[[], Address]) -> Leave:
        """Reconnect as the server's codes and its retry policy say; return why it stopped."""
        failures = 0
        while True:
            before = self._stats.connections
            leave = await self._connect_once(address())
            # Only an answered connect ends the backoff: a server that accepts and closes would be stormed otherwise.
            failures = 0 if self._stats.connections > before else failures + 1
            # Before it is marked as gone.
            was_ready = self._core.ready
            self._core.mark_disconnected()
            self._stats.last_close = f"{leave.code} {leave.name}"
            self._lost(leave, was_ready)
            # The application has closed the client, so no code of the server counts any more.
            if self._leaving is not None:
                return self._leaving
            if leave.code == Close.REPLACED and not was_ready:
                # Only this client's own earlier attempt, which the server served late, can have replaced this one.
                leave = self._attach_again(leave)
            if leave.code in _OVER:
                # It may reconnect with the token of a successor.
                leave = await self._recover(leave)
            if not leave.reconnect or self._core.backoff.is_exhausted(failures):
                return leave
            await asyncio.sleep(self._choose_delay(leave, failures))

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        """Send on the present connection, if there is one and the server has answered `connected`."""
        if self._connection is not None and self._core.ready:
            self._connection.send_frame(frame)

    async def close_connection(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        """Close the present connection, if there is one; `run` decides how to go on."""
        if self._connection is not None:
            await self._connection.close(code, last)

    async def stop(self, last: Mapping[str, Any] | None) -> None:
        """Close for good, after a `last` frame."""
        self._leaving = Leave(1000, "closed", reconnect=False)
        # Marked first: `run` would take the end of the connection for a loss and come back.
        await self.close_connection(1000, last)

    def _attach_again(self, leave: Leave) -> Leave:
        """Come back after a replacement; as a new client if it happens twice, because a clone uses the same name."""
        now = asyncio.get_running_loop().time()
        if self._replaced_at is not None and now - self._replaced_at < CLONE_SECONDS:
            self._renew()
        self._replaced_at = now
        return replace(leave, reconnect=True)

    def _choose_delay(self, leave: Leave, failures: int) -> float:
        backoff = self._core.backoff
        if leave.retry_after is None:
            return backoff.choose_delay(failures)
        return backoff.spread_delay(leave.retry_after, failures)

    async def _connect_once(self, address: Address) -> Leave:
        try:
            async with Connection(address.url, address.headers) as connection:
                self._connection, self.departure = connection, None
                connection.send_frame(self._core.build_connect(address.token))
                leave = await self._receive_frames(connection)
                await connection.close(leave.code)
                return leave
        except (OSError, TimeoutError, WebSocketException) as error:
            return explain_failure(error)
        finally:
            self._connection = None

    async def _receive_frames(self, connection: Connection) -> Leave:
        """Receive until the connection ends; any frame counts as a sign of life."""
        while True:
            received = await connection.receive_frame(float(self._core.heartbeat.get("deadline") or FIRST_DEADLINE))
            self._count_traffic(connection)
            if isinstance(received, Leave):
                return received
            try:
                self._take(received)
            except (KeyError, TypeError, ValueError, IndexError):
                logger.exception("A frame of the server cannot be understood.")
                # The state after half a frame is unknown; a new connection begins from the stored positions.
                return Leave(CLIENT_OUT_OF_ORDER, "unreadable_frame", reconnect=True)
            if self.departure is not None:
                return self.departure

    def _count_traffic(self, connection: Connection) -> None:
        for name in ("frames_received", "frames_sent", "bytes_received", "bytes_sent"):
            setattr(self._stats, name, getattr(self._stats, name) + getattr(connection, name))
            # The connection counts from the last time on, so that nothing is added twice.
            setattr(connection, name, 0)

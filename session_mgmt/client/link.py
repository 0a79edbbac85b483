"""The chain of connections of one client: open, serve, wait, open again, until told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from websockets.exceptions import WebSocketException

from session_mgmt.client.connection import Connection, failure_of
from session_mgmt.client.core import Core
from session_mgmt.client.effects import Leave
from session_mgmt.protocol.codes import CLIENT_OUT_OF_ORDER

# Before the server has said its own deadline.
FIRST_DEADLINE = 15.0

logger = logging.getLogger("session_mgmt.client")


@dataclass(slots=True)
class Stats:
    """Counted since `start`; `latency_ms` is the server's last measured round trip, None before the first beat."""

    state: str = "connecting"
    connections: int = 0
    losses: int = 0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    pending: int = 0
    generation: int = 0
    client_id: str | None = None
    latency_ms: float | None = None
    last_close: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect and as whom."""

    url: str
    token: str
    headers: Mapping[str, str]


def websocket_url(base: str, path: str) -> str:
    """Where the socket is, from the address of the REST side."""
    parts = urlsplit(urljoin(base, path))
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme))


class Link:
    """`take` gets every frame; `lost` hears of the end of every connection; `run` returns why it stopped."""

    def __init__(
        self, core: Core, stats: Stats, take: Callable[[dict[str, Any]], None], lost: Callable[[Leave, bool], None]
    ) -> None:
        self._core, self._stats = core, stats
        self._take, self._lost = take, lost
        self._connection: Connection | None = None
        self._leaving: Leave | None = None
        self.departure: Leave | None = None

    async def run(self, address: Address) -> Leave:
        """Reconnect as the server's codes and its retry policy say."""
        failures = 0
        while True:
            before = self._stats.connections
            leave = await self._connect_once(address)
            failures = 0 if self._stats.connections > before else failures + 1
            was_ready = self._core.ready
            self._core.disconnected()
            self._stats.last_close = f"{leave.code} {leave.name}"
            self._lost(leave, was_ready)
            if self._leaving is not None:
                return self._leaving
            if not leave.reconnect or self._core.backoff.exhausted(failures):
                return leave
            await asyncio.sleep(self._delay(leave, failures))

    def send(self, frame: Mapping[str, Any]) -> None:
        """Send on the present connection, if there is one and it has been answered by `connected`."""
        if self._connection is not None and self._core.ready:
            self._connection.send(frame)

    async def leave(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        """Close the present connection, if there is one; `run` decides what comes then."""
        if self._connection is not None:
            await self._connection.leave(code, last)

    async def finish(self, last: Mapping[str, Any] | None) -> None:
        """Close for good, after a `last` frame."""
        self._leaving = Leave(1000, "closed", reconnect=False)
        await self.leave(1000, last)

    def _delay(self, leave: Leave, failures: int) -> float:
        return self._core.backoff.delay(failures) if leave.retry_after is None else leave.retry_after

    async def _connect_once(self, address: Address) -> Leave:
        try:
            async with Connection(address.url, address.headers) as connection:
                self._connection, self.departure = connection, None
                connection.send(self._core.opening(address.token))
                leave = await self._serve(connection)
                await connection.leave(leave.code)
                return leave
        except (OSError, TimeoutError, WebSocketException) as error:
            return failure_of(error)
        finally:
            self._connection = None

    async def _serve(self, connection: Connection) -> Leave:
        """Receive until the connection ends; any frame counts as life."""
        while True:
            received = await connection.receive(float(self._core.heartbeat.get("deadline") or FIRST_DEADLINE))
            self._count(connection)
            if isinstance(received, Leave):
                return received
            try:
                self._take(received)
            except (KeyError, TypeError, ValueError, IndexError):
                logger.exception("A frame of the server cannot be understood.")
                return Leave(CLIENT_OUT_OF_ORDER, "unreadable_frame", reconnect=True)
            if self.departure is not None:
                return self.departure

    def _count(self, connection: Connection) -> None:
        for name in ("frames_in", "frames_out", "bytes_in", "bytes_out"):
            setattr(self._stats, name, getattr(self._stats, name) + getattr(connection, name))
            setattr(connection, name, 0)

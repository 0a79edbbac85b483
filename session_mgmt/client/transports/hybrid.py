"""Attachments over a socket if one gets through, otherwise over HTTP.

Sockets and HTTP compete to reach the server, but never to attach: before one of them attaches, every earlier
attachment, or possible attachment, is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from session_mgmt.client.clock import limit_time
from session_mgmt.client.effects import Leave
from session_mgmt.client.transports.carrier import SWITCH, Frame, Host, Traffic, TransportName, is_lost
from session_mgmt.client.transports.http import HttpCarrier
from session_mgmt.client.transports.socket import SocketCarrier
from session_mgmt.client.transports.way import SocketUse, Way
from session_mgmt.protocol.codes import Close

# Seconds after the start within which a socket must be open, and within which it must be attached.
OPEN_WITHIN, READY_WITHIN = 0.8, 1.5
# Seconds in which a socket must open and answer while HTTP is in use.
PROBE_WITHIN = 10.0
# Seconds that a change waits for a running call, and in which the new attachment must be ready.
CALL_LASTS, SWITCH_WITHIN = 2.0, 3.0
# Seconds in which an abandoned attach may still reach the server.
GHOST_LASTS = 20.0
# Ping for a server that has no attachment on this socket yet.
QUESTION = {"type": "ping", "id": 0}

Opening: TypeAlias = asyncio.Task[Leave | None]

_GIVEN_UP = Leave(1006, "connect_timeout", reconnect=True)
_CHANGE = Leave(0, "change", reconnect=True)


class HybridCarrier:
    """Carrier that changes between a socket and HTTP. Each change is reported by SWITCH."""

    def __init__(self, host: Host, way: Way) -> None:
        self.traffic = Traffic()
        self._host, self._way = host, way
        # Exactly one of the two has the attachment, or the running attach.
        self._socket: SocketCarrier | None = None
        self._http: HttpCarrier | None = None
        # Socket that has answered, to which HTTP will change.
        self._next: SocketCarrier | None = None
        self._attached = asyncio.Event()
        # True until the first attachment. If a socket is lost before it and HTTP gets through, sockets are the problem.
        self._is_racing = True
        self._has_lost = False
        # True while an abandoned attach may still reach the server, and replace the present attachment.
        self._has_ghost = False
        self._use: SocketUse | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._search: asyncio.Task[None] | None = None

    @property
    def name(self) -> TransportName:
        return self._carrier.name

    @property
    def has_beats(self) -> bool:
        return self._carrier.has_beats

    @property
    def _carrier(self) -> SocketCarrier | HttpCarrier:
        carrier = self._socket or self._http
        assert carrier is not None
        return carrier

    async def open(self) -> Leave | None:
        if not self._way.is_open_to_sockets:
            self._take_http()
            return None
        socket = self._socket = SocketCarrier(self._host.find_address())
        opening = asyncio.create_task(socket.open())
        self._call_later(READY_WITHIN, lambda: self._give_up(socket))
        try:
            async with limit_time(self._host.clock, OPEN_WITHIN):
                leave = await asyncio.shield(opening)
        except TimeoutError:
            self._take_http()
            self._search = asyncio.create_task(self._look_for_socket(socket, opening))
            return None
        except BaseException:
            await _end_opening(opening)
            raise
        return None if leave is None else self._take_failure(leave)

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        self._carrier.send_frame(frame)

    async def receive_frame(self, patience: float | None) -> Frame | Leave:
        carrier = self._carrier
        received = await carrier.receive_frame(patience)
        carrier.traffic.move_to(self.traffic)
        if isinstance(received, Leave):
            return await self._take_end(received)
        if received["type"] == "connected":
            self._take_connected()
        elif received["type"] == "bye" and await self._is_own_ghost(received):
            return SWITCH
        elif self._use is not None:
            self._use.note_frame(received)
        return received

    async def close(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        await self._end_search()
        await self._carrier.close(code, last)

    async def abandon(self) -> None:
        for timer in self._timers:
            timer.cancel()
        await self._end_search()
        self._end_use(None)
        for carrier in (self._socket, self._http, self._next):
            if carrier is not None:
                await carrier.abandon()

    # The present attachment.

    def _take_connected(self) -> None:
        self._is_racing = False
        self._attached.set()
        if self._socket is not None:
            self._use = self._way.watch_use()
            self._way.note_carried()
            return
        if self._has_lost:
            self._has_lost = False
            self._way.note_blocked()
        if self._search is None:
            self._search = asyncio.create_task(self._look_for_socket())

    async def _take_end(self, leave: Leave) -> Leave:
        """Return how to go on after the end of the present attachment, or of a running attach."""
        if leave is _CHANGE:
            return await self._change_to_socket()
        if self._http is not None or self._attached.is_set() or not is_lost(leave):
            self._end_use(leave)
            return leave
        self._has_ghost = True
        self._call_later(GHOST_LASTS, self._forget_ghost)
        if leave is not _GIVEN_UP and self._is_racing:
            return self._take_failure(leave) or SWITCH
        await self._carrier.abandon()
        self._has_lost = self._is_racing
        self._take_http()
        return SWITCH

    def _take_failure(self, leave: Leave) -> Leave | None:
        """Change to HTTP after a socket was lost before the first attachment; return the end if HTTP would not help."""
        # A proxy that does not support sockets refuses the handshake in the same way as a server.
        if not is_lost(leave) and leave.code != Close.ORIGIN_DENIED:
            return leave
        if self._way.blames_server():
            return replace(leave, reconnect=True)
        self._has_lost = True
        self._take_http()
        return None

    def _take_http(self) -> None:
        self._attached.clear()
        self._socket, self._http = None, HttpCarrier(self._host, self._way)

    async def _change_to_socket(self) -> Leave:
        """Attach to the socket that has answered; no call is running any more."""
        await self._carrier.abandon()
        socket, self._next = self._next, None
        assert socket is not None
        self._socket, self._http, self._search = socket, None, None
        self._attached.clear()
        self._call_later(SWITCH_WITHIN, lambda: self._give_up(socket))
        return SWITCH

    async def _is_own_ghost(self, bye: Frame) -> bool:
        """Attach again if an abandoned attach of this client replaced the attachment; otherwise return False."""
        if not (self._has_ghost and self._attached.is_set() and bye.get("code") == Close.REPLACED):
            return False
        self._has_ghost = False
        await self._end_search()
        await self._carrier.abandon()
        self._take_http()
        return True

    def _give_up(self, socket: SocketCarrier) -> None:
        """Abandon an attach that has no answer; it may still reach the server."""
        if socket is self._socket and not self._attached.is_set():
            socket.interrupt(_GIVEN_UP)

    def _forget_ghost(self) -> None:
        self._has_ghost = False

    def _end_use(self, leave: Leave | None) -> None:
        if self._use is not None:
            self._use.end(leave)
            self._use = None

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timers.append(self._host.clock.call_later(seconds, callback))

    # The search for a socket while HTTP is in use.

    async def _look_for_socket(self, late: SocketCarrier | None = None, opening: Opening | None = None) -> None:
        """Find a socket that answers, beginning with one that opens slowly; then change from HTTP to it."""
        if late is not None and opening is not None:
            if await self._prove(late, opening) and await self._give_way(late):
                return
            await self._attached.wait()
            self._way.note_blocked()
        while True:
            await self._host.clock.sleep(self._way.choose_probe_wait())
            socket = SocketCarrier(self._host.find_address())
            if await self._prove(socket, asyncio.create_task(socket.open())) and await self._give_way(socket):
                return

    async def _prove(self, socket: SocketCarrier, opening: Opening) -> bool:
        """Return True if a socket opens and answers in time."""
        is_proved = False
        try:
            async with limit_time(self._host.clock, PROBE_WITHIN):
                is_proved = await opening is None and await _is_answering(socket)
        except TimeoutError:
            pass
        finally:
            await _end_opening(opening)
            if not is_proved:
                await socket.abandon()
        return is_proved

    async def _give_way(self, socket: SocketCarrier) -> bool:
        """End HTTP for the change to a socket; return False if the socket was lost meanwhile."""
        self._next = socket
        # Wait for the running attach, because it must not be abandoned for another one.
        await self._attached.wait()
        http = self._http
        assert http is not None
        with contextlib.suppress(TimeoutError):
            async with limit_time(self._host.clock, CALL_LASTS):
                await http.pause()
        if socket.is_open:
            http.interrupt(_CHANGE)
            return True
        self._next = None
        await socket.abandon()
        http.resume()
        return False

    async def _end_search(self) -> None:
        search, self._search = self._search, None
        if search is not None:
            search.cancel()
            await asyncio.gather(search, return_exceptions=True)


async def _is_answering(socket: SocketCarrier) -> bool:
    """Return True if a socket without an attachment answers a ping."""
    socket.send_frame(QUESTION)
    while True:
        received = await socket.receive_frame(None)
        if isinstance(received, Leave) or received["type"] == "pong":
            return not isinstance(received, Leave)


async def _end_opening(opening: Opening) -> None:
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)

"""WebSocket that sends and receives frames as dictionaries."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from session_mgmt.client.effects import Leave
from session_mgmt.client.rest import NOT_OURS, PORTAL_WAIT
from session_mgmt.client.transports.carrier import (
    LOST,
    SILENCE,
    UNREADABLE,
    Address,
    Frame,
    Traffic,
    TransportName,
    build_close,
)
from session_mgmt.protocol.codes import CLIENT_HEARTBEAT_LOST, Close

# At DEBUG the library writes the headers of the login and the beginnings of frames, with tokens in them. Who wants to
# see them sets the level of this logger.
_wire = logging.getLogger(__name__)
_wire.setLevel(logging.INFO)
SUBPROTOCOL = Subprotocol("session-mgmt.v1")
OPEN_SECONDS = 15.0
# Statuses of a server that restarts or has no room, so the network is not the reason.
_TRY_LATER = frozenset({429, 503})
_REFUSALS = frozenset({401, 403, 404})


class SocketCarrier:
    """Attachment over a WebSocket. `send_frame` never waits and keeps the order."""

    name: TransportName = "websocket"
    has_beats = True

    def __init__(self, address: Address) -> None:
        self.traffic = Traffic()
        self._address = address
        self._socket: ClientConnection | None = None
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._waiting: asyncio.Timeout | None = None
        self._interruption: Leave | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None and self._socket.close_code is None

    async def open(self) -> Leave | None:
        try:
            # Awaited instead of iterated, because the client itself retries.
            self._socket = await _begin_handshake(self._address)
        except (OSError, TimeoutError, WebSocketException) as error:
            return explain_failure(error)
        self._writer = asyncio.create_task(self._write_frames(self._socket))
        return None

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        self._outgoing.put_nowait(json.dumps(frame, separators=(",", ":"), ensure_ascii=False, allow_nan=False))

    async def receive_frame(self, patience: float | None) -> Frame | Leave:
        assert self._socket is not None
        if self._interruption is not None:
            return self._interruption
        try:
            # Not wait_for: in Python 3.11 it swallows a cancellation at the moment of the connection's end.
            async with asyncio.timeout(patience) as self._waiting:
                message = await self._socket.recv()
        except TimeoutError:
            return self._interruption or SILENCE
        except ConnectionClosed as closed:
            return self._interruption or _read_close(closed)
        finally:
            self._waiting = None
        self.traffic.note_received(len(message))
        return _read_frame(message)

    def interrupt(self, leave: Leave) -> None:
        self._interruption = leave
        if self._waiting is not None:
            self._waiting.reschedule(0.0)

    async def close(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        assert self._socket is not None
        if last is not None:
            self.send_frame(last)
            # Before the close frame, because nothing may follow it.
            await self._outgoing.join()
        await self._socket.close(code if code in {1000, CLIENT_HEARTBEAT_LOST} or 4100 <= code < 4200 else 1000)

    async def abandon(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        if self._socket is not None:
            # Without a close handshake, because a silent peer must not delay the next attachment.
            self._socket.transport.abort()
            await self._socket.wait_closed()

    async def _write_frames(self, socket: ClientConnection) -> None:
        while True:
            text = await self._outgoing.get()
            try:
                await socket.send(text)
            except ConnectionClosed:
                # `receive_frame` returns the reason, and the outbox keeps the writes.
                pass
            else:
                self.traffic.note_sent(len(text))
            finally:
                self._outgoing.task_done()


class _Handshake(connect):
    """Handshake that follows no redirect, because the next frame contains the session's token."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _begin_handshake(address: Address) -> connect:
    return _Handshake(
        address.url,
        subprotocols=[SUBPROTOCOL],
        additional_headers=dict(address.headers),
        # The server declines it, so that one encoded text serves all its clients.
        compression=None,
        open_timeout=OPEN_SECONDS,
        # No pings of the library: the protocol has its own heartbeat, and a second one would hide its loss.
        ping_interval=None,
        close_timeout=2,
        logger=_wire,
        # Without the REST API, the snapshot of a large document is a single frame.
        max_size=None,
        proxy=None,
    )


def _read_frame(message: str | bytes) -> Frame | Leave:
    try:
        frame = json.loads(message)
    except ValueError:
        return UNREADABLE
    return frame if isinstance(frame, dict) and isinstance(frame.get("type"), str) else UNREADABLE


def _read_close(closed: ConnectionClosed) -> Leave:
    if closed.rcvd is None:
        return LOST
    return build_close(closed.rcvd.code, closed.rcvd.reason)


def explain_failure(error: OSError | WebSocketException) -> Leave:
    """Return the end for a failed handshake. A server that answered and refused would refuse again."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in _REFUSALS:
            return Leave(Close.ORIGIN_DENIED, f"handshake_{status}", reconnect=False)
        if status in _TRY_LATER:
            return Leave(1013, f"handshake_{status}", reconnect=True)
        if 300 <= status < 400:
            return Leave(1006, NOT_OURS, reconnect=True, retry_after=PORTAL_WAIT)
    return LOST

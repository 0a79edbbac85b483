"""WebSocket connection that sends and receives frames as dictionaries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from session_mgmt.client.effects import Leave
from session_mgmt.protocol.codes import CLIENT_HEARTBEAT_LOST, Close, may_reconnect

SUBPROTOCOL = Subprotocol("session-mgmt.v1")
OPEN_SECONDS = 15.0
LOST = Leave(1006, "lost", reconnect=True)
SILENCE = Leave(CLIENT_HEARTBEAT_LOST, "heartbeat_lost", reconnect=True)


class Connection:
    """Connection for `async with`. `send_frame` never waits and keeps the order."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        # No pings of the library: the heartbeat belongs to the protocol, and a second one would hide its loss.
        self._opening = connect(
            url,
            subprotocols=[SUBPROTOCOL],
            additional_headers=dict(headers),
            # The server declines it: one encoding serves all its readers.
            compression=None,
            open_timeout=OPEN_SECONDS,
            ping_interval=None,
            close_timeout=2,
            # Where no REST side is mounted, the snapshot of a large document is one frame.
            max_size=None,
            proxy=None,
        )
        self._socket: ClientConnection | None = None
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self.frames_received = self.frames_sent = self.bytes_received = self.bytes_sent = 0

    async def __aenter__(self) -> Connection:
        # __await__ and not the iterator form: retries are the client's own.
        self._socket = await self._opening
        self._writer = asyncio.create_task(self._write_frames())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._socket is not None and self._writer is not None
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        await self._socket.close()

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        self._outgoing.put_nowait(json.dumps(frame, separators=(",", ":"), ensure_ascii=False, allow_nan=False))

    async def receive_frame(self, deadline: float) -> dict[str, Any] | Leave:
        """Return the next frame, or why there is none: the peer's close, or silence for `deadline` seconds."""
        assert self._socket is not None
        try:
            # Not wait_for: in Python 3.11 it swallows a cancellation that meets the end of the connection.
            async with asyncio.timeout(deadline):
                message = await self._socket.recv()
        except TimeoutError:
            return SILENCE
        except ConnectionClosed as closed:
            return _read_close(closed)
        self.frames_received += 1
        self.bytes_received += len(message)
        frame = json.loads(message)
        return frame if isinstance(frame, dict) else LOST

    async def close(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        """Send waiting frames and a `last` one, then close with a code that a client may send."""
        assert self._socket is not None
        if last is not None:
            self.send_frame(last)
            # Before the close frame, behind which nothing may be sent.
            await self._outgoing.join()
        await self._socket.close(code if code in {1000, CLIENT_HEARTBEAT_LOST} or 4100 <= code < 4200 else 1000)

    async def _write_frames(self) -> None:
        assert self._socket is not None
        while True:
            text = await self._outgoing.get()
            try:
                await self._socket.send(text)
            except ConnectionClosed:
                # `receive_frame` returns the reason, and the outbox keeps the writes.
                pass
            else:
                self.frames_sent += 1
                self.bytes_sent += len(text)
            finally:
                self._outgoing.task_done()


def _read_close(closed: ConnectionClosed) -> Leave:
    if closed.rcvd is None:
        return LOST
    code = closed.rcvd.code
    return Leave(code, closed.rcvd.reason or str(code), may_reconnect(code))


def explain_failure(error: OSError | WebSocketException) -> Leave:
    """Return why a connection could not be opened; a server that answered and refused would refuse again."""
    if isinstance(error, InvalidStatus) and error.response.status_code in {401, 403, 404}:
        return Leave(Close.ORIGIN_DENIED, f"handshake_{error.response.status_code}", reconnect=False)
    return LOST

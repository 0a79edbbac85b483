"""Connections of uvicorn until their first bytes tell which class reads them.

uvicorn's HTTP class reads each opening request, builds its bytes again, and passes them to the class for WebSockets,
which reads them once more. Here the whole and plain opening request of a session client goes directly to the class for
WebSockets, in its turn if a crowd comes. All other bytes, also a part of such a request, go unchanged to uvicorn's
HTTP class, at once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from session_mgmt.conf import settings
from session_mgmt.consumers.handshake import read_plain_handshake
from session_mgmt.consumers.pacing import crowd

# Bytes that may wait for a turn; a browser's request with many cookies has fewer.
MOST_WAITING = 16 * 1024


class FirstBytes(asyncio.Protocol):
    """One connection that has sent nothing yet, or whose opening request waits for its turn."""

    __slots__ = ("_head", "_made_with", "_other", "_transport")

    def __init__(self, other: Any, **made_with: Any) -> None:
        # uvicorn's HTTP class, and what uvicorn makes each of its classes with.
        self._other, self._made_with = other, made_with
        # Bytes that wait for their turn.
        self._head: bytes | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._made_with["server_state"].connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head = None
        self._made_with["server_state"].connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            # Either the request was not whole, or other bytes follow it.
            head, self._head = self._head, None
            self._begin_as(self._other).data_received(head + data)
        elif len(data) <= MOST_WAITING and data.startswith(b"GET " + settings().websocket_path.encode()):
            # A crowd sends its requests at once, and all frames of other clients would wait until they were read.
            self._head = data
            crowd().requests.begin(self._open)
        else:
            self._begin_as(self._other).data_received(data)

    def _open(self) -> bool:
        """Read the request; return False if there is none any more."""
        head, self._head = self._head, None
        if head is None:
            return False
        handshake = read_plain_handshake(head)
        if handshake is not None and handshake.path == settings().websocket_path:
            self._begin_as(self._made_with["config"].ws_protocol_class).open(handshake)
        else:
            self._begin_as(self._other).data_received(head)
        return True

    def _begin_as(self, make: Any) -> Any:
        protocol = make(**self._made_with)
        self._made_with["server_state"].connections.discard(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        return protocol

    def shutdown(self) -> None:
        """End the connection, because the server shuts down."""
        self._head = None
        self._transport.close()


def begin_with_first_bytes(config: Any) -> None:
    """Let the next connections of a server begin as ``FirstBytes``, if its configuration has an HTTP class."""
    other = getattr(config, "http_protocol_class", None)
    if other is not None and not isinstance(other, partial):
        config.http_protocol_class = partial(FirstBytes, other)

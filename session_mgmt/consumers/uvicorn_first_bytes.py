"""Connections of uvicorn until their first bytes tell which class reads them.

uvicorn's HTTP class reads each opening request, builds its bytes again, and passes them to the class for WebSockets,
which reads them once more. Here the whole and plain opening request of a session client goes directly to the class for
WebSockets. All other bytes, also a part of such a request, go unchanged to uvicorn's HTTP class.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from session_mgmt.conf import settings
from session_mgmt.consumers.handshake import read_plain_handshake


class FirstBytes(asyncio.Protocol):
    """One connection that has sent nothing yet."""

    __slots__ = ("_made_with", "_other", "_transport")

    def __init__(self, other: Any, **made_with: Any) -> None:
        # uvicorn's HTTP class, and what uvicorn makes each of its classes with.
        self._other, self._made_with = other, made_with

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._made_with["server_state"].connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._made_with["server_state"].connections.discard(self)

    def data_received(self, data: bytes) -> None:
        handshake = read_plain_handshake(data)
        is_ours = handshake is not None and handshake.path == settings().websocket_path
        make = self._made_with["config"].ws_protocol_class if is_ours else self._other
        protocol = make(**self._made_with)
        self._made_with["server_state"].connections.discard(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if is_ours:
            protocol.open(handshake)
        else:
            protocol.data_received(data)

    def shutdown(self) -> None:
        """End the connection, because the server shuts down."""
        self._transport.close()


def begin_with_first_bytes(config: Any) -> None:
    """Let the next connections of a server begin as ``FirstBytes``, if its configuration has an HTTP class."""
    other = getattr(config, "http_protocol_class", None)
    if other is not None and not isinstance(other, partial):
        config.http_protocol_class = partial(FirstBytes, other)

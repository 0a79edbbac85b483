"""Limits that ASGI cannot express, if the server is uvicorn with its sans-I/O WebSockets.

An application receives only complete messages. It never sees pings, which the server answers, parts of a message, and
a first message that is too large; and a transport whose peer does not read stays full after a close. Other servers
have these limits themselves or not at all (``docs/howto/deploy.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from session_mgmt.consumers import uvicorn_fast_path

if TYPE_CHECKING:
    from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol

MESSAGE_TOO_BIG = 1009
POLICY_VIOLATION = 1008


class UvicornGuard:
    """Hooks into one connection of the server."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._take_data, self._left = protocol.conn.receive_data, 0

    def limit_bytes(self, most: int) -> None:
        """Accept at most this many bytes from the peer, in frames of any kind, until ``lift_limit``."""
        self._left = most
        self._protocol.conn.receive_data = self._take_limited

    def lift_limit(self) -> None:
        """Use the server's own limit for the size of messages again."""
        self._protocol.conn.receive_data = self._take_data

    def _take_limited(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._fail(MESSAGE_TOO_BIG)
        else:
            self._take_data(data)

    def count_hidden_frames(self, take: Callable[[], bool]) -> None:
        """Call ``take`` for every ping and every part of a message; close if it returns False."""
        protocol = self._protocol
        answer_ping, take_part = protocol.handle_ping, protocol.handle_cont

        def handle_ping() -> None:
            # Answers that a peer does not read would pile up in the transport.
            if not take() or not protocol.writable.is_set():
                self._fail(POLICY_VIOLATION)
            else:
                answer_ping()

        def handle_cont(event: Any) -> None:
            if take():
                take_part(event)
            else:
                self._fail(POLICY_VIOLATION)

        protocol.handle_ping, protocol.handle_cont = handle_ping, handle_cont

    def _fail(self, code: int) -> None:
        """Close at once, and drop everything that the peer has sent or would have to read."""
        protocol = self._protocol
        # Nothing may follow a close frame (RFC 6455 section 5.5.1).
        if protocol.close_sent or protocol.disconnected:
            return
        # Abort directly after the close frame, because a hostile peer would never complete a normal close.
        protocol.conn.fail(code)
        protocol.handle_parser_exception()
        self.abort()

    def abort(self) -> None:
        """Drop the transport with everything that its peer did not read."""
        self._protocol.transport.abort()


def find_guard(send: Any) -> UvicornGuard | WebSocketProtocol | None:
    """Find the hooks of the server behind ``send``; ``None`` for any other server."""
    own = uvicorn_fast_path.find_own_protocol(send)
    if own is not None:
        return own
    protocol = uvicorn_fast_path.find_protocol(send)
    return None if protocol is None else UvicornGuard(protocol)

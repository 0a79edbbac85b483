"""Text frames written directly into the transport, if the server is uvicorn with its sans-I/O WebSockets.

With ASGI, each message costs a coroutine, a frame object and a copy per reader. A frame that is encoded once and
written to a thousand transports costs a fifth of that, and the event loop joins the writes of a turn into one system
call. With any other server, version, wrapper or extension the portable way is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol

_PROTOCOL = ("uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")
_OWN = ("session_mgmt.consumers.uvicorn_protocol", "WebSocketProtocol")
_TEXT = 0x81
_SHORT, _MEDIUM = 126, 1 << 16


def build_frame(payload: bytes) -> bytes:
    """Build one unmasked text frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < _SHORT:
        return bytes((_TEXT, size)) + payload
    if size < _MEDIUM:
        return bytes((_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + payload


def find_protocol(send: Any) -> Any:
    """Find uvicorn's protocol object behind ``send``; None if the server is another one."""
    return _find_owner(send, _PROTOCOL)


def find_own_protocol(send: Any) -> WebSocketProtocol | None:
    """Find the object of our own protocol class behind ``send``; None if uvicorn does not use it."""
    found: WebSocketProtocol | None = _find_owner(send, _OWN)
    return found


def _find_owner(send: Any, wanted: tuple[str, str]) -> Any:
    # Compare names, because a server without uvicorn cannot import the class.
    owner: Any = getattr(send, "__self__", None)
    return owner if (type(owner).__module__, type(owner).__name__) == wanted else None


def find_writer(send: Any) -> Callable[[bytes], bool] | None:
    """Return a function that writes a frame directly, or returns False if it may not now; None if there
    is no such way.
    """
    own = find_own_protocol(send)
    if own is not None:
        return own.write_frame
    protocol = find_protocol(send)
    try:
        if protocol is None or not _is_usable(protocol):
            return None
        conn, is_open, writable = protocol.conn, protocol.conn.state, protocol.writable.is_set
        write = protocol.transport.write
    except AttributeError:
        return None

    def write_frame(frame: bytes) -> bool:
        # If the protocol is not idle and open, leave the frame to the server's own code.
        if not writable() or protocol.close_sent or protocol.disconnected or conn.state is not is_open:
            return False
        write(frame)
        return True

    return write_frame


def _is_usable(protocol: Any) -> bool:
    """Return True for an open connection without extensions; compression would need another frame."""
    return (
        protocol.handshake_complete is True
        and protocol.close_sent is False
        and protocol.disconnected is False
        and protocol.initial_response is None
        and isinstance(protocol.writable, asyncio.Event)
        and not protocol.conn.extensions
        and not protocol.conn.expect_continuation_frame
        and protocol.conn.state.name == "OPEN"
    )

"""Part of RFC 6455 for a light client: one masked text frame out, whole frames in."""

from __future__ import annotations

from collections.abc import Iterator

# Clients must mask; with a key of zero the masked payload is the payload, and servers unmask it all the same.
_NO_MASK = bytes(4)


def handshake(port: int, path: str, subprotocol: str | None, cookie: str | None = None) -> bytes:
    """Build an opening handshake without extensions, so without compression."""
    offered = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    offered += f"Cookie: {cookie}\r\n" if cookie else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{offered}\r\n"
    ).encode()


def text(payload: bytes) -> bytes:
    """Build one text frame."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((0x80 | size,)) + _NO_MASK + payload
    if size < 65536:
        return b"\x81\xfe" + size.to_bytes(2, "big") + _NO_MASK + payload
    return b"\x81\xff" + size.to_bytes(8, "big") + _NO_MASK + payload


class Reader:
    """Parser of a server's bytes into the payloads of its frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the complete payloads; control frames of the server are returned as they are."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while at + 2 <= end:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if start + size > end:
                break
            yield data[start : start + size]
            at = start + size
        self._rest = data[at:]

"""Opening handshakes of WebSockets that need nothing of a library (RFC 6455 section 4), read and answered."""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64encode
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

# RFC 6455 section 1.3 prescribes it, so that a server without WebSockets cannot give this answer by accident.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
# With two values of one of these, it would be unknown which of them a proxy has checked.
_ONCE = (b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version")
# No header may contain these, nor CR and LF except at the end of a line (RFC 9110 section 5.5).
_CONTROL = bytes({*range(0x20), 0x7F} - {*b"\t\r\n"})
# Request that every reader of HTTP understands in the same way, unless its headers announce a body.
_PLAIN = re.compile(rb"GET /[!-~]* HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+\r\n")
_OF_BODY = (b"content-length", b"transfer-encoding")

Headers: TypeAlias = list[tuple[bytes, bytes]]


class Handshake(NamedTuple):
    """Opening request of a client."""

    path: str
    raw_path: bytes
    query: bytes
    headers: Headers
    subprotocols: list[str]
    accept: bytes

    def __repr__(self) -> str:
        # Not the headers, which may hold cookies, and not the query.
        return f"Handshake(path={self.path!r})"


def holds_control_characters(head: bytes) -> bool:
    """Return whether a request holds characters that no header may hold, and that could forge a line of a log."""
    ends = head.count(b"\r\n")
    return len(head.translate(None, _CONTROL)) < len(head) or not ends == head.count(b"\r") == head.count(b"\n")


def read_plain_handshake(head: bytes) -> Handshake | None:
    """Read a request as it came from the network; ``None`` if a library might understand it in another way."""
    handshake = read_handshake(head) if _PLAIN.fullmatch(head) else None
    return None if handshake is None or any(name in _OF_BODY for name, _ in handshake.headers) else handshake


def read_handshake(head: bytes) -> Handshake | None:
    """Read a plain request; ``None`` for any other, which a library may still understand or refuse well."""
    lines = head.split(b"\r\n")
    method, _, rest = lines[0].partition(b" ")
    target, _, version = rest.partition(b" ")
    # The head must be complete, and no bytes may follow it, because frames behind it would be lost here.
    if method != b"GET" or version != b"HTTP/1.1" or lines[-2:] != [b"", b""] or not target.isascii():
        return None
    headers = [_split_header(line) for line in lines[1:-2]]
    given = dict(headers)
    # A repeated name leaves fewer names than headers; this is rare, so a slow count is enough.
    if any(once not in given for once in _ONCE) or (len(given) < len(headers) and _has_doubled(headers)):
        return None
    # RFC 6455 section 4.2.1 asks for version 13, the upgrade, and a key of 16 bytes in base64.
    accept = _accept_key(given[b"sec-websocket-key"])
    if accept is None or given[b"sec-websocket-version"] != b"13" or not _is_upgrade(given):
        return None
    raw_path, _, query = target.partition(b"?")
    offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol")
    subprotocols = [token.strip() for token in offered.decode("latin-1").split(",")] if offered else []
    return Handshake(unquote(raw_path.decode()), raw_path, query, headers, subprotocols, accept)


def _has_doubled(headers: Headers) -> bool:
    return any(sum(name == once for name, _ in headers) > 1 for once in _ONCE)


def _split_header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _is_upgrade(given: dict[bytes, bytes]) -> bool:
    tokens = [token.strip().lower() for token in given[b"connection"].split(b",")]
    return given[b"upgrade"].lower() == b"websocket" and b"upgrade" in tokens


def _accept_key(key: bytes) -> bytes | None:
    try:
        raw = binascii.a2b_base64(key, strict_mode=True)
    except ValueError:
        return None
    # SHA-1 is prescribed (RFC 6455 section 4.2.2) and protects nothing; a FIPS build refuses it without this mark.
    return b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()) if len(raw) == _KEY_BYTES else None


def build_answer(handshake: Handshake, subprotocol: str | None, headers: Headers) -> bytes:
    """Build the answer that opens the connection."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + handshake.accept,
        *(name + b": " + value for name, value in headers),
    ]
    if subprotocol:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("latin-1"))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def build_refusal(status: bytes, headers: Headers) -> bytes:
    """Build an answer without a body that opens nothing."""
    lines = [
        b"HTTP/1.1 " + status,
        b"Connection: close",
        b"Content-Length: 0",
        *(name + b": " + value for name, value in headers),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"

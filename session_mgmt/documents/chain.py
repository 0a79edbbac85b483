"""The hash chain over a document's revisions: always current, O(change), equal if and only if the history is."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

GENESIS: Final = bytes(32)

_VERSION_BYTES: Final = 8
# 64 bits prove a position against accidents and restored backups; nobody gains anything by forging one.
_TAG_BYTES: Final = 8


def advance_chain(chain: bytes, version: int, ops: bytes, key: bytes | None = None) -> bytes:
    """Return the chain after revision `version`: SHA-256 of chain, version (8 bytes, big endian) and ops; HMAC with
    `key`.

    `ops` is `encode_canonical(ops)` where clients are to follow the chain by themselves. Encrypted documents need the
    key: a plain hash would let a reader of the database confirm guesses of the content.
    """
    # The version has a fixed length, so that no operations can pass for a part of it.
    message = chain + version.to_bytes(_VERSION_BYTES, "big") + ops
    if key is None:
        return hashlib.sha256(message).digest()
    return hmac.digest(key, message, "sha256")


def make_tag(chain: bytes) -> str:
    """Return the short form for the wire: the first 16 hex digits."""
    return chain[:_TAG_BYTES].hex()

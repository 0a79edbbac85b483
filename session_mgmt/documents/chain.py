"""The hash chain over a document's revisions: always current, O(change), equal if and only if the history is."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

GENESIS: Final = bytes(32)

_VERSION_BYTES: Final = 8
_TAG_BYTES: Final = 8


def advance_chain(chain: bytes, version: int, ops: bytes, key: bytes | None = None) -> bytes:
    """The chain after revision `version`: SHA-256 over chain, version (8 bytes, big endian), ops; HMAC with `key`.

    `ops` is `canonical(ops)` where clients are to follow the chain by themselves. Encrypted documents need the key:
    a plain hash would let whoever reads the database confirm guesses of what was written.
    """
    message = chain + version.to_bytes(_VERSION_BYTES, "big") + ops
    if key is None:
        return hashlib.sha256(message).digest()
    return hmac.digest(key, message, "sha256")


def make_tag(chain: bytes) -> str:
    """The short form on the wire: the first 16 hex digits."""
    return chain[:_TAG_BYTES].hex()

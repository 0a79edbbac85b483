"""Hash chain over the revisions of a document: up to date at O(change), and equal only if the history is equal."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

GENESIS: Final = bytes(32)

_VERSION_BYTES: Final = 8
# 64 bits detect accidents and restored backups; nobody gains anything from a forged position.
_TAG_BYTES: Final = 8


def advance_chain(chain: bytes, version: int, ops: bytes, key: bytes | None = None) -> bytes:
    """Return the chain after revision `version`: SHA-256 of chain, version (8 bytes, big endian) and ops; HMAC with
    `key`.

    `ops` must be `encode_canonical(ops)` if clients are to compute the chain themselves. Encrypted documents need the
    key: with a plain hash, somebody who reads the database could confirm guesses of the content.
    """
    # The version has a fixed length, so that operations cannot be mistaken for a part of it.
    message = chain + version.to_bytes(_VERSION_BYTES, "big") + ops
    if key is None:
        return hashlib.sha256(message).digest()
    return hmac.digest(key, message, "sha256")


def make_tag(chain: bytes) -> str:
    """Return the short form for frames: the first 16 hex digits."""
    return chain[:_TAG_BYTES].hex()

"""Identifiers. They are names, not secrets; tokens are made in ``actions.sessions.tokens``."""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import datetime


def uuid7() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562 5.7): 48 bits of Unix milliseconds, then random bits.

    Rows are then inserted in the order of the index.
    """
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | secrets.randbits(80)
    # Version and variant (RFC 9562 sections 4.1 and 4.2).
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return uuid.UUID(int=value)


def begin_uuid7(moment: datetime) -> uuid.UUID:
    """Return a value that no UUID of version 7 from this moment on is smaller than."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def new_epoch() -> str:
    """Return a new epoch of a log: 64 random bits, because an epoch must never occur twice."""
    return secrets.token_hex(8)


def new_tag() -> str:
    """Return the tag of a new entry: 64 random bits as 16 hex digits."""
    return secrets.token_hex(8)


def new_client_id() -> str:
    """Return a new client's public name."""
    return "c_" + secrets.token_hex(10)

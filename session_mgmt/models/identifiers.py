"""Identifiers. They are names, not secrets; tokens are made in ``actions.sessions.tokens``."""

from __future__ import annotations

import os
import secrets
import time
import uuid
from datetime import datetime

_TAG_DIGITS = 16
# Random numbers are drawn in batches. Each system call releases the interpreter lock, and a thread in the middle of a
# transaction may wait 5 ms to get it back, once for each member of a group.
_DRAWN_TOGETHER = 64
_tags: list[str] = []
# A forked child must not hand out the same tags as its parent.
os.register_at_fork(after_in_child=_tags.clear)


def uuid7() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562 5.7): 48 bits of Unix milliseconds, then random bits.

    New ids go to the end of the index.
    """
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | secrets.randbits(80)
    # Version and variant (RFC 9562 sections 4.1 and 4.2).
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return uuid.UUID(int=value)


def begin_uuid7(moment: datetime) -> uuid.UUID:
    """Return the smallest UUID of version 7 for this moment: later ones are not below it."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def new_epoch() -> str:
    """Return a new epoch of a log: 64 random bits, because no epoch may occur twice."""
    return secrets.token_hex(8)


def new_tag() -> str:
    """Return the tag of a new entry: 64 random bits as 16 hex digits."""
    try:
        # ``pop`` is atomic, so two threads never get the same tag.
        return _tags.pop()
    except IndexError:
        digits = secrets.token_hex(_DRAWN_TOGETHER * _TAG_DIGITS // 2)
        first, *others = (digits[at : at + _TAG_DIGITS] for at in range(0, len(digits), _TAG_DIGITS))
        _tags.extend(others)
        return first


def new_client_id() -> str:
    """Return a new client's public name."""
    return "c_" + secrets.token_hex(10)

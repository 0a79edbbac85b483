"""A change of a document on its way to the lane."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from session_mgmt.actions.state.merge_rows import Merge


@dataclass(frozen=True, slots=True)
class Update:
    """One change, prepared outside: ``ops`` are total operations, encoded; ``paths`` what they touch; ``growth``
    bytes they may add.

    ``at_version``: the operations were computed from the document at this version and hold for no other.
    ``exact_size``: the size of the result, known only together with ``at_version``. ``session``: refused if this
    session has ended; for writes without a fence, which ending raises. ``if_absent``: no effect on a document that
    was written before. ``request``: a digest of what is asked under ``key``, where that is to be compared.
    ``own``: versions that the same caller made, who knew of them; for writes without a fence, which tells that.
    """

    document: int
    ops: bytes
    paths: tuple[str, ...]
    growth: int
    base: int | None = None
    epoch: str | None = None
    strategy: str | None = None
    kind: str = "patch"
    key: str | None = None
    request: bytes | None = None
    writer: str = ""
    at_version: int | None = None
    exact_size: int | None = None
    session: uuid.UUID | None = None
    merge: Merge | None = None
    if_absent: bool = False
    own: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Prepare:
    """Not an answer: the caller must compute the update anew from the document as it is (``reason``: ``moved`` or
    ``size``), or settle it with what others did since its base (``merge``).
    """

    reason: str


def digest(document: str, kind: str, change: Any, strategy: str | None, *, if_absent: bool = False) -> bytes:
    """What a repeated update must equal: everything but its base, which may have moved."""
    what = b"create" if if_absent else b"update"
    return hashlib.sha256(
        b"\0".join((what, document.encode(), kind.encode(), (strategy or "").encode(), orjson.dumps(change)))
    ).digest()

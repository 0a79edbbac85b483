"""A change of a document on its way to the lane."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from session_mgmt.actions.access import Proof
from session_mgmt.actions.state.merge_rows import MergeRecord
from session_mgmt.documents.contested import Kinds
from session_mgmt.documents.limits import Extent, Growth


class Terms(NamedTuple):
    """Conditions of an update: the version its author knew, and the author.

    ``base``, ``epoch`` and ``tag``: the position that the author saw; the tag proves it. ``strategy``: how conflicts
    with later versions are settled. ``atomic``: the update is refused where not all of it can take effect.
    ``replaced``: digests of the values that the change replaces, where the base is gone. ``if_absent``: no effect on a
    document that was written before. ``key``: makes a repetition harmless; ``request``: the digest that the repetition
    must equal. ``own``: versions that the same author made and so knew; only for writes without a fence. ``session``:
    refuse the update if this session has ended; only for writes without a fence. ``proof``: the token that let the
    update in; refuse it if that proves nothing by now. ``client``: the author's row; ``writer``: the author's public
    id.
    """

    base: int | None = None
    epoch: str | None = None
    tag: str | None = None
    strategy: str | None = None
    atomic: bool = False
    replaced: Mapping[str, str | None] | None = None
    if_absent: bool = False
    key: str | None = None
    request: bytes | None = None
    own: frozenset[int] = frozenset()
    session: uuid.UUID | None = None
    proof: Proof | None = None
    client: int | None = None
    writer: str = ""


NO_TERMS = Terms()


class Update(NamedTuple):
    """One change, prepared outside the lane.

    ``ops`` are total operations, encoded; ``paths`` are the places they touch; ``growth`` is the most that they add.
    ``at_version``: the operations were computed from the document at this version and hold for no other.
    ``exact_size``: bytes and keys of the result, known only together with ``at_version``. ``may_be_idle``: it may
    change nothing, and only the document tells. ``dropped``: paths of every `inc` that cannot be carried at
    ``at_version``; ``None`` if nobody has looked.
    """

    document: int
    ops: bytes
    paths: tuple[str, ...]
    growth: Growth
    kind: str = "patch"
    terms: Terms = NO_TERMS
    at_version: int | None = None
    exact_size: Extent | None = None
    merge: MergeRecord | None = None
    kinds: Kinds | None = None
    may_be_idle: bool = False
    dropped: tuple[str, ...] | None = None


class Reason(StrEnum):
    """Why the lane gives an update back.

    ``MOVED``: the document has another version by now. ``SIZE``: only the document itself tells whether the result
    fits. ``KINDS``: only the document tells whether the update and later changes of others commute. ``IDLE``: only the
    document tells whether the update changes anything. ``RANGE``: only the document tells whether it can carry every
    sum. ``MERGE``: the update overlaps later changes of others.
    """

    MOVED = "moved"
    SIZE = "size"
    KINDS = "kinds"
    IDLE = "idle"
    RANGE = "range"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class Prepare:
    """Request of the lane to prepare an update again; no answer for its author."""

    reason: Reason


def digest_request(
    document: str,
    kind: str,
    change: Any,
    strategy: str | None,
    *,
    if_absent: bool = False,
    atomic: bool = False,
    body: bytes | None = None,
) -> bytes:
    """Return a digest of everything that a repeated update must repeat: all but its base, which may have moved.

    ``body``: the change as compact JSON, if it is at hand.
    """
    written = orjson.dumps(change) if body is None else body
    # The terms count too: one change that is asked for in two ways is two requests.
    action = b"create" if if_absent else b"atomic" if atomic else b"update"
    return hashlib.sha256(
        # NUL stands in none of the parts before the last, so that no two requests have one text.
        b"\0".join((action, document.encode(), kind.encode(), (strategy or "").encode(), written))
    ).digest()

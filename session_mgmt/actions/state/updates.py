"""Change of a document in the form for the lane."""

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
    """Conditions of an update: the version that its author knew, and the author.

    ``base``, ``epoch`` and ``tag`` are the position that the author knew; the tag proves it. ``strategy`` is how
    conflicts with later versions are resolved. With ``atomic``, the update is refused if a part of it cannot take
    effect. ``replaced`` are digests of the values that the change replaces, for a base that is gone. With
    ``if_absent``, the update has no effect on a document that was written before. ``key`` makes a repetition harmless;
    ``request`` is the digest that the repetition must equal. ``own`` are versions that the same author has made and
    therefore knew; only for writes without a fence. ``session``: refuse the update if this session has ended; only for
    writes without a fence. ``proof`` is the token that permitted the update; refuse the update if the token is no
    longer valid. ``client`` is the id of the author's row, and ``writer`` the author's public id.
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
    """Change that was prepared outside the lane.

    ``ops`` are total operations, encoded; ``paths`` are the places that they touch; ``growth`` is the most that they
    add. With ``at_version``, the operations were computed from the document at this version and hold for no other.
    ``exact_size`` is the extent of the result, known only together with ``at_version``. With ``may_be_idle``, the
    update may change nothing, and only the document can show whether it does. ``dropped`` are the paths of every `inc`
    whose sum the document cannot hold at ``at_version``; ``None`` if this was not checked.
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
    """Reason why the lane returns an update.

    ``MOVED``: the document has another version now. ``SIZE``: only the document can show whether the result fits.
    ``KINDS``: only the document can show whether the update commutes with later changes of others. ``IDLE``: only the
    document can show whether the update changes anything. ``RANGE``: only the document can show whether it can hold all
    sums. ``MERGE``: the update overlaps later changes of others.
    """

    MOVED = "moved"
    SIZE = "size"
    KINDS = "kinds"
    IDLE = "idle"
    RANGE = "range"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class Prepare:
    """Request of the lane to prepare an update again; it is not an answer for the author."""

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
    """Return a digest of everything that a repeated update must repeat: everything except its base, which may differ.

    ``body`` is the change as compact JSON, if the caller has it already.
    """
    written = orjson.dumps(change) if body is None else body
    # The conditions count too: one change that is requested in two ways is two requests.
    action = b"create" if if_absent else b"atomic" if atomic else b"update"
    return hashlib.sha256(
        # The parts before the last contain no NUL, so two different requests never have the same text.
        b"\0".join((action, document.encode(), kind.encode(), (strategy or "").encode(), written))
    ).digest()

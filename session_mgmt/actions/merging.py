"""Settling an update that overlaps what others did: from the document at its base and as it is now, outside the lane.

The result holds for the version that it was computed from, and for later ones as long as nobody touches the same
places; the lane decides that. A project's own function runs here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connections

from session_mgmt.actions import merges, policies, preparing, stored, unreadable, vaults
from session_mgmt.actions.merges import Losing, Merge
from session_mgmt.actions.state import Update
from session_mgmt.actions.stored import Head
from session_mgmt.conf import settings
from session_mgmt.documents import merge, operations, rebuild, replaced, size, strict, touched
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.merge import CONFLICT, Merged, OnConflict, Resolver, Unresolved, Value
from session_mgmt.documents.operations import Op
from session_mgmt.documents.values import JSON, MISSING
from session_mgmt.exceptions import (
    Conflict,
    DocumentTooLarge,
    EpochChanged,
    HandlerFailed,
    StateUnreadable,
    TooOld,
    UnknownVersion,
)
from session_mgmt.models.identifiers import uuid7
from session_mgmt.models.sql import Statements

logger = logging.getLogger("session_mgmt.merging")
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Span:
    """``seen``: the document as the client saw it, its own writes since the base included; ``now``: as it is."""

    head: Head
    seen: JSON
    now: JSON
    theirs: frozenset[str]


def settle(
    using: str,
    document: int,
    kind: str,
    change: Any,
    *,
    base: int | None,
    epoch: str | None,
    strategy: str | None,
    client: int | None = None,
    replaced: Mapping[str, str | None] | None = None,
    **facts: Any,
) -> Update:
    """The update that settles a change made at ``base`` by ``client``, or on a version that is gone (``replaced``).

    ``facts`` are further fields of ``Update``. Raises ``SessionMgmtError``: ``Conflict`` where the strategy refuses,
    ``HandlerFailed`` where the project's function does.
    """
    span = read_span(using, document, base, epoch, client, unseen=replaced is not None)
    policy = policies.policy(span.head.name)
    chosen, on_conflict = policy.for_strategy(strategy)
    if replaced is not None and chosen in ("client_wins", "reject"):
        on_conflict = chosen  # type: ignore[assignment]
    ops = preparing.total(kind, change, span.seen)
    merged = _merged(span, ops, policy.arrays, _guarded(on_conflict), replaced)
    if merged.conflicts and on_conflict == "reject":
        paths = [found.path for found in merged.conflicts]
        raise Conflict(position=span.head.position.as_json(), paths=paths[: preparing.limits().ops])
    losing = tuple(Losing(uuid7(), found) for found in merged.conflicts) if chosen == "manual" else ()
    told = merges.report(merged.conflicts, [lost.id for lost in losing])
    record = Merge(operations.encode(ops), touched.paths(ops), told, losing)
    return _update(span.head, merged, record, strategy=strategy, **facts)


def read_span(
    using: str, document: int, base: int | None, epoch: str | None, client: int | None, *, unseen: bool
) -> Span:
    """The document at both ends, read without a lock. ``unseen``: the base is of no use, only the present."""
    statements = Statements(connections[using])
    with unreadable.audited(using, document):
        for _ in range(ATTEMPTS):
            head = stored.read_head(statements, document)
            start = head.position.offset if unseen or base is None else base
            _check_base(head, start, epoch)
            span = stored.unless_rekeyed(statements, head, partial(_read_once, statements, head, start, client))
            if span is not None:
                return span
        raise StateUnreadable()


def _check_base(head: Head, base: int, epoch: str | None) -> None:
    here = head.position.as_json()
    if epoch is not None and epoch != head.position.epoch:
        raise EpochChanged(position=here)
    if base > head.position.offset:
        raise UnknownVersion(position=here)
    if base < head.oldest - 1:
        raise TooOld(position=here)


def _read_once(statements: Statements, head: Head, base: int, client: int | None) -> Span | None:
    """``None`` when a compaction ran between two of the reads."""
    found = stored.read_parts(statements, head, base, settings().max_document_bytes * 2)
    rows = statements.fetch(
        f"SELECT version, client_id, ops, asked FROM {stored.REVISION} WHERE document_id = %s AND version > %s"
        " AND version <= %s ORDER BY version",
        [head.document, base, head.position.offset],
    )
    if found is None or len(rows) != head.position.offset - base:
        return None
    seen = now = rebuild.value(found.parts)
    theirs: set[str] = set()
    for version, author, sealed, beside in rows:
        opened, asked = vaults.open_merge(head.vault, version, bytes(sealed), beside and bytes(beside))
        ops = operations.decode(opened)
        now = operations.apply(now, ops)
        if client is None or author != client:
            theirs.update(touched.paths(ops))
        else:
            seen = operations.apply(seen, ops if asked is None else operations.decode(asked))
    return Span(head, seen, now, frozenset(theirs))


def _merged(
    span: Span, ops: Sequence[Op], arrays: Any, on_conflict: OnConflict, digests: Mapping[str, str | None] | None
) -> Merged:
    if digests is not None:
        return replaced.settle(span.now, ops, digests, on_conflict=on_conflict)
    return merge.rebase(span.seen, span.now, ops, span.theirs, arrays=arrays, on_conflict=on_conflict)


def _update(head: Head, merged: Merged, record: Merge, **facts: Any) -> Update:
    exact = size.size(merged.document)
    if exact > settings().max_document_bytes:
        raise DocumentTooLarge(size=exact, limit=settings().max_document_bytes)
    return Update(
        document=head.document,
        ops=operations.encode(merged.ops),
        paths=touched.paths(merged.ops),
        growth=size.growth(merged.ops),
        kind="merge",
        at_version=head.position.offset,
        exact_size=exact,
        merge=record,
        base=head.position.offset,
        epoch=head.position.epoch,
        **facts,
    )


def _guarded(on_conflict: OnConflict) -> OnConflict:
    return _Guarded(on_conflict) if callable(on_conflict) else on_conflict


class _Guarded:
    """A project's function, whose errors and answers are checked: what it gives becomes part of the document."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def __call__(self, path: str, base: Value, server: Value, client: Value) -> Value | Unresolved:
        try:
            answer = self._resolver(path, base, server, client)
            return answer if answer is CONFLICT or answer is MISSING else strict.check(answer, preparing.limits())
        except DocumentError as error:
            logger.exception("A merge function gave what no document can hold")
            raise HandlerFailed() from error
        except Exception as error:
            logger.exception("A merge function failed")
            raise HandlerFailed() from error

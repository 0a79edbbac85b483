"""Looking at documents as people do: in pieces, as they were, side by side, whatever their size.

What is heavy is handed to ``run`` and comes back small, so that a large document is neither decoded beside other
people's connections nor sent to a page as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from session_mgmt.actions import bodies, stored, unreadable
from session_mgmt.actions.stored import Head, Runner, here
from session_mgmt.conf import settings
from session_mgmt.documents import comparison, outline, rebuild
from session_mgmt.documents.comparison import Comparison
from session_mgmt.documents.outline import Hits, Outline, Place, Standing
from session_mgmt.documents.rebuild import Parts
from session_mgmt.exceptions import NotFound, StateUnreadable
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position

# Of one value that is looked at beside others.
VALUE_TEXT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """A piece of one version; ``head`` is where the document stood at that moment."""

    version: int
    head: Position
    outline: Outline


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions and what differs; ``head`` is where the document stood at that moment."""

    first: int
    second: int
    head: Position
    comparison: Comparison


def look(document: int, version: int | None = None, *, place: Place = (), skip: int = 0, run: Runner = here) -> Look:
    """What stands at a place of a version (of the head without one).

    Raises ``NotFound``, ``DocumentNotFound`` or ``StateUnreadable``.
    """
    head, (seen,), found = _examined(document, [version], outline.of, place, skip, run=run)
    return Look(seen, head.position, found)


def find(document: int, version: int | None, text: str, *, run: Runner = here) -> Hits:
    """Where a version holds a text. Raises as ``look``."""
    hits: Hits = _examined(document, [version], outline.search, text, run=run)[2]
    return hits


def compare(document: int, first: int, second: int | None = None, *, run: Runner = here) -> Pair:
    """A version beside another, or beside the head. Raises as ``look``."""
    head, seen, found = _examined(document, [first, second], comparison.of, run=run)
    return Pair(seen[0], seen[1], head.position, found)


def standing(document: int, path: str, *, run: Runner = here) -> Standing:
    """What the head holds at a pointer. Raises as ``look``."""
    found: Standing = _examined(document, [None], outline.standing, path, VALUE_TEXT, run=run)[2]
    return found


def raw(document: int, version: int | None = None, *, run: Runner = here) -> bytes:
    """A version as compact JSON. Raises as ``look``."""
    found: bytes = _examined(document, [version], rebuild.raw, run=run)[2]
    return found


def _examined(
    document: int, wanted: Sequence[int | None], work: Callable[..., Any], *args: Any, run: Runner
) -> tuple[Head, list[int], Any]:
    """Do pure work on what these versions are built from, elsewhere if the document is large."""
    now = settings()
    statements = Statements(connections[now.database])
    with unreadable.audited(now.database, document):
        for _ in range(bodies.ATTEMPTS):
            head = stored.read_head(statements, document)
            versions = [head.position.offset if version is None else version for version in wanted]
            parts = [_parts(statements, head, version, now.max_document_bytes * 2) for version in versions]
            if all(parts):
                place = run if head.bound > stored.HEAVY else here
                return head, versions, place(work, *parts, *args)
    raise StateUnreadable()


def _parts(statements: Statements, head: Head, version: int, limit: int) -> Parts | None:
    """``None`` when a compaction ran between two of the reads."""
    if not 0 <= version <= head.position.offset:
        raise NotFound("There is no such version.")
    found = stored.read_parts(statements, head, version, limit)
    if found is None and version < head.oldest - 1:
        raise NotFound("The log no longer holds this version.")
    return None if found is None else found.parts

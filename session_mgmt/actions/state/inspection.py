"""Views of documents of any size for people: pieces of a version, searches, and comparisons.

Heavy work is passed to ``run`` and its result is small. Therefore a large document is neither decoded in a process that
serves connections nor sent to a page as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from session_mgmt.actions.state import bodies, stored_rows, unreadable
from session_mgmt.actions.state.bodies import VersionSource
from session_mgmt.actions.state.stored_rows import Runner, run_inline
from session_mgmt.conf import settings
from session_mgmt.documents import comparison, outline
from session_mgmt.documents.comparison import Comparison
from session_mgmt.documents.outline import Hits, NodePlace, Outline, Standing
from session_mgmt.protocol.position import Position

# Longest text of one value that is shown.
VALUE_TEXT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """Piece of one version; ``head`` is the position of the document when it was read."""

    version: int
    head: Position
    outline: Outline


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions and their differences; ``head`` is the position of the document when they were read."""

    first: int
    second: int
    head: Position
    comparison: Comparison


def look_at_place(
    document: int, version: int | None = None, *, place: NodePlace = (), skip: int = 0, run: Runner = run_inline
) -> Look:
    """Return an outline of the value at a place of a version, by default of the head.

    Raises ``NotFound``, ``DocumentNotFound`` or ``StateUnreadable``.
    """
    (past,), found = _examine_versions(document, [version], outline.outline_parts, place, skip, run=run)
    return Look(past.position.offset, past.head.position, found)


def find_text(document: int, version: int | None, text: str, *, run: Runner = run_inline) -> Hits:
    """Find the places where a version contains a text. Raises the errors of ``look_at_place``."""
    hits: Hits = _examine_versions(document, [version], outline.search_parts, text, run=run)[1]
    return hits


def compare_versions(document: int, first: int, second: int | None = None, *, run: Runner = run_inline) -> Pair:
    """Compare a version with another, by default with the head. Raises the errors of ``look_at_place``."""
    (then, now), found = _examine_versions(document, [first, second], comparison.compare_parts, run=run)
    return Pair(then.position.offset, now.position.offset, now.head.position, found)


def describe_value(document: int, path: str, *, run: Runner = run_inline) -> Standing:
    """Describe the value at a JSON pointer of the head. Raises the errors of ``look_at_place``."""
    found: Standing = _examine_versions(document, [None], outline.describe_value, path, VALUE_TEXT, run=run)[1]
    return found


def _examine_versions(
    document: int, wanted: Sequence[int | None], work: Callable[..., Any], *args: Any, run: Runner
) -> tuple[list[VersionSource], Any]:
    """Call ``work`` with the parts of these versions, in the worker process if they are large."""
    now = settings()
    with unreadable.audit_unreadable(now.database, document):
        found = [bodies.load_source(now.database, document, version) for version in wanted]
        parts = [past.parts for past in found]
        return found, stored_rows.choose_runner(run, *parts)(work, *parts, *args)

"""Prepare an update that overlaps others, from the document at its base and the current document, outside the lane.

The result holds for the version that it was computed from, and for later ones as long as nobody touches the same
places; the lane checks this. A project's own function for conflicts runs here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connections

from session_mgmt.actions import checking, vaults
from session_mgmt.actions.state import merge_rows, policies, prepare, stored_rows, unreadable
from session_mgmt.actions.state.merge_rows import LostValues, MergeRecord
from session_mgmt.actions.state.stored_rows import Runner, StoredHead, run_inline
from session_mgmt.actions.state.updates import Terms, Update
from session_mgmt.documents import settling, strict
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.merge import CONFLICT, OnConflict, Resolver, Unresolved, Value
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.settling import MergeRules, Proposal, Step
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import (
    Conflict,
    EpochChanged,
    HandlerFailed,
    StateUnreadable,
    TemporaryError,
    TooOld,
    UnknownVersion,
)
from session_mgmt.models import tables
from session_mgmt.models.identifiers import uuid7
from session_mgmt.models.sql import Row, Statements
from session_mgmt.user_code import call_sync

logger = logging.getLogger(__name__)
# Attempts to read the parts, each of which may fail because of a compaction or a rotation of keys. Five failures in a
# row are no coincidence.
ATTEMPTS = 5


def prepare_merge(
    using: str, document: int, kind: str, change: Any, terms: Terms, *, run: Runner = run_inline
) -> Update:
    """Prepare the merge of a change that was made at its base, or at a version that is gone (``terms.replaced``).

    Heavy work is passed to ``run``. Raises ``SessionMgmtError``: ``Conflict`` if the strategy refuses the change, and
    ``HandlerFailed`` if the project's function fails.
    """
    with unreadable.audit_unreadable(using, document), checking.translate_errors():
        past = load_merge_source(using, document, terms)
        policy = policies.find_policy(past.head.name)
        chosen, on_conflict = policy.for_strategy(terms.strategy)
        # Without the base nobody knows who changed which value; these two strategies can decide without it.
        if terms.replaced is not None and chosen in ("client_wins", "reject"):
            on_conflict = chosen  # type: ignore[assignment]
        # A function of the project must run in the project's own process.
        place = run_inline if callable(on_conflict) else _choose_runner(past, run)
        overwrites = chosen == "client_wins" and terms.replaced is None
        rules = MergeRules(policy.arrays, _guard_resolver(on_conflict), terms.replaced, overwrites)
        settled = place(settling.propose_merge, past.parts, past.steps, prepare.make_change(kind, change), rules)
    overruled = any(found.kept != "client" for found in settled.conflicts)
    # With `atomic` also if only a part would be overruled: such an update is written completely or not at all.
    if (settled.conflicts and on_conflict == "reject") or (overruled and terms.atomic):
        # At most as many paths as an update may have operations, because the refusal is sent in one frame.
        paths = [found.path for found in settled.conflicts]
        raise Conflict(position=past.head.position.as_json(), paths=paths[: checking.document_limits().ops])
    # Ids are made here and not in the lane, because the report, which is made here, contains them.
    losing = tuple(LostValues(uuid7(), found) for found in settled.conflicts) if chosen == "manual" else ()
    if overwrites:
        # All places were overwritten, so there is no value for which somebody must decide.
        report = {"overwrote": sorted({found.path for found in settled.conflicts})}
    else:
        report = merge_rows.build_report(settled.conflicts, [lost.id for lost in losing])
    record = MergeRecord(settled.asked, settled.asked_paths, report, losing)
    return _make_update(past.head, settled, record, terms)


def prepare_with_kinds(
    using: str, document: int, kind: str, change: Any, terms: Terms, *, run: Runner = run_inline
) -> Update:
    """Prepare a blind update, together with the kinds of the values at the places that others have changed too.

    Heavy work is passed to ``run``. Raises ``SessionMgmtError``.
    """
    update = prepare.prepare_blind(document, kind, change, terms)
    with unreadable.audit_unreadable(using, document), checking.translate_errors():
        past = load_merge_source(using, document, terms)
        place = _choose_runner(past, run)
        return update._replace(kinds=place(settling.read_kinds, past.parts, past.steps, update.paths))


def _choose_runner(past: MergeSource, run: Runner) -> Runner:
    return stored_rows.choose_runner(run, past.parts, ops_bytes=sum(len(step.ops) for step in past.steps))


@dataclass(frozen=True, slots=True)
class MergeSource:
    """Parts of the document at the base of a change, and the revisions since."""

    head: StoredHead
    parts: Parts
    steps: tuple[Step, ...]


def load_merge_source(using: str, document: int, terms: Terms) -> MergeSource:
    """Load the parts without a lock. With ``terms.replaced`` the base is not used, and only the head is read."""
    statements = Statements(connections[using])
    # Nothing is locked, so a compaction or a rotation of keys may happen between two queries.
    for _ in range(ATTEMPTS):
        head = stored_rows.read_head(statements, document)
        start = head.position.offset if terms.replaced is not None or terms.base is None else terms.base
        _check_base(statements, head, start, terms)
        past = stored_rows.unless_rekeyed(statements, head, partial(_read_once, statements, head, start, terms))
        if past is not None:
            return past
    raise StateUnreadable()


def _check_base(statements: Statements, head: StoredHead, base: int, terms: Terms) -> None:
    place = head.position.as_json()
    if terms.epoch is not None and terms.epoch != head.position.epoch:
        raise EpochChanged(position=place)
    if base > head.position.offset:
        raise UnknownVersion(position=place)
    if base < head.oldest - 1:
        raise TooOld(position=place)
    # With `replaced`, `base` and its tag are not those of the client.
    if terms.tag is not None and base == terms.base and stored_rows.tag_at(statements, head, base) != terms.tag:
        raise UnknownVersion(position=place)


def _read_once(statements: Statements, head: StoredHead, base: int, terms: Terms) -> MergeSource | None:
    """Return ``None`` if a compaction has changed the log between two of the reads."""
    found = stored_rows.read_parts(statements, head, base)
    rows = statements.fetch(
        f"SELECT version, client_id, ops, asked FROM {tables.REVISION} WHERE document_id = %s AND version > %s"
        " AND version <= %s ORDER BY version",
        [head.document, base, head.position.offset],
    )
    # With a missing revision the merge would use a document that never existed.
    if found is None or len(rows) != head.position.offset - base:
        return None
    return MergeSource(head, found.parts, tuple(_make_step(head, row, terms) for row in rows))


def _make_step(head: StoredHead, row: Row, terms: Terms) -> Step:
    version, author, sealed, beside = row
    ops, asked = vaults.open_merge(head.vault, version, bytes(sealed), beside and bytes(beside))
    # Authors know their own earlier writes, so these never conflict; they are replayed as they were requested.
    if (terms.client is None or author != terms.client) and version not in terms.own:
        return Step(ops)
    return Step(ops, ops if asked is None else asked)


def _make_update(head: StoredHead, settled: Proposal, record: MergeRecord, terms: Terms) -> Update:
    if settled.size is not None:
        checking.check_extent(settled.size)
    return Update(
        document=head.document,
        ops=settled.ops,
        paths=settled.paths,
        growth=settled.growth,
        kind="merge",
        at_version=head.position.offset,
        exact_size=settled.size,
        # From here on the base of the update is the version that it was merged with.
        terms=terms._replace(base=head.position.offset, epoch=head.position.epoch, tag=head.position.tag),
        merge=record,
        dropped=settled.dropped,
    )


def _guard_resolver(on_conflict: OnConflict) -> OnConflict:
    return _GuardedResolver(on_conflict) if callable(on_conflict) else on_conflict


class _GuardedResolver:
    """Wrapper of a project's function that checks its results and handles its errors: results go into the document."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def __call__(self, path: str, base: Value, server: Value, client: Value) -> Value | Unresolved:
        try:
            answer = call_sync(self._resolver, path, base, server, client)
            return (
                answer
                if answer is CONFLICT or answer is MISSING
                else strict.check_value(answer, checking.document_limits())
            )
        except DocumentError as error:
            logger.exception("A merge function returned a value that no document can hold")
            raise HandlerFailed() from error
        except TemporaryError:
            raise
        except Exception as error:
            logger.exception("A merge function failed")
            raise HandlerFailed() from error

"""Resolve a conflict that the strategy ``manual`` has kept, by an ordinary new version that also closes the record."""

from __future__ import annotations

import uuid

from session_mgmt.actions import checking
from session_mgmt.actions.access import Proof
from session_mgmt.actions.group_commit import Write
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state import bodies, conflicts
from session_mgmt.actions.state.stored_rows import Runner, run_inline
from session_mgmt.actions.state.updates import Terms
from session_mgmt.bridge.crossing import bridge
from session_mgmt.documents.merge import Value
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import DocumentNotFound, InvalidField
from session_mgmt.writes.attempts import Attempts, Way


def resolve(
    session: uuid.UUID,
    name: str,
    id_: uuid.UUID,
    keep: str,
    value: Value = MISSING,
    *,
    seen: str | None = None,
    proof: Proof | None = None,
    run: Runner = run_inline,
) -> Outcome:
    """Resolve a conflict; only outside transactions, because the decision must see the document. ``run`` carries out
    heavy work.

    Raises the same errors as ``actions.state.conflicts.resolution``.
    """
    if bridge().inside_transaction():
        raise InvalidField("A conflict is resolved outside a transaction.", field="keep")
    document = bodies.find_document(bridge().using, session, name)
    if document is None:
        raise DocumentNotFound()
    attempts, terms = Attempts(Way.HEAD), Terms(session=session, proof=proof)
    while attempts.outcome is None:
        update = conflicts.prepare_resolution(document, id_, keep, value, terms, seen=seen, run=run)
        if update.exact_size is not None:
            checking.check_extent(update.exact_size)
        attempts.record_decision(bridge().write(Write(update)))
    return attempts.outcome

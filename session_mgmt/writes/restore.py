"""Restore and clear documents. Both are ordinary new versions, which go through the lane like every write."""

from __future__ import annotations

import uuid
from typing import Any

from session_mgmt.actions import access, outbox
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state import bodies, history
from session_mgmt.actions.state.stored_rows import Runner, run_inline
from session_mgmt.actions.state.updates import NO_TERMS, Terms
from session_mgmt.bridge.crossing import bridge
from session_mgmt.documents import whole
from session_mgmt.exceptions import DocumentNotFound
from session_mgmt.models import StateRevision
from session_mgmt.protocol.position import Position
from session_mgmt.writes import verbs


def restore(session: uuid.UUID, name: str, to: int | str) -> Position | Ticket:
    """Restore the document of a version or a label. Raises the same errors as ``restore_now``."""
    if bridge().inside_transaction():
        # Read now and written when the outbox is drained: like any restore, it replaces
        # whatever others write in between.
        return _put_whole(
            session, name, history.read_version_or_label(_find_row(session, name), to).data, StateRevision.Kind.RESTORE
        )
    return restore_now(session, name, to).require()


def clear(session: uuid.UUID, name: str) -> Position | Ticket:
    """Make a document ``{}``. Raises ``SessionMgmtError``."""
    access.check_document_name(name)
    if bridge().inside_transaction():
        return _put_whole(session, name, {}, StateRevision.Kind.CLEAR)
    return verbs.replace_now(session, name, whole.make_replacement({}), kind=StateRevision.Kind.CLEAR).require()


def restore_now(
    session: uuid.UUID,
    name: str,
    to: int | str,
    terms: Terms = NO_TERMS,
    *,
    expected: Position | None = None,
    run: Runner = run_inline,
) -> Outcome:
    """Restore outside a transaction; the arguments are those of ``verbs.update_now``.

    Raises ``DocumentNotFound``, ``NotFound`` if that version or label is gone, or ``StateUnreadable``.
    """
    fresh = history.prepare_restore(_find_row(session, name), to, run=run)
    return verbs.replace_now(session, name, fresh, terms, expected=expected, kind=StateRevision.Kind.RESTORE)


def _find_row(session: uuid.UUID, name: str) -> int:
    # Do not create the row: there is nothing to restore in a document that was never used.
    row = bodies.find_document(bridge().using, session, name)
    if row is None:
        raise DocumentNotFound()
    return row


def _put_whole(session: uuid.UUID, name: str, data: Any, kind: str) -> Ticket:
    payload = {"kind": "data", "change": data, "as": str(kind)}
    return verbs.put_into_outbox(outbox.UPDATE, f"{session.hex}/{name}", payload, None)

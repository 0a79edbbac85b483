"""Deciding a conflict that ``manual`` kept: one ordinary new version, and the record is closed with it."""

from __future__ import annotations

import uuid
from dataclasses import replace

from session_mgmt.actions.group_commit import Write
from session_mgmt.actions.outcome import Outcome, refused
from session_mgmt.actions.state import bodies, conflicts
from session_mgmt.bridge.crossing import bridge
from session_mgmt.conf import settings
from session_mgmt.documents.merge import Value
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import Busy, DocumentNotFound, DocumentTooLarge, InvalidField

PREPARATIONS = 5


def resolve(
    session: uuid.UUID, name: str, id_: uuid.UUID, keep: str, value: Value = MISSING, *, seen: str | None = None
) -> Outcome:
    """Settle a record as ``actions.conflicts.resolution`` tells. Raises ``NotFound`` and as that does.

    Outside transactions only, because the decision must see the document.
    """
    if bridge().inside_transaction():
        raise InvalidField("A conflict is resolved outside a transaction.", field="keep")
    document = bodies.find(bridge().using, session, name)
    if document is None:
        raise DocumentNotFound()
    for _ in range(PREPARATIONS):
        update = conflicts.resolution(document, id_, keep, value, seen=seen)
        if (update.exact_size or 0) > settings().max_document_bytes:
            raise DocumentTooLarge(size=update.exact_size, limit=settings().max_document_bytes)
        decision = bridge().write(Write(replace(update, session=session)))
        if isinstance(decision, Outcome):
            return decision
    return refused(Busy(retry_after=1.0))

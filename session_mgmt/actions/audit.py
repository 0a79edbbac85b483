"""Write the audit trail: actor, action and session. Never a secret, never a document's content."""

from __future__ import annotations

import uuid
from typing import Any

from session_mgmt.conf import settings
from session_mgmt.models import AuditEntry, clock

READ_SESSION, READ_STATE, READ_HISTORY = "read_session", "read_state", "read_history"
COMPARE_STATE, READ_CONFLICT = "compare_state", "read_conflict"
# Actions that only look. Lists of people's actions on a session leave them out.
LOOKS = (READ_SESSION, READ_STATE, READ_HISTORY, COMPARE_STATE, READ_CONFLICT)
UPDATE_SESSION, TERMINATE, MESSAGE = "update_session", "terminate", "message"
WRITE_STATE, RESTORE_STATE, RESOLVE_CONFLICT = "write_state", "restore_state", "resolve_conflict"
# Actions that make a version of a document, which their entry names.
WRITES = (WRITE_STATE, RESTORE_STATE, RESOLVE_CONFLICT)
REFRESH_REUSED = "refresh_reused"
PERSIST_STATE, FORGET_STATE, COMPACT_STATE = "persist_state", "forget_state", "compact_state"


def add_entry(
    action: str, *, user: Any = None, session: uuid.UUID | None = None, ip: str | None = None, **data: Any
) -> AuditEntry:
    """Write one entry; ``user`` is the person who did it, or nobody for a command."""
    using = settings().database
    entry = AuditEntry(action=action, actor=user, session=session, ip=ip, data=data, at=clock.read(using))
    # In the transaction of the action, if it has one: neither stands without the other.
    entry.save(using=using, force_insert=True)
    return entry

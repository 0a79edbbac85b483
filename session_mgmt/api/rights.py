"""Permissions of callers who do not own a session, as in the admin, with the audit entry of each call."""

from __future__ import annotations

from dataclasses import dataclass

from session_mgmt.actions import access, audit


@dataclass(frozen=True, slots=True)
class Right:
    """Permission for one kind of call. ``action`` is the name of its audit entry."""

    action: str
    permissions: tuple[str, ...]


READ_SESSION = Right(audit.READ_SESSION, (access.SEE,))
UPDATE_SESSION = Right(audit.UPDATE_SESSION, (access.SEE, access.CHANGE))
TERMINATE = Right(audit.TERMINATE, (access.SEE, access.TERMINATE))
MESSAGE = Right(audit.MESSAGE, (access.SEE, access.MESSAGE))
DISCONNECT = Right(audit.DISCONNECT, (access.SEE, access.DISCONNECT))
RECONNECT = Right(audit.RECONNECT, (access.SEE, access.DISCONNECT))

_STATE = (access.SEE, access.SEE_STATE)
READ_STATE = Right(audit.READ_STATE, _STATE)
READ_HISTORY = Right(audit.READ_HISTORY, _STATE)
COMPARE_STATE = Right(audit.COMPARE_STATE, _STATE)
WRITE_STATE = Right(audit.WRITE_STATE, (*_STATE, access.CHANGE_STATE))
RESTORE_STATE = Right(audit.RESTORE_STATE, (*_STATE, access.RESTORE_STATE))
PERSIST_STATE = Right(audit.PERSIST_STATE, (*_STATE, access.MAINTAIN_STATE))
FORGET_STATE = Right(audit.FORGET_STATE, (*_STATE, access.MAINTAIN_STATE))
COMPACT_STATE = Right(audit.COMPACT_STATE, (*_STATE, access.MAINTAIN_STATE))
READ_CONFLICT = Right(audit.READ_CONFLICT, (*_STATE, access.SEE_CONFLICTS))
RESOLVE_CONFLICT = Right(audit.RESOLVE_CONFLICT, (*_STATE, access.SEE_CONFLICTS, access.RESOLVE_CONFLICTS))

"""Write the audit trail: actor, action, session and address. Never a secret, never a document's content.

Each entry is a line of the security log as well. Events that every session has many times a day (it is made, it ends)
has a line there and its row, and no entry here.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from functools import partial
from typing import Any

from session_mgmt.actions.addresses import veil_address
from session_mgmt.conf import settings
from session_mgmt.models import AuditEntry, ClientSession, clock
from session_mgmt.models.isolation import call_after_commit
from session_mgmt.security_log import log_event

READ_SESSION, READ_STATE, READ_HISTORY = "read_session", "read_state", "read_history"
COMPARE_STATE, READ_CONFLICT = "compare_state", "read_conflict"
# Actions that only read; lists of people's actions on a session leave them out.
LOOKS = (READ_SESSION, READ_STATE, READ_HISTORY, COMPARE_STATE, READ_CONFLICT)
UPDATE_SESSION, TERMINATE, MESSAGE = "update_session", "terminate", "message"
DISCONNECT, RECONNECT = "disconnect", "reconnect"
WRITE_STATE, RESTORE_STATE, RESOLVE_CONFLICT = "write_state", "restore_state", "resolve_conflict"
# Actions that make a version of a document, which their entry names.
WRITES = (WRITE_STATE, RESTORE_STATE, RESOLVE_CONFLICT)
REFRESH_REUSED, REFRESH_REFUSED = "refresh_reused", "refresh_refused"
SESSION_EVICTED, DEVICE_CHANGED = "session_evicted", "device_changed"
SESSION_CLAIMED = "session_claimed"
PERMISSION_DENIED, LIMIT_REACHED = "permission_denied", "limit_reached"
END_DEVICE, EXPORT_USER, ERASE_USER = "end_device", "export_user", "erase_user"
# Somebody acts for the user of a session, whose name is ``acting``.
IMPERSONATED = "impersonated"
ADD_WEBHOOK, CHANGE_WEBHOOK, DELETE_WEBHOOK = "add_webhook", "change_webhook", "delete_webhook"
ROTATE_WEBHOOK, REPLAY_WEBHOOKS, START_WEBHOOK = "rotate_webhook", "replay_webhooks", "start_webhook"
# Nobody did it: the receiver asked for it.
STOP_WEBHOOK = "stop_webhook"
PERSIST_STATE, FORGET_STATE, COMPACT_STATE = "persist_state", "forget_state", "compact_state"
# Signs of an attack, which are logged at a higher level.
WARNINGS = (REFRESH_REUSED, REFRESH_REFUSED, DEVICE_CHANGED, PERMISSION_DENIED, LIMIT_REACHED, "auth_failed")


def add_entry(
    action: str, *, user: Any = None, session: uuid.UUID | None = None, ip: str | None = None, **data: Any
) -> AuditEntry:
    """Write one entry; ``user`` is the person who did it, or nobody for a command."""
    return add_entries(action, [session], user=user, ip=ip, **data)[0]


def add_entries(
    action: str, sessions: Iterable[uuid.UUID | None], *, user: Any = None, ip: str | None = None, **data: Any
) -> list[AuditEntry]:
    """Write an entry for each of the sessions with which somebody did the same."""
    using = settings().database
    address, at, listed = veil_address(ip), clock.read(using), list(sessions)
    owners = {} if user is not None or ip is None or "user_id" in data else _find_owners(using, listed)
    entries = [
        AuditEntry(action=action, actor=user, session=key, ip=address, data=data | owners.get(key, {}), at=at)
        for key in listed
    ]
    # In the transaction of the action, if it has one, so that neither is stored without the other.
    AuditEntry.objects.using(using).bulk_create(entries)
    level = logging.WARNING if action in WARNINGS else logging.INFO
    user_id = None if user is None else user.pk
    for entry in entries:
        log_committed(using, action, level=level, user=user_id, session=entry.session, ip=address, **data)
    return entries


def _find_owners(using: str, sessions: list[uuid.UUID | None]) -> dict[uuid.UUID | None, dict[str, str]]:
    """Return the users of sessions as facts of entries that hold an address of theirs: an export and an erasure must
    still find the entry when the session's row is gone.
    """
    rows = ClientSession.objects.using(using).filter(pk__in=[key for key in sessions if key], user__isnull=False)
    return {key: {"user_id": str(user)} for key, user in rows.values_list("pk", "user_id")}


def log_committed(using: str, event: str, **facts: Any) -> None:
    """Write a line of the security log after the commit of the current transaction; an event that is rolled back is not
    logged.
    """
    call_after_commit(using, partial(log_event, event, **facts))

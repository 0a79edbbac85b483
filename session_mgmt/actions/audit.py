"""Write the audit trail: who did what to which session. Never a secret, never a document's content."""

from __future__ import annotations

import uuid
from typing import Any

from session_mgmt.conf import settings
from session_mgmt.models import AuditEntry, clock


def add_entry(
    action: str, *, user: Any = None, session: uuid.UUID | None = None, ip: str | None = None, **data: Any
) -> AuditEntry:
    """Write one entry; ``user`` is the person who did it, or nobody for a command."""
    using = settings().database
    entry = AuditEntry(action=action, actor=user, session=session, ip=ip, data=data, at=clock.read(using))
    entry.save(using=using, force_insert=True)
    return entry

"""People's rights to their data: all that concerns a user, to hand out and to erase."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions import audit
from session_mgmt.actions.privacy import erasure, export
from session_mgmt.actions.privacy.erasure import ErasureReport
from session_mgmt.bridge.colours import make_async
from session_mgmt.shortcuts.arguments import as_owner


def export_user(user: Any) -> list[dict[str, Any]]:
    """Return all that concerns a user as records, each with a ``kind``; the audit trail tells of it.

    All of it is in memory at once; the command of this name prints record by record. Raises ``InvalidField``.
    """
    owner = as_owner(user)
    audit.add_entry(audit.EXPORT_USER, user_id=str(owner.pk))
    return list(export.export_user(owner))


def erase_user(user: Any, *, dry_run: bool = False) -> ErasureReport:
    """Erase all of a user but the account, and return the number of rows of each kind; ``dry_run`` only counts.

    Large ones take a transaction for each chunk, so run it again if it was killed. Raises ``InvalidField``, and
    ``IntegrityError`` if rows of the project protect a session.
    """
    return erasure.erase_user(as_owner(user), dry_run=dry_run)


aexport_user = make_async(export_user)
aerase_user = make_async(erase_user)

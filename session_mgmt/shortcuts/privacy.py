"""Export and erase all data of a user."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions import audit
from session_mgmt.actions.privacy import erasure, export
from session_mgmt.actions.privacy.erasure import ErasureReport
from session_mgmt.bridge.colours import make_async
from session_mgmt.shortcuts.arguments import as_owner


def export_user(user: Any) -> list[dict[str, Any]]:
    """Return all data of a user as records, each with a ``kind``, and write an audit entry.

    All records are in memory at once; the management command of the same name prints record by record. Raises
    ``InvalidField``.
    """
    owner = as_owner(user)
    audit.add_entry(audit.EXPORT_USER, user_id=str(owner.pk))
    return list(export.export_user(owner))


def erase_user(user: Any, *, dry_run: bool = False) -> ErasureReport:
    """Erase all data of a user except the account, and return the number of rows of each kind.

    ``dry_run`` only counts. Much data is erased in several transactions, so call it again if it was interrupted. Raises
    ``InvalidField``, and ``IntegrityError`` if rows of the project protect a session.
    """
    return erasure.erase_user(as_owner(user), dry_run=dry_run)


aexport_user = make_async(export_user)
aerase_user = make_async(erase_user)

"""Create sessions that hang on the login of a request, with no more scopes than it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from session_mgmt.actions.sessions import lifecycle, logins
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.conf import settings
from session_mgmt.models import clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol import scopes


def narrow_scopes(evidence: Evidence, wanted: Sequence[str] | None) -> Sequence[str]:
    """Return the scopes of a new session: those of the login, or fewer that are wanted. Raises ``ScopeMissing``."""
    if wanted is None:
        return evidence.scopes
    allowed = scopes.restrict(evidence.scopes, None, is_nobodys=evidence.user is None)
    scopes.require_covered(allowed, wanted)
    return wanted


def create_linked(evidence: Evidence, *, wanted: Sequence[str] | None = None, **given: Any) -> lifecycle.Created:
    """Create a session that ends with the login which a request proves, with the ``wanted`` scopes of those it has.

    Raises ``LoginEnded``, ``ScopeMissing``, and as creation.
    """
    using = settings().database
    with open_transaction(using):
        now = clock.read(using)
        login = logins.lock_login(using, evidence, now)
        return lifecycle.create_session(
            user=evidence.user,
            login=login,
            auth_time=evidence.auth_time,
            tenant=evidence.tenant,
            acting=evidence.acting,
            scopes=narrow_scopes(evidence, wanted),
            now=now,
            **given,
        )

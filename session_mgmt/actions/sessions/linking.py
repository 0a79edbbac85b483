"""Create sessions that belong to the login of a request, with no more scopes than that login has."""

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
    """Return the scopes of a new session: those of the login, or the ``wanted`` ones. Raises ``ScopeMissing``."""
    if wanted is None:
        return evidence.scopes
    allowed = scopes.restrict(evidence.scopes, None, is_nobodys=evidence.user is None)
    scopes.require_covered(allowed, wanted)
    return wanted


def create_linked(evidence: Evidence, *, wanted: Sequence[str] | None = None, **given: Any) -> lifecycle.Created:
    """Create a session that ends with the login that a request proves, with the ``wanted`` scopes or all of the login.

    Raises ``LoginEnded``, ``ScopeMissing``, and the errors of ``create_session``.
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

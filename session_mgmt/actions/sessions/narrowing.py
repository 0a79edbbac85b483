"""Issue tokens with fewer scopes than their holder has, for a part of a page or a program that is less trusted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections

from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.sessions.tokens import Issued
from session_mgmt.conf import settings
from session_mgmt.exceptions import TooManyRequests
from session_mgmt.models import SessionActivity, Token, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol import scopes

# Most narrowed tokens of a session at one time, because a client could create any number of rows.
MOST = 100


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Token with these scopes, in the requested order; it is valid for ``expires_in`` seconds."""

    access: Issued
    scopes: list[str]
    expires_in: float


def narrow_token(
    secret: str, wanted: Sequence[str], *, lifetime: timedelta | None = None, now: datetime | None = None
) -> Narrowed:
    """Return an access token with fewer scopes, which expires no later than the token ``secret``.

    Otherwise a copied token could be renewed forever. The new token cannot be refreshed, and is revoked when the
    session's ``auth_version`` is raised. Raises the errors of ``verify_token``, and ``ScopeMissing`` or
    ``TooManyRequests``.
    """
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        # One at a time: the second of two requests at once must count the token of the first.
        owner = tokens.verify_token(using, secret, now=now).pk
        _lock_session(using, owner)
        parent = tokens.find_token(using, secret, now=now)
        session = parent.session
        tokens.require_live(session, now)
        scopes.require_covered(scopes.restrict(session.scopes, parent.scopes, is_nobodys=session.user is None), wanted)
        live = Token.objects.using(using).filter(session=session, scopes__isnull=False, expires_at__gt=now)
        if live.count() >= MOST:
            raise TooManyRequests("The session has as many tokens with scopes as allowed.", retry_after=60.0)
        expires = parent.expires_at if lifetime is None else min(parent.expires_at, now + lifetime)
        row, issued = tokens.make_token(session, expires_at=expires, now=now)
        row.scopes = list(wanted)
        Statements(connections[using]).put(row)
    return Narrowed(issued, row.scopes, max(round((expires - now).total_seconds(), 3), 0.0))


def _lock_session(using: str, session: uuid.UUID) -> None:
    SessionActivity.objects.using(using).select_for_update(no_key=True).filter(pk=session).first()

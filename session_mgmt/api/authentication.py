"""Authenticate requests: by the bearer token of a session, or by what the project has configured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from session_mgmt.actions import access, addresses
from session_mgmt.actions.access import Actor, Proof
from session_mgmt.actions.sessions import incidents, stamps, tokens, users
from session_mgmt.api.errors import refuse_in_their_form
from session_mgmt.conf import settings
from session_mgmt.exceptions import AuthError
from session_mgmt.models import Token, clock
from session_mgmt.protocol.scopes import restrict

# Permissions of logged-in callers for sessions that are not their own.
RIGHTS = (
    *(access.SEE, access.CHANGE, access.TERMINATE, access.MESSAGE, access.DISCONNECT),
    *(access.SEE_STATE, access.CHANGE_STATE, access.RESTORE_STATE, access.MAINTAIN_STATE),
    *(access.SEE_CONFLICTS, access.RESOLVE_CONFLICTS, access.PUBLISH),
)


class ProvenToken(BaseAuthentication):
    """Authentication of this app's own calls by ``Authorization: Bearer sma_…``.

    Set ``request.auth`` to an ``Actor`` and ``request.client_session`` to the session. A session that has ended is
    accepted here, because its client may ask why it ended and for a successor. ``ApiView`` refuses it in all other
    calls.
    """

    def authenticate(self, request: Request) -> tuple[Any, Actor] | None:
        """Return the user and the actor of a session's token, or ``None`` if the request carries no such token."""
        secret = read_bearer(request)
        # Leave other bearer tokens to the project's own authentication.
        if secret is None or not secret.startswith(tokens.ACCESS_PREFIX):
            return None
        return admit_token(request, self._find_token(request, secret))

    def _find_token(self, request: Request, secret: str) -> Token:
        using = settings().database
        now = clock.read(using)
        try:
            return tokens.find_token(using, secret, now=now)
        except AuthError as error:
            # Record it here, because this request never reaches a view.
            incidents.record_refusal(secret, error, ip=read_address(request), now=now)
            raise

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionTokenAuthentication(ProvenToken):
    """Authentication of the project's own views by a session's token; ``request.client_session`` is the session.

    A session that has ended is refused. Refusals are raised as exceptions of REST framework.
    """

    def authenticate(self, request: Request) -> tuple[Any, Actor] | None:
        """Return the user and the actor of a live session's token, or ``None`` if the request carries no such token."""
        with refuse_ended(request):
            return super().authenticate(request)


@contextmanager
def refuse_ended(request: Request) -> Iterator[None]:
    """Refuse the session that the block finds if it has ended, with an exception of REST framework."""
    with refuse_in_their_form():
        yield
        session = getattr(request, "client_session", None)
        error = None if session is None else tokens.explain_end(session, now=clock.read(settings().database))
        if error is not None:
            raise error


def admit_token(request: Request, token: Token) -> tuple[Any, Actor]:
    """Return the user and the actor of a valid token, and attach its session to the request."""
    session = token.session
    request.client_session = session  # type: ignore[attr-defined] # read by the view
    actor = Actor(
        session=session.pk,
        user_id=session.user_id,
        tenant=session.tenant,
        auth_time=session.auth_time,
        restriction=restrict(session.scopes, token.scopes, is_nobodys=session.user_id is None),
        proof=Proof(session.pk, session.auth_version),
    )
    return session.user or AnonymousUser(), actor


def read_address(request: Request) -> str | None:
    """Return the caller's IP address, or ``None`` for a Unix socket."""
    return addresses.read_meta(request.META)


def read_bearer(request: Request) -> str | None:
    """Return the bearer token of a request. It is never taken from the query string, because URLs end up in logs."""
    scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def find_actor(request: Request) -> Actor:
    """Return the actor on whose behalf the request acts. An anonymous actor may do nothing with existing sessions."""
    if isinstance(request.auth, Actor):
        return request.auth
    user = request.user
    if user is None or not user.is_authenticated:
        return Actor()
    evidence = stamps.read_evidence(request._request, user, may_write=False)
    return Actor(
        user_id=user.pk,
        permissions=frozenset(right for right in RIGHTS if users.has_permission(user, right)),
        tenant=evidence.tenant,
        auth_time=evidence.auth_time,
    )

"""Issue and verify tokens, the proofs of sessions. Only their digests are stored, and nothing here is ever logged."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import QuerySet

from session_mgmt.actions import ends
from session_mgmt.actions.sessions import fingerprints, users
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    InvalidToken,
    LoginCheck,
    SessionEnded,
    SessionExpired,
    SessionMgmtError,
    TokenExpired,
)
from session_mgmt.models import ClientSession, Token
from session_mgmt.models.compiled import CompiledQuery
from session_mgmt.models.sql import Statements

ACCESS_PREFIX = "sma_"
COOKIE_PREFIX = "smc_"
# Kinds that prove a session at each call; a refresh token is only good for an exchange.
PROVING_KINDS = {ACCESS_PREFIX: Token.Kind.ACCESS, COOKIE_PREFIX: Token.Kind.COOKIE}
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Issued:
    """New token; its ``secret`` exists only here and in the answer."""

    secret: str = field(repr=False)
    expires_at: datetime


def make_token(session: ClientSession, *, expires_at: datetime, now: datetime) -> tuple[Token, Issued]:
    """Make an access token without a pair, and do not store it; return its row and the token."""
    secret = ACCESS_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    row = Token(
        kind=Token.Kind.ACCESS,
        digest=hash_token(secret),
        session=session,
        auth_version=session.auth_version,
        created_at=now,
        expires_at=expires_at,
    )
    return row, Issued(secret, expires_at)


def issue_token(using: str, session: ClientSession, *, expires_at: datetime, now: datetime) -> Issued:
    """Make and store an access token without a pair."""
    row, issued = make_token(session, expires_at=expires_at, now=now)
    Statements(connections[using]).put(row)
    return issued


def find_session(using: str, secret: str, *, now: datetime) -> ClientSession:
    """Return the session that a token proves, live or ended. Raises the errors of ``find_token``."""
    return find_token(using, secret, now=now).session


def find_token(using: str, secret: str, *, now: datetime) -> Token:
    """Return a token that proves a session, live or ended, with its session, user and activity, with one query.

    Raises ``InvalidToken``, ``TokenExpired`` or ``LoginCheck``. Unknown, revoked and wrong kinds of tokens get the same
    error, so that attempts reveal nothing.
    """
    # Before any query, so that other texts cost nothing more.
    kind = find_kind(secret)
    if kind is None:
        raise InvalidToken()
    query = _compile_query(get_user_model(), repr(settings().user_standing))
    token = query.find(using, digest=hash_token(secret), kind=kind)
    if token is None:
        raise InvalidToken()
    error = judge_token(
        is_revoked=token.revoked_at is not None or token.auth_version != token.session.auth_version,
        may_act=getattr(token, "user_stands", None) or may_act(token.session),
        fits=fits(token.session),
        expires_at=token.expires_at,
        ended=explain_end(token.session, now=now),
        now=now,
    )
    if error is not None and not isinstance(error, SessionEnded):
        raise error
    return token


@lru_cache(maxsize=8)
def _compile_query(user_model: type[Any], standing: str) -> CompiledQuery[Token]:
    """Return the compiled query for a token; the arguments are everything that the query depends on."""

    def make(using: str) -> QuerySet[Token]:
        tokens = Token.objects.using(using).select_related("session", "session__user", "session__activity")
        return users.annotate_standing(tokens, "session__user")

    return CompiledQuery(make)


def find_kind(secret: str) -> Token.Kind | None:
    """Return the kind of a token that proves a session, by its prefix; ``None`` for any other text."""
    return PROVING_KINDS.get(secret[: len(ACCESS_PREFIX)])


def verify_token(using: str, secret: str, *, now: datetime) -> ClientSession:
    """Return the live session that a token proves. Raises ``InvalidToken``, ``TokenExpired``, ``LoginCheck``,
    ``SessionExpired`` or ``SessionTerminated``.
    """
    session = find_session(using, secret, now=now)
    error = explain_end(session, now=now)
    if error is not None:
        raise name_session(error, session.pk)
    return session


def name_session(error: SessionMgmtError, session: uuid.UUID) -> SessionMgmtError:
    """Return the error for a refused token; ``SessionExpired`` gets the id of the session.

    The client may have only the token, and needs the id to ask for the successor.
    """
    if not isinstance(error, SessionExpired):
        return error
    return SessionExpired(**error.facts, session_id=str(session))


def judge_token(
    *, is_revoked: bool, may_act: bool, fits: bool, expires_at: datetime, ended: SessionEnded | None, now: datetime
) -> SessionMgmtError | None:
    """Return why a stored token proves no live session, or ``None``. ``ended`` is the error that says how the session
    ended, and ``fits`` is true if the session is bound to its user's current credentials.
    """
    if is_revoked or not may_act:
        return InvalidToken()
    if ended is None and not fits:
        return LoginCheck()
    # For an ended session, that error comes first: the client must know how it ended, and may ask for a successor.
    if ended is None and expires_at <= now:
        return TokenExpired()
    return ended


def explain_end(session: ClientSession, *, now: datetime) -> SessionEnded | None:
    """Return the error that says how the session ended, or ``None``. A passed deadline counts even before the
    cleanup.
    """
    moments = session.activity.expires_at, session.activity.absolute_deadline
    return ends.explain_end(session.state, session.end_reason, *moments, now=now)


def may_act(session: ClientSession) -> bool:
    """Return whether the session has no user, or its user may act."""
    return users.may_act(session.user)


def fits(session: ClientSession) -> bool:
    """Return whether the session has no user, or is bound to its user's current credentials."""
    return fingerprints.fits(session.auth_fingerprint, fingerprints.list_fingerprints(session.user))


def hash_token(secret: str) -> bytes:
    """Return the SHA-256 of a token; tokens are 256 random bits, so a slower hash is not needed."""
    # A text that cannot be encoded must be refused as an unknown token, without an error (promise R7).
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def require_live(session: ClientSession, now: datetime) -> None:
    error = explain_end(session, now=now)
    if error is not None:
        raise error

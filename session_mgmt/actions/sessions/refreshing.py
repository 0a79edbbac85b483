"""Exchange a refresh token for the next pair: once, and with the same answer for those who race or ask again.

Every change of a session's tokens holds the session's activity row, as its end does; so 50 requests at once leave one
chain, and none of them makes a token for a session that has ended or was given a new ``auth_version`` meanwhile.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from session_mgmt.actions import audit
from session_mgmt.actions.sessions import ending, pairs, tokens
from session_mgmt.actions.sessions.pairs import Origin, Pair
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidToken, SessionMgmtError, TokenExpired
from session_mgmt.models import ClientSession, SessionActivity, Token, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements

REUSE = "token_reuse"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Answer to a refresh; ``expires_in`` are the seconds for which the access token still counts."""

    session: uuid.UUID
    pair: Pair
    expires_in: float

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as clients get it, the same over HTTP and over a socket."""
        access, refresh = self.pair.access.secret, self.pair.refresh.secret
        return {"access": access, "refresh": refresh, "expires_in": self.expires_in}


def refresh_tokens(
    secret: str,
    nonce: str,
    *,
    session: uuid.UUID | None = None,
    ip: str | None = None,
    now: datetime | None = None,
) -> Refreshed:
    """Return the pair that follows a refresh token. ``nonce`` names the request, so that it may be sent again.

    Only for one ``session`` if that is given. A token that was used before, and is neither raced for nor asked again,
    has been copied: its session ends. Raises ``InvalidToken``, ``TokenExpired``, ``SessionEnded`` or ``InvalidField``.
    """
    digest = tokens.hash_token(pairs.check_nonce(nonce))
    using = settings().database
    with open_transaction(using):
        run = _find_run(using, secret, session, now)
        found = run.exchange(digest)
        if found is None:
            run.report_reuse(ip)
    # Only now: a refusal must not take the end of the session back.
    if found is None:
        raise InvalidToken()
    return found


def _find_run(using: str, secret: str, session: uuid.UUID | None, now: datetime | None) -> _Run:
    """Find the session of a token, and lock it."""
    family = pairs.read_family(secret)
    if family is None:
        raise InvalidToken()
    # By the family, because an old secret of it may be known no longer.
    mine = Token.objects.using(using).filter(kind=Token.Kind.REFRESH, family=family)
    owner = mine.values_list("session_id", flat=True).first()
    if owner is None or owner != (session or owner):
        raise InvalidToken()
    activity = SessionActivity.objects.using(using).select_for_update(no_key=True).filter(pk=owner).first()
    if activity is None:
        raise InvalidToken()
    # In a statement of its own: under the lock these are the last committed values.
    row = ClientSession.objects.using(using).select_related("user").get(pk=owner)
    row.activity = activity
    return _Run(using, secret, family, row, now or clock.read(using))


class _Run:
    """One refresh under the lock of its session."""

    def __init__(self, using: str, secret: str, family: uuid.UUID, session: ClientSession, now: datetime) -> None:
        self._using, self._secret, self._family = using, secret, family
        self._session, self._now = session, now

    def exchange(self, nonce: bytes) -> Refreshed | None:
        """Return the next pair, made or told again; ``None`` if the token was copied."""
        rows = self._list_family()
        digest = tokens.hash_token(self._secret)
        token = next((row for row in rows if bytes(row.digest) == digest), None)
        # Older ones were revoked all at once; whoever still has one is no thief.
        current = [row for row in rows if row.auth_version == self._session.auth_version and row.revoked_at is None]
        if not current or (token is not None and token not in current):
            raise InvalidToken()
        self._require_standing(token)
        if token is None:
            return None
        if token.used_at is None:
            return self._rotate(token, nonce, rows)
        children = list(Token.objects.using(self._using).filter(parent=token))
        return self._answer_again(token, children) if self._may_ask_again(token, children, nonce) else None

    def _list_family(self) -> list[Token]:
        return list(Token.objects.using(self._using).filter(family=self._family, kind=Token.Kind.REFRESH))

    def _require_standing(self, token: Token | None) -> None:
        error: SessionMgmtError | None = tokens.judge_token(
            is_revoked=False,
            may_act=tokens.may_act(self._session),
            expires_at=self._now if token is None else token.expires_at,
            ended=tokens.explain_end(self._session, now=self._now),
            now=self._now,
        )
        if error is not None and not (token is None and isinstance(error, TokenExpired)):
            raise tokens.name_session(error, self._session.pk)

    def _rotate(self, token: Token, nonce: bytes, rows: list[Token]) -> Refreshed:
        origin = Origin(self._secret, self._family, token.pk)
        made, pair = pairs.make_pair(origin, self._session.activity, self._session.auth_version, self._now)
        Statements(connections[self._using]).put(*made)
        Token.objects.using(self._using).filter(pk=token.pk).update(used_at=self._now, nonce=nonce)
        self._forget_older(token, rows)
        return self._build_answer(pair)

    def _forget_older(self, token: Token, rows: list[Token]) -> None:
        """Delete what is older than the token that is used now and the access token beside it.

        Those of the last seconds stay: they may still be raced for. So a family has few rows, whatever its age.
        """
        over = self._now - settings().refresh_grace
        used = [row.pk for row in rows if row.pk != token.pk and row.used_at is not None and row.used_at <= over]
        mine = Token.objects.using(self._using).filter(session=self._session, family=self._family)
        access = mine.filter(kind=Token.Kind.ACCESS, created_at__lte=over).exclude(parent=token.parent_id)
        mine.filter(pk__in=[*used, *access.values_list("pk", flat=True)]).delete()

    def _may_ask_again(self, token: Token, children: list[Token], nonce: bytes) -> bool:
        assert token.used_at is not None
        if self._now <= token.used_at + settings().refresh_grace:
            return True
        is_same = token.nonce is not None and bytes(token.nonce) == nonce
        return is_same and all(child.used_at is None for child in children)

    def _answer_again(self, token: Token, children: list[Token]) -> Refreshed:
        pair = pairs.tell_again(Origin(self._secret, self._family, token.pk), children)
        if pair is None:
            # The server's key was replaced, which copies nothing.
            raise InvalidToken()
        return self._build_answer(pair)

    def _build_answer(self, pair: Pair) -> Refreshed:
        left = (pair.access.expires_at - self._now).total_seconds()
        return Refreshed(self._session.pk, pair, max(round(left, 3), 0.0))

    def report_reuse(self, ip: str | None) -> None:
        """End the session of a token that was copied: nobody can tell who of the two is its owner."""
        ending.end_session(self._using, self._session.pk, ClientSession.State.TERMINATED, REUSE, self._now)
        audit.add_entry(audit.REFRESH_REUSED, session=self._session.pk, ip=ip)

"""Tokens of a page that enters: the proof of the session that it has kept, and the pair that it goes on with.

Tabs that enter at the same time with the same proof get the same pair, so that none makes the pair of another invalid.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from session_mgmt.actions.sessions import cookies, fresh_devices, pairs, refreshing, tokens
from session_mgmt.actions.sessions.entries import Wish
from session_mgmt.actions.sessions.pairs import Origin, Pair
from session_mgmt.actions.sessions.refreshing import Exchange
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, Login, Token

# Proofs of a session, strongest first: its own token, its login, or a token that another tab has just used.
# ``BY_OTHER`` is a token in a cookie while pages keep pairs now, or the reverse.
BY_OTHER = "token of the other mode"
BY_TOKEN, BY_ALONE, BY_LOGIN, BY_TAB = "token", "token without a pair", "login", "token of another tab"


def find_token_proof(using: str, session: ClientSession, wish: Wish, now: datetime) -> str | None:
    """Return how the token of a page proves the session that it has kept, or ``None``."""
    mine = Token.objects.using(using).filter(digest=tokens.hash_token(wish.token), session=session, revoked_at=None)
    # A cookie that is no longer valid for calls still shows which browser this is.
    counts = Q(expires_at__gt=now) | Q(kind=Token.Kind.COOKIE)
    token = mine.filter(counts, auth_version=session.auth_version).first()
    change = fresh_devices.find_change(session, wish.device)
    if token is None or (change is not None and change.policy == fresh_devices.REAUTH):
        # A copied token would come from another device, so only the login proves the session now.
        return None
    if token.kind in (Token.Kind.REFRESH, Token.Kind.COOKIE):
        return BY_TOKEN if wish.by_cookie == (token.kind == Token.Kind.COOKIE) else BY_OTHER
    # A token with fewer scopes than its session must not be exchanged for one with all scopes.
    return BY_ALONE if token.salt is None and token.scopes is None else None


class EntryTokens:
    """Tokens of one page that enters, under the lock of the session that they belong to."""

    def __init__(self, using: str, wish: Wish, evidence: Evidence, now: datetime) -> None:
        self._using, self._wish, self._evidence, self._now = using, wish, evidence, now

    def find_proof(self, session: ClientSession, login: Login | None) -> str | None:
        """Return the proof of the kept session, or ``None``; an id alone proves nothing."""
        proof = find_token_proof(self._using, session, self._wish, self._now)
        user = self._evidence.user
        if proof is not None or user is None or session.user_id != user.pk:
            return proof
        if login is not None and session.login_id == login.pk:
            return BY_LOGIN
        return BY_TAB if self._join_tab(session) is not None else None

    def tell_again(self, session: ClientSession) -> Pair | None:
        """Return the pair that the same request got before, or ``None``."""
        return pairs.tell_first_again(self._using, session, [self._wish.nonce, *self._list_shared()])

    def is_of_claim(self, session: ClientSession, pair: Pair) -> bool:
        """Return whether a pair was made by the claim of its session."""
        if session.claimed_at is None:
            return False
        made = Token.objects.using(self._using).filter(digest=tokens.hash_token(pair.access.secret))
        return made.filter(created_at=session.claimed_at).exists()

    def exchange_old(self, session: ClientSession) -> Pair | None:
        """Exchange the tokens if the access token has passed half of its life; return ``None`` if they remain valid."""
        token = Token.objects.using(self._using).get(digest=tokens.hash_token(self._wish.token))
        if token.used_at is None and self._is_young(session, token):
            if token.kind == Token.Kind.COOKIE:
                # The browser has just proved its login.
                end = cookies.find_end(session, session.activity, self._now)
                Token.objects.using(self._using).filter(pk=token.pk).update(expires_at=end)
            return None
        # The caller has just decided, with the same evidence, whose session it is.
        exchange = Exchange(self._using, self._wish.token, token.family, session, self._now, is_login_proved=True)
        found = exchange.exchange(tokens.hash_token(self._wish.nonce))
        if found is not None:
            return found.pair
        refreshing.report_reuse(self._using, session, None, self._now)
        if session.login is None:
            session.state = ClientSession.State.TERMINATED
            return None
        # This browser is logged in and goes on; the copied token is worthless.
        return self._start_family(session)

    def _is_young(self, session: ClientSession, token: Token) -> bool:
        if token.kind == Token.Kind.COOKIE:
            return self._now < token.created_at + settings().access_lifetime / 2
        beside = Token.objects.using(self._using).filter(session=session, family=token.family, parent=token.parent_id)
        access = beside.filter(kind=Token.Kind.ACCESS).first()
        return access is not None and self._now < access.created_at + (access.expires_at - access.created_at) / 2

    def begin_family(self, secret: str) -> Origin:
        """Return the origin of the first pair of a family, or of the cookie in its place."""
        return pairs.begin_family(secret, is_cookie=self._wish.by_cookie)

    def renew(self, session: ClientSession, proof: str) -> Pair:
        """Return new tokens for a page that has proved the session without a usable refresh token; the old ones become
        invalid.
        """
        if proof == BY_ALONE:
            old = Token.objects.using(self._using).filter(digest=tokens.hash_token(self._wish.token))
            old.update(revoked_at=self._now)
            return self._start_family(session)
        return self._join_tab(session) or self.replace(session)

    def replace(self, session: ClientSession) -> Pair:
        """Return new tokens and make all others invalid, also those that another tab has just got."""
        refreshing.raise_auth_version(self._using, session, self._now)
        return self._start_family(session)

    def start_claimed(self, session: ClientSession) -> Pair:
        """Return the first tokens of a session that was just claimed; all tabs that had its old ones get the same."""
        return pairs.start_family(self._using, session, self.begin_family(self._list_shared()[0]), self._now)

    def _start_family(self, session: ClientSession) -> Pair:
        digest = tokens.hash_token(self._wish.nonce)
        ClientSession.objects.using(self._using).filter(pk=session.pk).update(nonce=digest)
        secret = self._wish.nonce if self._evidence.stamp is None else self._list_shared()[0]
        return pairs.start_family(self._using, session, self.begin_family(secret), self._now)

    def _join_tab(self, session: ClientSession) -> Pair | None:
        """Return the pair that another tab has just got for the same proof, if it was not exchanged since; else
        ``None``.
        """
        since = self._now - settings().refresh_grace
        return pairs.tell_first_again(self._using, session, self._list_shared(), unused_since=since)

    def _list_shared(self) -> list[str]:
        """Return the secrets from which all tabs of a browser can derive one pair: their login and their kept token."""
        # The digest of the login is in the database, but is useless without the server's key.
        stamp, kept_in = self._evidence.stamp, "cookie" if self._wish.by_cookie else "page"
        by_login = [] if stamp is None else [f"login {kept_in} {stamp.hex()}"]
        return [*by_login, self._wish.token]

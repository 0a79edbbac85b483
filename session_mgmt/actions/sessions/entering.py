"""Enter: decide by one call which session a page goes on with, by what it kept and by the login that it proves.

The next person in a browser never gets the session of the one before, and whoever is still there loses nothing.
Locks are taken in one order: the login, the session that was kept, its successor.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import Q

from session_mgmt.actions.sessions import (
    cookies,
    ending,
    fingerprints,
    fresh_devices,
    lifecycle,
    logins,
    pairs,
    recovery,
    refreshing,
    standing,
    tokens,
)
from session_mgmt.actions.sessions.lifecycle import Device
from session_mgmt.actions.sessions.pairs import Origin, Pair
from session_mgmt.actions.sessions.refreshing import Exchange
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.conf import settings
from session_mgmt.exceptions import AuthRequired, InvalidField, LoginMissing, SessionMgmtError
from session_mgmt.models import ClientSession, Login, SessionActivity, Token, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol import scopes
from session_mgmt.protocol.position import Position

State = ClientSession.State

CREATED, CONTINUED, RECOVERED = "created", "continued", "recovered"
NOT_CLAIMED, LOGIN_GONE, LOGIN_CHANGED = "not_claimed", "login_gone", logins.LOGIN_CHANGED
# Two calls this far apart are not one answer that changes the cookie, and after the longer one it is asked anew.
MISSING_TWICE = timedelta(seconds=2)
MISSING_FORGOTTEN = timedelta(minutes=1)
ANSWERED_FOR = timedelta(hours=1)
BY_TOKEN, BY_ALONE, BY_LOGIN = "token", "token without a pair", "login"
# Kept in a cookie where pages keep pairs now, or the other way round.
BY_OTHER = "token of the other mode"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a page kept, and what it wants if a session is made. ``nonce`` names the request.

    ``by_cookie``: its tokens are to be kept in a cookie.
    """

    nonce: str = field(repr=False)
    kept: uuid.UUID | None = None
    token: str = field(default="", repr=False)
    previous: uuid.UUID | None = None
    create: dict[str, Any] = field(default_factory=dict)
    by_cookie: bool = False
    device: Device | None = None
    scopes: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Entered:
    """Session to go on with. Without a ``pair`` the client's own tokens still count."""

    verdict: str
    session: ClientSession
    pair: Pair | None = None
    reason: str = ""
    position: Position | None = None
    receipt: dict[str, Any] | None = None
    login_due_in: float | None = None


def enter(wish: Wish, evidence: Evidence, *, now: datetime | None = None) -> Entered:
    """Return the session for a page. Raises ``AuthRequired``, ``LoginEnded``, ``LoginMissing``, ``SessionLimit`` or
    ``InvalidField``.
    """
    pairs.check_nonce(wish.nonce)
    try:
        found = _enter(wish, evidence, now)
    except IntegrityError:
        # The same request, or another tab, at the same moment: its session is there now.
        found = _enter(wish, evidence, now)
    # Only now: a refusal must not take back what was decided about the session that was kept.
    if isinstance(found, SessionMgmtError):
        raise found
    return found


def _enter(wish: Wish, evidence: Evidence, now: datetime | None) -> Entered | SessionMgmtError:
    using = settings().database
    with open_transaction(using):
        now = now or clock.read(using)
        login = logins.lock_login(using, evidence, now)
        return _Entry(using, wish, evidence, login, now).decide()


class _Entry:
    """One decision, under the lock of the login if there is one."""

    def __init__(self, using: str, wish: Wish, evidence: Evidence, login: Login | None, now: datetime) -> None:
        self._using, self._wish, self._evidence, self._login, self._now = using, wish, evidence, login, now
        self._user_id = None if evidence.user is None else evidence.user.pk
        self._due_in = None if login is None else logins.find_due_in(login, now)

    def decide(self) -> Entered | SessionMgmtError:
        told = self._tell_again()
        if told is not None:
            return told
        kept = self._lock_session(self._wish.kept)
        proof = None if kept is None else self._find_proof(kept)
        if kept is None or proof is None or kept.state == State.TERMINATED:
            return self._start_anew()
        if tokens.explain_end(kept, now=self._now) is not None:
            return self._recover(kept, proof) or self._start_anew()
        if self._is_of_login(kept):
            return self._continue(kept, proof)
        if self._user_id is None and kept.tenant == self._evidence.tenant:
            return self._miss_login(kept, proof)
        is_claim = kept.user_id is None and kept.tenant == self._evidence.tenant
        reason = NOT_CLAIMED if is_claim else LOGIN_CHANGED
        ending.end_session(self._using, kept.pk, State.TERMINATED, reason, self._now)
        return self._start_anew(reason)

    # -- what is known ---------------------------------------------------------------------------------------------

    def _tell_again(self) -> Entered | None:
        """Return the answer that the same request got before."""
        digest = tokens.hash_token(self._wish.nonce)
        mine = ClientSession.objects.using(self._using).select_related("user", "activity", "login")
        session = mine.filter(nonce=digest).first()
        if session is None:
            return None
        pair = pairs.tell_first_again(self._using, session, [self._wish.nonce, self._wish.token])
        is_mine = self._is_of_login(session) and tokens.explain_end(session, now=self._now) is None
        if pair is None or not is_mine or self._is_old(pair):
            raise InvalidField("This nonce was used before.", field="nonce")
        if session.pk == self._wish.kept:
            return self._answer(CONTINUED, session, pair)
        if session.recovered_from is None:
            return self._answer(CREATED, session, pair, position=_find_head(session))
        receipt = recovery.describe_successor(self._using, session.recovered_from, session)
        return self._answer(RECOVERED, session, pair, position=_find_head(session), receipt=receipt)

    def _is_of_login(self, session: ClientSession) -> bool:
        """Return whether a session belongs to the login of the page, in its tenant and with the same person acting."""
        is_here = session.tenant == self._evidence.tenant and session.acting == self._evidence.acting
        return is_here and session.user_id == self._user_id

    def _is_old(self, pair: Pair) -> bool:
        return pair.access.expires_at + ANSWERED_FOR < self._now

    def _lock_session(self, key: uuid.UUID | None) -> ClientSession | None:
        """Lock a session and read it; under the lock these are the last committed values."""
        if key is None:
            return None
        activity = SessionActivity.objects.using(self._using).select_for_update(no_key=True).filter(pk=key).first()
        if activity is None:
            return None
        session = ClientSession.objects.using(self._using).select_related("user", "login").get(pk=key)
        session.activity = activity
        return session

    def _find_proof(self, session: ClientSession) -> str | None:
        """Return what proves the session that was kept; an id alone proves nothing."""
        digest = tokens.hash_token(self._wish.token)
        mine = Token.objects.using(self._using).filter(digest=digest, session=session, revoked_at=None)
        # A cookie that is no proof for calls any more still tells which browser this is.
        counts = Q(expires_at__gt=self._now) | Q(kind=Token.Kind.COOKIE)
        token = mine.filter(counts, auth_version=session.auth_version).first()
        change = fresh_devices.find_change(session, self._wish.device)
        if change is not None and change.policy == fresh_devices.REAUTH:
            # A copied token would come from another device: only the login proves the session now.
            token = None
        if token is not None and token.kind in (Token.Kind.REFRESH, Token.Kind.COOKIE):
            is_kept_so = self._wish.by_cookie == (token.kind == Token.Kind.COOKIE)
            return BY_TOKEN if is_kept_so else BY_OTHER
        # A token with fewer scopes than its session must not be exchanged for one that has all of them.
        if token is not None and token.salt is None and token.scopes is None:
            return BY_ALONE
        is_by_login = self._login is not None and session.login_id == self._login.pk
        return BY_LOGIN if is_by_login else None

    # -- verdicts --------------------------------------------------------------------------------------------------

    def _continue(self, session: ClientSession, proof: str) -> Entered | SessionMgmtError:
        prints = fingerprints.list_fingerprints(self._evidence.user or session.user)
        has_changed = not fingerprints.fits(session.auth_fingerprint, prints)
        if has_changed and self._login is None:
            # Only Django's own session shows that this browser was there when the password was changed.
            reason = standing.CREDENTIALS_CHANGED
            ending.end_session(self._using, session.pk, State.TERMINATED, reason, self._now)
            return self._start_anew(reason)
        self._note_device(session)
        changes: dict[str, Any] = {"login_missing_at": None, "auth_fingerprint": next(iter(prints), None)}
        if self._login is not None and session.login_id != self._login.pk:
            changes |= {"login": self._login, "auth_time": self._evidence.auth_time}
        for name, value in changes.items():
            setattr(session, name, value)
        ClientSession.objects.using(self._using).filter(pk=session.pk).update(**changes)
        if has_changed:
            standing.give_back_deadline(self._using, session.activity)
            pair: Pair | None = self._renew(session, BY_LOGIN)
        else:
            pair = self._exchange(session) if proof == BY_TOKEN else self._renew(session, proof)
        if tokens.explain_end(session, now=self._now) is not None:
            return self._start_anew(refreshing.REUSE)
        return self._answer(CONTINUED, session, pair)

    def _note_device(self, session: ClientSession) -> None:
        """Write down that a session goes on from another device, which is its own from here on."""
        change = fresh_devices.find_change(session, self._wish.device)
        if change is not None and self._wish.device is not None:
            fresh_devices.note_change(change)
            fresh_devices.keep_device(self._using, session, self._wish.device)

    def _exchange(self, session: ClientSession) -> Pair | None:
        """Exchange the tokens if the access token has lived half its life; ``None`` if they may go on."""
        token = Token.objects.using(self._using).get(digest=tokens.hash_token(self._wish.token))
        if token.used_at is None and self._is_young(session, token):
            if token.kind == Token.Kind.COOKIE:
                # Its browser has proved its login just now.
                end = cookies.find_end(session, session.activity, self._now)
                Token.objects.using(self._using).filter(pk=token.pk).update(expires_at=end)
            return None
        # Whose session it is was decided just now, by the same evidence.
        exchange = Exchange(self._using, self._wish.token, token.family, session, self._now, is_login_proved=True)
        found = exchange.exchange(tokens.hash_token(self._wish.nonce))
        if found is not None:
            return found.pair
        refreshing.report_reuse(self._using, session, None, self._now)
        if session.login is None:
            session.state = State.TERMINATED
            return None
        # Here is the browser that is logged in: the copy is worthless, and it goes on.
        return self._start_family(session)

    def _is_young(self, session: ClientSession, token: Token) -> bool:
        if token.kind == Token.Kind.COOKIE:
            return self._now < token.created_at + settings().access_lifetime / 2
        beside = Token.objects.using(self._using).filter(session=session, family=token.family, parent=token.parent_id)
        access = beside.filter(kind=Token.Kind.ACCESS).first()
        return access is not None and self._now < access.created_at + (access.expires_at - access.created_at) / 2

    def _renew(self, session: ClientSession, proof: str) -> Pair:
        """Give new tokens to whoever has proved the session by something else; the ones of before are void."""
        if proof == BY_ALONE:
            old = Token.objects.using(self._using).filter(digest=tokens.hash_token(self._wish.token))
            old.update(revoked_at=self._now)
        else:
            refreshing.raise_auth_version(self._using, session)
        return self._start_family(session)

    def _start_family(self, session: ClientSession) -> Pair:
        digest = tokens.hash_token(self._wish.nonce)
        ClientSession.objects.using(self._using).filter(pk=session.pk).update(nonce=digest)
        return pairs.start_family(self._using, session, self._begin_family(self._wish.nonce), self._now)

    def _begin_family(self, secret: str) -> Origin:
        return pairs.begin_family(secret, is_cookie=self._wish.by_cookie)

    def _miss_login(self, session: ClientSession, proof: str) -> Entered | SessionMgmtError:
        """Ask twice before a session expires: a parallel answer may just be changing the cookie."""
        if not settings().follow_login and proof != BY_LOGIN:
            return self._continue(session, proof)
        since = session.login_missing_at
        if since is None or self._now - since > MISSING_FORGOTTEN:
            ClientSession.objects.using(self._using).filter(pk=session.pk).update(login_missing_at=self._now)
            return LoginMissing(retry_after=3.0)
        if self._now - since < MISSING_TWICE:
            return LoginMissing(retry_after=3.0)
        ending.end_session(self._using, session.pk, State.EXPIRED, LOGIN_GONE, self._now)
        return self._start_anew(LOGIN_GONE)

    def _start_anew(self, reason: str = "") -> Entered | SessionMgmtError:
        """Recover the session that the page remembers of this user, or make a new one."""
        if self._user_id is None:
            if not settings().anonymous_sessions:
                return AuthRequired()
        elif self._wish.previous is not None and self._wish.previous != self._wish.kept:
            previous = self._lock_session(self._wish.previous)
            found = None if previous is None else self._recover(previous, BY_LOGIN)
            if found is not None:
                return found
        try:
            created = lifecycle.create_session(
                user=self._evidence.user,
                nonce=self._wish.nonce,
                origin=self._begin_family(self._wish.nonce),
                login=self._login,
                auth_time=self._evidence.auth_time,
                tenant=self._evidence.tenant,
                acting=self._evidence.acting,
                scopes=_narrow(self._evidence, self._wish.scopes),
                device=self._wish.device,
                now=self._now,
                **self._wish.create,
            )
        except SessionMgmtError as error:
            # The end of the session that was kept stands all the same.
            return error
        return self._answer(CREATED, created.session, created.pair, reason=reason, position=created.position)

    def _recover(self, old: ClientSession, proof: str) -> Entered | None:
        """Return the successor of an expired session, if its user is here and may inherit it."""
        end = tokens.explain_end(old, now=self._now)
        if end is None or old.state == State.TERMINATED or not self._is_of_login(old) or old.acting:
            return None
        if old.login is not None and old.login.ended_at is not None:
            return None
        if old.activity.live:
            ending.end_session(self._using, old.pk, State.EXPIRED, "timeout", self._now)
            old.refresh_from_db(using=self._using, fields=["state", "ended_at", "end_reason"])
        user = self._evidence.user
        if self._login is None and not fingerprints.fits(old.auth_fingerprint, fingerprints.list_fingerprints(user)):
            return None
        if user is not None:
            # The successor is bound to the credentials that were proved, and not to those of a moment later.
            old.user = user
        if old.ended_at is None or self._now - old.ended_at > settings().retention:
            return None
        auth_time = self._find_newer_login(old)
        needs_login = old.activity.absolute_deadline <= self._now or old.end_reason == LOGIN_GONE
        if needs_login and auth_time is None:
            return None
        successor = recovery.find_successor(self._using, old)
        if successor is not None:
            return self._join_successor(old, successor, proof)
        # All tabs that kept it derive one pair from its token, whoever comes first.
        origin = self._begin_family(self._wish.token if proof == BY_TOKEN else self._wish.nonce)
        restored = recovery.make_successor(
            self._using,
            old,
            device=self._wish.device,
            now=self._now,
            nonce=self._wish.nonce,
            origin=origin,
            login=self._login,
            auth_time=auth_time if needs_login else None,
        )
        created = restored.created
        return self._answer(
            RECOVERED, created.session, created.pair, position=created.position, receipt=restored.receipt
        )

    def _find_newer_login(self, old: ClientSession) -> datetime | None:
        """Return when the user has logged in, if that was after the login of an old session."""
        at = self._evidence.auth_time
        return at if at is not None and at > (old.auth_time or old.created_at) else None

    def _join_successor(self, old: ClientSession, successor: ClientSession, proof: str) -> Entered | None:
        """Go on with the successor that another tab has made."""
        session = self._lock_session(successor.pk)
        if session is None or not self._is_of_login(session) or tokens.explain_end(session, now=self._now):
            return None
        pair = pairs.tell_first_again(self._using, session, [self._wish.token]) if proof == BY_TOKEN else None
        if pair is None and self._user_id is None:
            return None
        if pair is None:
            refreshing.raise_auth_version(self._using, session)
            pair = self._start_family(session)
        receipt = recovery.describe_successor(self._using, old, session)
        return self._answer(RECOVERED, session, pair, position=_find_head(session), receipt=receipt)

    def _answer(self, verdict: str, session: ClientSession, pair: Pair | None, **more: Any) -> Entered:
        return Entered(verdict, session, pair, login_due_in=self._due_in, **more)


def _find_head(session: ClientSession) -> Position:
    activity = session.activity
    return Position(activity.epoch, activity.event_seq, activity.event_tag)


def _narrow(evidence: Evidence, wanted: Sequence[str] | None) -> Sequence[str]:
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
            scopes=_narrow(evidence, wanted),
            now=now,
            **given,
        )

"""Enter: decide with one call which session a page goes on with, by the session that it has kept and the login that it
proves.

The next person in a browser never gets the session of the previous one, and a person who is still logged in loses
nothing. Locks are taken in one order: the login, the kept session, its successor.
"""

from __future__ import annotations

import contextlib
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError

from session_mgmt.actions import ends
from session_mgmt.actions.sessions import (
    claiming,
    ending,
    fingerprints,
    fresh_devices,
    lifecycle,
    linking,
    logins,
    pairs,
    recovery,
    refreshing,
    standing,
    tokens,
)
from session_mgmt.actions.sessions.carrying import Moved, list_documents
from session_mgmt.actions.sessions.claiming import FRESH, Asking, Plan
from session_mgmt.actions.sessions.entries import ASK, CLAIMED, CONTINUED, CREATED, RECOVERED, Entered, Wish
from session_mgmt.actions.sessions.entry_tokens import BY_LOGIN, BY_TOKEN, EntryTokens, find_token_proof
from session_mgmt.actions.sessions.pairs import Pair
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.conf import settings
from session_mgmt.exceptions import AuthRequired, Busy, InvalidField, LoginMissing, SessionLimit, SessionMgmtError
from session_mgmt.models import ClientSession, Login, SessionActivity, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol.position import Position

State = ClientSession.State

NOT_CLAIMED, LOGIN_GONE, LOGIN_CHANGED = "not_claimed", "login_gone", logins.LOGIN_CHANGED
# Two calls with this distance are not caused by one answer that changes the cookie. After the longer time the first
# call no longer counts.
MISSING_TWICE = timedelta(seconds=2)
MISSING_FORGOTTEN = timedelta(minutes=1)
ANSWERED_FOR = timedelta(hours=1)
# Attempts to plan a claim, each of which may fail because the session changes. Then the page must try again later.
PLANS = 3


def enter(wish: Wish, evidence: Evidence, *, request: Any = None, now: datetime | None = None) -> Entered:
    """Return the session for a page. ``request`` is passed to the project's ``may_claim``.

    Raises ``AuthRequired``, ``LoginEnded``, ``LoginMissing``, ``SessionLimit``, ``Busy`` or ``InvalidField``.
    """
    pairs.check_nonce(wish.nonce)
    found = _enter_by_plan(wish, evidence, request, now)
    # Raise it only after the commit, because a refusal must not undo the decision about the kept session.
    if isinstance(found, SessionMgmtError):
        raise found
    return found


def _enter_by_plan(wish: Wish, evidence: Evidence, request: Any, now: datetime | None) -> Entered | SessionMgmtError:
    """Ask the project about a visitor's session and decide; do it again if that session has changed in the meantime."""
    using = settings().database
    for _ in range(PLANS):
        plan = _plan_claim(using, wish, evidence, request, now)
        with contextlib.suppress(Moved):
            try:
                return _enter(using, wish, evidence, plan, now)
            except IntegrityError:
                # The same request, or another tab, has created its session at the same moment; now it is there.
                return _enter(using, wish, evidence, plan, now)
    return Busy(retry_after=1.0)


def _plan_claim(using: str, wish: Wish, evidence: Evidence, request: Any, now: datetime | None) -> Plan | None:
    """Plan what happens to the kept session, if it is a visitor's session and a user is logged in now."""
    if evidence.user is None or wish.kept is None:
        return None
    theirs = ClientSession.objects.using(using).filter(pk=wish.kept, user=None).exclude(state=State.TERMINATED)
    kept = theirs.select_related("activity").first()
    now = now or clock.read(using)
    # Do not ask the project about a session for which the page has only the id.
    if kept is None or find_token_proof(using, kept, wish, now) is None:
        return None
    ip = None if wish.device is None else wish.device.ip
    asking = Asking(evidence, wish.choice, wish.previous, request, ip)
    return claiming.make_plan(using, kept, asking, now)


def _enter(
    using: str, wish: Wish, evidence: Evidence, plan: Plan | None, now: datetime | None
) -> Entered | SessionMgmtError:
    with open_transaction(using):
        now = now or clock.read(using)
        login = logins.lock_login(using, evidence, now)
        return _Entry(using, wish, evidence, login, plan, now).decide()


class _Entry:
    """One decision, under the lock of the login if there is one."""

    def __init__(
        self, using: str, wish: Wish, evidence: Evidence, login: Login | None, plan: Plan | None, now: datetime
    ) -> None:
        self._using, self._wish, self._evidence, self._login, self._now = using, wish, evidence, login, now
        self._plan, self._tokens = plan, EntryTokens(using, wish, evidence, now)
        self._user_id = None if evidence.user is None else evidence.user.pk
        self._due_in = None if login is None else logins.find_due_in(login, now)

    def decide(self) -> Entered | SessionMgmtError:
        earlier = self._find_earlier_answer()
        if earlier is not None:
            return earlier
        kept = self._lock_session(self._wish.kept)
        proof = None if kept is None else self._tokens.find_proof(kept, self._login)
        if kept is None or proof is None or kept.state == State.TERMINATED:
            return self._start_anew()
        if kept.user_id is None and self._user_id is not None and kept.tenant == self._evidence.tenant:
            return self._meet_visitor(kept, proof)
        if tokens.explain_end(kept, now=self._now) is not None:
            return self._recover(kept, proof) or self._start_anew()
        if self._is_of_login(kept):
            return self._continue(kept, proof)
        if self._user_id is None and kept.tenant == self._evidence.tenant:
            return self._miss_login(kept, proof)
        ending.end_session(self._using, kept.pk, State.TERMINATED, LOGIN_CHANGED, self._now)
        return self._start_anew(LOGIN_CHANGED)

    # -- what is known ---------------------------------------------------------------------------------------------

    def _find_earlier_answer(self) -> Entered | None:
        """Return the answer that the same request got before, or ``None``."""
        digest = tokens.hash_token(self._wish.nonce)
        mine = ClientSession.objects.using(self._using).select_related("user", "activity", "login")
        session = mine.filter(nonce=digest).first()
        if session is None:
            return None
        pair = self._tokens.tell_again(session)
        is_mine = self._is_of_login(session) and tokens.explain_end(session, now=self._now) is None
        if pair is None or not is_mine or pair.access.expires_at + ANSWERED_FOR < self._now:
            raise InvalidField("This nonce was used before.", field="nonce")
        is_claim = self._tokens.is_of_claim(session, pair)
        if session.pk == self._wish.kept:
            return self._answer(CLAIMED if is_claim else CONTINUED, session, pair)
        if session.recovered_from is None:
            return self._answer(CREATED, session, pair, position=_find_head(session))
        receipt = recovery.describe_successor(self._using, session.recovered_from, session)
        verdict = CLAIMED if is_claim else RECOVERED
        return self._answer(verdict, session, pair, position=_find_head(session), receipt=receipt)

    def _is_of_login(self, session: ClientSession) -> bool:
        """Return whether a session belongs to the user of the page, in the same tenant and with the same person
        acting.
        """
        is_here = session.tenant == self._evidence.tenant and session.acting == self._evidence.acting
        return is_here and session.user_id == self._user_id

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

    # -- verdicts --------------------------------------------------------------------------------------------------

    def _continue(self, session: ClientSession, proof: str) -> Entered | SessionMgmtError:
        prints = fingerprints.list_fingerprints(self._evidence.user or session.user)
        has_changed = not fingerprints.fits(session.auth_fingerprint, prints)
        if has_changed and self._login is None:
            # Only Django's own session can show that the password was changed in this browser.
            reason = standing.CREDENTIALS_CHANGED
            ending.end_session(self._using, session.pk, State.TERMINATED, reason, self._now)
            return self._start_anew(reason)
        fresh_devices.follow_device(self._using, session, self._wish.device)
        changes: dict[str, Any] = {"login_missing_at": None, "auth_fingerprint": next(iter(prints), None)}
        if self._login is not None and session.login_id != self._login.pk:
            changes |= {"login": self._login, "auth_time": self._evidence.auth_time}
        for name, value in changes.items():
            setattr(session, name, value)
        ClientSession.objects.using(self._using).filter(pk=session.pk).update(**changes)
        if has_changed:
            standing.give_back_deadline(self._using, session.activity)
            pair: Pair | None = self._tokens.replace(session)
        else:
            pair = self._tokens.exchange_old(session) if proof == BY_TOKEN else self._tokens.renew(session, proof)
        if tokens.explain_end(session, now=self._now) is not None:
            return self._start_anew(refreshing.REUSE)
        return self._answer(CONTINUED, session, pair)

    def _meet_visitor(self, session: ClientSession, proof: str) -> Entered | SessionMgmtError:
        """Decide about a visitor's session whose page is logged in now."""
        plan = self._plan
        if plan is None or plan.auth_version != session.auth_version:
            raise Moved
        if plan.answer == ASK:
            return self._answer(ASK, session, None, documents=list_documents(self._using, session.pk))
        if plan.answer == FRESH:
            ending.end_session(self._using, session.pk, State.TERMINATED, NOT_CLAIMED, self._now)
            return self._start_anew(NOT_CLAIMED)
        # If the visitor has no documents, the user's own previous session is the better one.
        previous = None if plan.carried.names else self._recover_previous()
        if previous is not None:
            ending.end_session(self._using, session.pk, State.TERMINATED, NOT_CLAIMED, self._now)
            return previous
        if tokens.explain_end(session, now=self._now) is not None:
            return self._claim_expired(session, plan, proof)
        digest = tokens.hash_token(self._wish.nonce)
        try:
            claiming.claim_session(self._using, session, plan, self._evidence, self._login, digest, self._now)
        except SessionLimit as error:
            return error
        return self._answer(CLAIMED, session, self._tokens.start_claimed(session))

    def _claim_expired(self, old: ClientSession, plan: Plan, proof: str) -> Entered | SessionMgmtError:
        """Continue an expired session of a visitor in a session of the user."""
        if not self._end_due(old):
            return self._start_anew()
        successor = recovery.find_successor(self._using, old)
        if successor is not None:
            return self._join_successor(old, successor, proof) or self._start_anew()
        try:
            theirs = {"user": self._evidence.user, "tenant": old.tenant, "scopes": self._evidence.scopes}
            restored = self._make_successor(old, proof, auth_time=self._evidence.auth_time, **theirs)
        except SessionLimit as error:
            return error
        session = restored.created.session
        claiming.claim_successor(self._using, old.pk, session, plan, self._evidence, self._now)
        session.refresh_from_db(using=self._using, fields=["activity"])
        return self._answer(
            CLAIMED, session, restored.created.pair, position=_find_head(session), receipt=restored.receipt
        )

    def _miss_login(self, session: ClientSession, proof: str) -> Entered | SessionMgmtError:
        """Expire a session only at the second call without a login, because an answer at the same time may be changing
        the cookie.
        """
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
        """Recover the session that the page remembers of this user, or create a new one."""
        if self._user_id is None:
            if not settings().anonymous_sessions:
                return AuthRequired()
        else:
            previous = self._recover_previous()
            if previous is not None:
                return previous
        try:
            created = lifecycle.create_session(
                user=self._evidence.user,
                nonce=self._wish.nonce,
                origin=self._tokens.begin_family(self._wish.nonce),
                login=self._login,
                auth_time=self._evidence.auth_time,
                tenant=self._evidence.tenant,
                acting=self._evidence.acting,
                scopes=linking.narrow_scopes(self._evidence, self._wish.scopes),
                device=self._wish.device,
                now=self._now,
                **self._wish.create,
            )
        except SessionMgmtError as error:
            # The end of the kept session remains in effect.
            return error
        return self._answer(CREATED, created.session, created.pair, reason=reason, position=created.position)

    def _recover_previous(self) -> Entered | None:
        """Recover the session that the page remembers of this user, or return ``None``."""
        if self._wish.previous == self._wish.kept:
            return None
        previous = self._lock_session(self._wish.previous)
        return None if previous is None else self._recover(previous, BY_LOGIN)

    def _recover(self, old: ClientSession, proof: str) -> Entered | None:
        """Return the successor of an expired session, if its user is logged in and may inherit it; else ``None``."""
        end = tokens.explain_end(old, now=self._now)
        if end is None or old.state == State.TERMINATED or not self._is_of_login(old) or old.acting:
            return None
        if old.login is not None and old.login.ended_at is not None:
            return None
        user = self._evidence.user
        if self._login is None and not fingerprints.fits(old.auth_fingerprint, fingerprints.list_fingerprints(user)):
            return None
        if user is not None:
            # Bind the successor to the credentials that were proved, and not to those of a moment later.
            old.user = user
        if not self._end_due(old):
            return None
        auth_time = self._find_newer_login(old)
        needs_login = old.activity.absolute_deadline <= self._now or old.end_reason == LOGIN_GONE
        if needs_login and auth_time is None:
            return None
        successor = recovery.find_successor(self._using, old)
        if successor is not None:
            return self._join_successor(old, successor, proof)
        restored = self._make_successor(old, proof, auth_time=auth_time if needs_login else None)
        created = restored.created
        return self._answer(
            RECOVERED, created.session, created.pair, position=created.position, receipt=restored.receipt
        )

    def _end_due(self, old: ClientSession) -> bool:
        """End a session whose time is over if no cleanup has ended it; return whether it can still have a successor."""
        if old.activity.live:
            ending.end_session(self._using, old.pk, State.EXPIRED, ends.TIMEOUT, self._now)
            old.refresh_from_db(using=self._using, fields=["state", "ended_at", "end_reason"])
        return old.ended_at is not None and self._now - old.ended_at <= settings().retention

    def _make_successor(self, old: ClientSession, proof: str, **given: Any) -> recovery.Restored:
        # All tabs that have kept its token derive the same pair from it, no matter which one is first.
        origin = self._tokens.begin_family(self._wish.token if proof == BY_TOKEN else self._wish.nonce)
        facts: dict[str, Any] = {"device": self._wish.device, "nonce": self._wish.nonce, "login": self._login}
        return recovery.make_successor(self._using, old, origin=origin, now=self._now, **facts, **given)

    def _find_newer_login(self, old: ClientSession) -> datetime | None:
        """Return when the user has logged in, if that was after the login of an old session; else ``None``."""
        at = self._evidence.auth_time
        return at if at is not None and at > (old.auth_time or old.created_at) else None

    def _join_successor(self, old: ClientSession, successor: ClientSession, proof: str) -> Entered | None:
        """Go on with the successor that another tab has made, or return ``None``."""
        session = self._lock_session(successor.pk)
        if session is None or not self._is_of_login(session) or tokens.explain_end(session, now=self._now):
            return None
        pair = pairs.tell_first_again(self._using, session, [self._wish.token]) if proof == BY_TOKEN else None
        if pair is None and self._user_id is None:
            return None
        if pair is None:
            pair = self._tokens.renew(session, BY_LOGIN)
        receipt = recovery.describe_successor(self._using, old, session)
        return self._answer(RECOVERED, session, pair, position=_find_head(session), receipt=receipt)

    def _answer(self, verdict: str, session: ClientSession, pair: Pair | None, **more: Any) -> Entered:
        return Entered(verdict, session, pair, login_due_in=self._due_in, **more)


def _find_head(session: ClientSession) -> Position:
    activity = session.activity
    return Position(activity.epoch, activity.event_seq, activity.event_tag)

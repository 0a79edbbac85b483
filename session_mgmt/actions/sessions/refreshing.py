"""Exchange a refresh token for the next pair, once; requests at the same time and repetitions get the same answer.

All changes of a session's tokens lock its activity row, as the end of the session does. Therefore 50 requests at once
leave one chain of tokens, and none of them creates a token for a session that has ended or got a new ``auth_version``
in the meantime.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from session_mgmt.actions import audit, notify
from session_mgmt.actions.sessions import ending, fingerprints, fresh_devices, incidents, logins, pairs, tokens
from session_mgmt.actions.sessions.first_rows import Device
from session_mgmt.actions.sessions.pairs import Origin, Pair
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidToken, LoginCheck, SessionMgmtError, TokenExpired
from session_mgmt.models import ClientSession, Login, SessionActivity, Token, clock
from session_mgmt.models.isolation import open_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.codes import Close

REUSE = "token_reuse"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Answer to a refresh; ``expires_in`` are the seconds for which the access token is still valid.

    Within ``login_due_in`` seconds, a refresh must be made over HTTP, with the page's cookies. ``login_changed`` is
    true if the session has no user, but its browser is logged in now.
    """

    session: uuid.UUID
    pair: Pair
    expires_in: float
    login_due_in: float | None = None
    login_changed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as it is sent to clients, the same over HTTP and over a socket."""
        return {
            "access": self.pair.access.secret,
            "refresh": self.pair.refresh.secret,
            "expires_in": self.expires_in,
            "login_due_in": self.login_due_in,
            "login_changed": self.login_changed,
        }


def refresh_tokens(
    secret: str,
    nonce: str,
    *,
    session: uuid.UUID | None = None,
    evidence: Evidence | None = None,
    device: Device | None = None,
    now: datetime | None = None,
) -> Refreshed:
    """Return the pair that follows a refresh token. ``nonce`` identifies the request, so that it can be repeated.

    With ``session``, the token must belong to that session. ``evidence`` proves the login of the session's browser,
    which must be proved again from time to time; ``device`` is where the request comes from. If a used token comes
    again, and not from a request at the same time or a repetition, it was copied. Raises ``InvalidToken``,
    ``TokenExpired``, ``LoginCheck``, ``SessionEnded`` or ``InvalidField``.
    """
    digest = tokens.hash_token(pairs.check_nonce(nonce))
    try:
        return _refresh(secret, digest, session, evidence, device, now)
    except (InvalidToken, TokenExpired) as error:
        # After the transaction, because a refusal rolls it back.
        incidents.record_refused_refresh(session, error, ip=None if device is None else device.ip, now=now)
        raise


def _refresh(
    secret: str,
    digest: bytes,
    session: uuid.UUID | None,
    evidence: Evidence | None,
    device: Device | None,
    now: datetime | None,
) -> Refreshed:
    using = settings().database
    with open_transaction(using):
        run = _find_run(using, secret, session, evidence, now)
        change = fresh_devices.find_change(run.session, device)
        if change is not None:
            fresh_devices.note_change(change)
        must_enter = change is not None and change.policy == fresh_devices.REAUTH
        found = None if must_enter else run.exchange(digest)
        if found is not None and device is not None and change is not None:
            fresh_devices.keep_device(using, run.session, device)
        if found is None and not must_enter:
            report_reuse(using, run.session, None if device is None else device.ip, run.now)
    # Raise errors only after the commit, because they must not undo an audit entry or the end of the session.
    if must_enter:
        raise LoginCheck()
    if found is None:
        raise InvalidToken()
    return found


def _find_run(
    using: str, secret: str, session: uuid.UUID | None, evidence: Evidence | None, now: datetime | None
) -> Exchange:
    """Find and lock the session of a token; if its login is proved, lock that first. Raises ``InvalidToken``."""
    family = pairs.read_family(secret)
    if family is None:
        raise InvalidToken()
    # Search by family, because an old token of the family may be deleted already.
    mine = Token.objects.using(using).filter(kind=Token.Kind.REFRESH, family=family)
    owner = mine.values_list("session_id", flat=True).first()
    if owner is None or owner != (session or owner):
        raise InvalidToken()
    if evidence is not None and evidence.stamp is not None:
        mine_too = Login.objects.using(using).filter(sessions=owner, digest=evidence.stamp, ended_at=None)
        for login in mine_too.select_for_update(no_key=True, of=("self",)):
            seen = now or clock.read(using)
            Login.objects.using(using).filter(pk=login.pk).update(seen_at=seen, cookie_digest=evidence.cookie)
    activity = SessionActivity.objects.using(using).select_for_update(no_key=True).filter(pk=owner).first()
    if activity is None:
        raise InvalidToken()
    # A separate statement: under the lock it reads the last committed values.
    row = ClientSession.objects.using(using).select_related("user", "login").get(pk=owner)
    row.activity = activity
    return Exchange(using, secret, family, row, now or clock.read(using), evidence)


class Exchange:
    """One exchange of a refresh token, under the lock of its session."""

    def __init__(
        self,
        using: str,
        secret: str,
        family: uuid.UUID,
        session: ClientSession,
        now: datetime,
        evidence: Evidence | None = None,
        *,
        is_login_proved: bool = False,
    ) -> None:
        self._using, self._secret, self._family, self._evidence = using, secret, family, evidence
        self.session, self.now, self._is_login_proved = session, now, is_login_proved

    def exchange(self, nonce: bytes) -> Refreshed | None:
        """Return the next pair, new or repeated; ``None`` if the token was copied."""
        rows = self._list_family()
        digest = tokens.hash_token(self._secret)
        token = next((row for row in rows if bytes(row.digest) == digest), None)
        # Older tokens were all revoked together, so a client that still has one is no thief.
        current = [row for row in rows if row.auth_version == self.session.auth_version and row.revoked_at is None]
        if not current or (token is not None and token not in current):
            raise InvalidToken()
        self._require_standing(token)
        if token is None:
            return None
        if token.used_at is None:
            self._require_login()
            return self._rotate(token, nonce, rows)
        children = list(Token.objects.using(self._using).filter(parent=token))
        if not self._may_ask_again(token, children, nonce):
            return None
        self._require_login()
        return self._answer_again(token, children)

    def _require_login(self) -> None:
        """Check that nobody else is logged in, and that the login was proved recently. Raises ``LoginCheck``."""
        if self._is_login_proved:
            return
        if not self._is_by_same_login():
            raise LoginCheck()
        login = self.session.login
        if login is not None and logins.find_due_in(login, self.now) == 0:
            raise LoginCheck()

    def _is_by_same_login(self) -> bool:
        """Return whether the page's cookies prove the same person as before, or say nothing about this session."""
        session, evidence = self.session, self._evidence
        is_told = evidence is not None and evidence.user is not None
        # A session without a login was created with a header, so a cookie in the request may be anybody's.
        if session.user_id is None or (session.login is None and not session.acting):
            return True
        if evidence is None or not is_told:
            return session.login is not None
        return evidence.user.pk == session.user_id and evidence.acting == session.acting

    def _list_family(self) -> list[Token]:
        mine = Token.objects.using(self._using).filter(family=self._family)
        if tokens.find_kind(self._secret) == Token.Kind.COOKIE:
            return list(mine.filter(session=self.session, kind=Token.Kind.COOKIE))
        return list(mine.filter(kind=Token.Kind.REFRESH))

    def _require_standing(self, token: Token | None) -> None:
        # A cookie that is no longer valid for calls can still be exchanged by a page that also proves the login.
        is_endless = token is None or token.kind == Token.Kind.COOKIE
        error: SessionMgmtError | None = tokens.judge_token(
            is_revoked=False,
            may_act=tokens.may_act(self.session),
            fits=tokens.fits(self.session),
            expires_at=self.now if is_endless or token is None else token.expires_at,
            ended=tokens.explain_end(self.session, now=self.now),
            now=self.now,
        )
        if error is not None and not (is_endless and isinstance(error, TokenExpired)):
            raise tokens.name_session(error, self.session.pk)

    def _rotate(self, token: Token, nonce: bytes, rows: list[Token]) -> Refreshed:
        origin = Origin(self._secret, self._family, token.pk, is_cookie=token.kind == Token.Kind.COOKIE)
        made, pair = pairs.make_pair(origin, self.session, self.session.activity, self.now)
        Statements(connections[self._using]).put(*made)
        changes: dict[str, Any] = {"used_at": self.now, "nonce": nonce}
        if token.kind == Token.Kind.COOKIE:
            # Calls that are on their way still carry it.
            changes["expires_at"] = min(token.expires_at, self.now + settings().refresh_grace)
        Token.objects.using(self._using).filter(pk=token.pk).update(**changes)
        self._forget_older(token, rows)
        self._bind_anew()
        return self._build_answer(pair)

    def _bind_anew(self) -> None:
        """Bind the session with the server's current key, if it was bound with an older key or not at all."""
        fingerprint = fingerprints.make_fingerprint(self.session.user)
        stored = self.session.auth_fingerprint
        if fingerprint is not None and (stored is None or bytes(stored) != fingerprint):
            mine = ClientSession.objects.using(self._using).filter(pk=self.session.pk)
            mine.update(auth_fingerprint=fingerprint)

    def _forget_older(self, token: Token, rows: list[Token]) -> None:
        """Delete the tokens of the family that are older than the token used now and its access token.

        Those of the last seconds are kept, because requests at the same time may still use them. Thus a family has few
        rows, even if it is old.
        """
        over = self.now - settings().refresh_grace
        used = [row.pk for row in rows if row.pk != token.pk and row.used_at is not None and row.used_at <= over]
        mine = Token.objects.using(self._using).filter(session=self.session, family=self._family)
        access = mine.filter(kind=Token.Kind.ACCESS, created_at__lte=over).exclude(parent=token.parent_id)
        mine.filter(pk__in=[*used, *access.values_list("pk", flat=True)]).delete()

    def _may_ask_again(self, token: Token, children: list[Token], nonce: bytes) -> bool:
        assert token.used_at is not None
        if self.now <= token.used_at + settings().refresh_grace:
            return True
        is_same = token.nonce is not None and bytes(token.nonce) == nonce
        return is_same and all(child.used_at is None for child in children)

    def _answer_again(self, token: Token, children: list[Token]) -> Refreshed:
        pair = pairs.tell_again(Origin(self._secret, self._family, token.pk), children)
        if pair is None:
            # The server's key was replaced, so the pair cannot be derived again; nothing was copied.
            raise InvalidToken()
        return self._build_answer(pair)

    def _build_answer(self, pair: Pair) -> Refreshed:
        left = (pair.access.expires_at - self.now).total_seconds()
        session, evidence = self.session, self._evidence
        due_in = None if session.login is None else logins.find_due_in(session.login, self.now)
        changed = session.user_id is None and evidence is not None and evidence.user is not None
        return Refreshed(session.pk, pair, max(round(left, 3), 0.0), due_in, changed)


def report_reuse(using: str, session: ClientSession, ip: str | None, now: datetime) -> None:
    """Revoke the tokens of a session after one was copied, because nobody knows which of the two holders is the owner.

    A browser that is logged in can prove that it is the owner, and goes on with new tokens. Any other session ends.
    """
    if session.login is None or session.login.ended_at is not None:
        ending.end_session(using, session.pk, ClientSession.State.TERMINATED, REUSE, now)
    else:
        raise_auth_version(using, session, now)
    audit.add_entry(audit.REFRESH_REUSED, session=session.pk, ip=ip)


def raise_auth_version(using: str, session: ClientSession, now: datetime) -> None:
    """Revoke all tokens of a session, whose row the caller has locked, and detach the clients that connected
    with them.
    """
    session.auth_version += 1
    ClientSession.objects.using(using).filter(pk=session.pk).update(auth_version=session.auth_version)
    ending.detach_clients(using, [session.pk], Close.LOGIN_CHECK, now)
    # Do not order a close: clients with the new tokens may be connected before the order arrives.
    notify.after_commit(using, orders=notify.order_look([session.pk]))

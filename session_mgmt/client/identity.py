"""Session that a client belongs to. It is settled, with its tokens, before a connection opens."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from session_mgmt.client.backoff import Backoff
from session_mgmt.client.clock import Clock
from session_mgmt.client.credentials import Credentials
from session_mgmt.client.effects import Leave
from session_mgmt.client.entering import Entrance, User
from session_mgmt.client.errors import ClientError, Refused, Unanswered
from session_mgmt.client.refreshing import Refresher
from session_mgmt.client.rest import NOT_OURS, Rest
from session_mgmt.documents.values import Missing
from session_mgmt.protocol.codes import Close

ENTER_ATTEMPTS = 6
# Seconds to wait after tokens were revoked, because an answer that is on its way may be changing the login.
LOGIN_CHECK_WAIT = 2.0
CLAIMED, LOGIN_CHANGED = "claimed", "login_changed"
START, AUTH_REQUIRED = "start", "auth_required"
# Close codes after which the tokens or the session must be checked; nothing is lost yet.
_DOUBTS = (Close.TOKEN_EXPIRED, Close.LOGIN_CHECK, Close.INVALID_TOKEN, Close.SESSION_EXPIRED)
# Close codes after which a token that stands alone is always refused; only a successor session helps.
_OVER = (Close.TOKEN_EXPIRED, Close.SESSION_EXPIRED)


@dataclass(frozen=True, slots=True)
class Change:
    """Answer of the server; `entered` is described in PROTOCOL section 15."""

    entered: Mapping[str, Any]
    is_same_session: bool
    is_same_person: bool


class IdentityPort(Protocol):
    """Calls that `Identity` needs from the shell."""

    def take_change(self, change: Change) -> None:
        """Continue with the new credentials, and store them."""

    def take_session(self, receipt: Mapping[str, Any] | None = None) -> None:
        """Continue in another session, whose token stands alone, and store it."""

    def take_tokens(self) -> None: ...

    def tell_error(self, error: ClientError) -> None: ...

    def name_expired(self) -> str | None:
        """Return the id of the session that the server has called expired, or None."""


class Identity:
    """Session of one client and its credentials. Only one call at a time enters or refreshes."""

    def __init__(
        self,
        credentials: Credentials,
        entrance: Entrance,
        refresher: Refresher,
        rest: Rest,
        clock: Clock,
        port: IdentityPort,
        user: User,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._credentials, self._entrance, self._refresher = credentials, entrance, refresher
        self._rest, self._clock, self._port, self._chance = rest, clock, port, chance
        self._user = user
        # Reason to ask the server before the next connection.
        self._doubt: Leave | None = None
        # True after the server refused the access token as too old, whatever the clock says.
        self._is_token_over = False
        # Token that the last connection began with; None if there was no connection since the session was settled.
        self._used: str | None = None
        self._lock = asyncio.Lock()

    async def begin(self, token: str | None) -> None:
        """Find the session of a client that starts. Raises Refused or Unanswered."""
        if token is not None:
            if self._credentials.join(token):
                self._port.take_session()
        elif self._credentials.token is None:
            await self._enter_patiently()
        elif self._must_ask():
            try:
                await self._enter(START)
            except (Refused, Unanswered) as error:
                if not error.temporary:
                    raise
                # Send nothing of the session before the server has said whose it is.
                self._doubt = Leave(0, START, reconnect=True)

    def use_token(self) -> str:
        """Note the token that a connection begins with, and return it."""
        self._used = self._credentials.token
        return self._used or ""

    def judge(self, leave: Leave) -> Leave:
        """Return how to go on after a connection; remember what must be settled before the next one."""
        is_pair = self._credentials.refresh is not None
        is_doubt = leave.code in _DOUBTS or (leave.code == Close.DETACHED and leave.reason == CLAIMED)
        is_settled = not is_doubt if is_pair else leave.code not in _OVER
        if is_settled or self._used is None:
            return leave
        # If they differ, newer tokens are already here.
        if self._used == self._credentials.token:
            self._is_token_over = is_pair and leave.code == Close.TOKEN_EXPIRED
            self._doubt = None if self._is_token_over else leave
        wait = LOGIN_CHECK_WAIT + self._chance() if leave.code == Close.LOGIN_CHECK else leave.retry_after
        return replace(leave, reconnect=True, retry_after=wait)

    async def settle(self) -> Leave | None:
        """Settle the session and its tokens. Return None if a connection may open, else how to go on. Never raises."""
        async with self._lock:
            self._used = None
            if self._doubt is None and not self._is_refresh_due():
                return None
            try:
                return await self._settle()
            except Unanswered:
                return Leave(0, "network_error", reconnect=True)
            except Refused as error:
                self._port.tell_error(error)
                code = Close.SESSION_TERMINATED if error.name == "session_terminated" else 0
                return Leave(code, error.name, error.temporary, error.retry_after)

    async def renew(self) -> bool:
        """Exchange the tokens of an open connection if they are due; return False if a new connection is necessary.

        Raises Unanswered, or Refused if the refusal is temporary or the session has ended.
        """
        async with self._lock:
            return self._doubt is None and (not self._is_refresh_due() or await self._refresh())

    async def enter_again(self, user: User) -> None:
        """Enter with another login. Raises Refused or Unanswered."""
        async with self._lock:
            self._user = user
            await self._enter("login")

    async def _settle(self) -> Leave | None:
        if self._credentials.refresh is None and self._doubt is not None and self._doubt.code in _OVER:
            return await self._recover(self._doubt)
        if self._doubt is None and await self._refresh():
            return None
        if self._doubt is not None:
            if not self._rest.login.is_given and self._credentials.user_id is not None:
                # Only the tokens proved this user; entering without a login would give up the session.
                name = AUTH_REQUIRED if self._doubt.name == START else self._doubt.name
                return replace(self._doubt, name=name, reconnect=False)
            await self._enter(self._doubt.name)
        return None

    async def _refresh(self) -> bool:
        """Exchange the tokens; return False if the server must be asked which session goes on."""
        try:
            answer = await self._refresher.refresh()
        except Refused as error:
            if error.temporary or error.name == "session_terminated":
                raise
            self._doubt = Leave(0, error.name, reconnect=True)
            return False
        self._credentials.renew(answer)
        self._is_token_over = False
        self._port.take_tokens()
        if answer.get("login_changed"):
            self._doubt = Leave(0, LOGIN_CHANGED, reconnect=True)
        return self._doubt is None

    async def _enter_patiently(self) -> None:
        """Enter without kept credentials. While the server is down or busy, try a limited number of times."""
        backoff = Backoff(attempts=ENTER_ATTEMPTS)
        for attempt in itertools.count():
            try:
                return await self._enter(START)
            except (Refused, Unanswered) as error:
                # There is nothing to lose, so report a wrong URL at once.
                is_stranger = isinstance(error, Refused) and error.name == NOT_OURS
                if not error.temporary or is_stranger or backoff.is_exhausted(attempt):
                    raise
                wait = max(backoff.choose_delay(attempt, self._chance), error.retry_after or 0.0)
            await self._clock.sleep(wait)

    async def _enter(self, reason: str) -> None:
        session, user = self._credentials.session_id, self._credentials.user_id
        entered = await self._entrance.enter(self._user)
        is_same_session = entered["session"]["session_id"] == session
        # A visitor who logs in stays the same person; without an earlier session there is no other person.
        is_same_person = session is None or user in (None, entered["session"].get("user_id"))
        # This client may not know the user of its token, and one user may belong to several tenants: the server knows.
        is_same_person = is_same_person and entered.get("reason") != LOGIN_CHANGED
        self._credentials.enter(entered, is_same_person=is_same_person)
        self._doubt, self._is_token_over = None, False
        answer = {**entered, "reason": entered.get("reason") or reason}
        self._port.take_change(Change(answer, is_same_session, is_same_person))

    async def _recover(self, leave: Leave) -> Leave | None:
        """Enter the successor of a session whose token stands alone. Return None, or how to go on if there is none."""
        # A client that never was connected has only the token; the refusal named its session.
        session = self._port.name_expired() or self._credentials.session_id
        if session is None:
            return replace(leave, reconnect=False)
        try:
            body = await self._rest.recover_session(session)
        except (Refused, Unanswered) as error:
            self._port.tell_error(error)
            return replace(leave, reconnect=error.temporary, retry_after=error.retry_after)
        self._credentials.succeed(body)
        self._doubt = None
        self._port.take_session(body.get("receipt"))
        return None

    def _must_ask(self) -> bool:
        """Return True if the kept session may belong to another user than the one the program runs for."""
        if isinstance(self._user, Missing):
            return self._rest.login.is_given
        is_expected = self._credentials.user_id == (None if self._user is None else str(self._user))
        return not is_expected or (self._rest.login.is_given and not self._credentials.is_fresh())

    def _is_refresh_due(self) -> bool:
        return self._is_token_over or self._credentials.find_due_in() <= 0

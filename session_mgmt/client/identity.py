"""Whose session a client has. Before a connection opens, everything about the session is settled, once for all."""

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
# Seconds after revoked tokens: an answer that is on its way may be changing the login.
LOGIN_CHECK_WAIT = 2.0
CLAIMED, LOGIN_CHANGED = "claimed", "login_changed"
START, AUTH_REQUIRED = "start", "auth_required"
# After these the tokens or the session are others, and nothing is lost yet.
_DOUBTS = (Close.TOKEN_EXPIRED, Close.LOGIN_CHECK, Close.INVALID_TOKEN, Close.SESSION_EXPIRED)
# The same token that stands alone is refused from now on; only a successor helps.
_OVER = (Close.TOKEN_EXPIRED, Close.SESSION_EXPIRED)


@dataclass(frozen=True, slots=True)
class Change:
    """Answer of the server: `entered` as of PROTOCOL section 15."""

    entered: Mapping[str, Any]
    is_same_session: bool
    is_same_person: bool


class IdentityPort(Protocol):
    """Calls that `Identity` needs from the shell."""

    def take_change(self, change: Change) -> None:
        """Go on with what the credentials hold now, and store it."""

    def take_session(self, receipt: Mapping[str, Any] | None = None) -> None:
        """Go on in another session whose token stands alone, and store it."""

    def take_tokens(self) -> None: ...

    def tell_error(self, error: ClientError) -> None: ...

    def name_expired(self) -> str | None:
        """Return the session that the server has said to be expired."""


class Identity:
    """Session of one client, and the proof of it. One call at a time enters or refreshes."""

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
        # Why the server must be asked before the next connection.
        self._doubt: Leave | None = None
        # The server has refused the access token for its age, whatever the clock says.
        self._is_token_over = False
        # Token that the last connection began with; None if there was none since the session was settled.
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
                # Nothing of the session is sent before the server has said whose it is.
                self._doubt = Leave(0, START, reconnect=True)

    def use_token(self) -> str:
        """Note the token that a connection begins with, and return it."""
        self._used = self._credentials.token
        return self._used or ""

    def judge(self, leave: Leave) -> Leave:
        """Return how to go on after a connection; what it tells of the session is settled before the next one."""
        is_pair = self._credentials.refresh is not None
        is_doubt = leave.code in _DOUBTS or (leave.code == Close.DETACHED and leave.reason == CLAIMED)
        is_settled = not is_doubt if is_pair else leave.code not in _OVER
        if is_settled or self._used is None:
            return leave
        # Otherwise newer tokens are here already.
        if self._used == self._credentials.token:
            self._is_token_over = is_pair and leave.code == Close.TOKEN_EXPIRED
            self._doubt = None if self._is_token_over else leave
        wait = LOGIN_CHECK_WAIT + self._chance() if leave.code == Close.LOGIN_CHECK else leave.retry_after
        return replace(leave, reconnect=True, retry_after=wait)

    async def settle(self) -> Leave | None:
        """Make sure of the session and its tokens; None if a connection may open. Raises nothing."""
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
        """Exchange the tokens of an open connection; return False if only a new connection can settle the rest.

        Raises Unanswered, or Refused for a while.
        """
        async with self._lock:
            return self._doubt is None and (not self._is_refresh_due() or await self._refresh())

    async def enter_again(self, user: User) -> None:
        """Enter because another login is used now. Raises Refused or Unanswered."""
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
                # Only its tokens proved this user, and by entering as nobody the session would be given up.
                name = AUTH_REQUIRED if self._doubt.name == START else self._doubt.name
                return replace(self._doubt, name=name, reconnect=False)
            await self._enter(self._doubt.name)
        return None

    async def _refresh(self) -> bool:
        """Exchange the tokens; return False if only the server can tell what goes on."""
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
        """Enter without anything kept; try again while the server is down or busy, but not for ever."""
        backoff = Backoff(attempts=ENTER_ATTEMPTS)
        for attempt in itertools.count():
            try:
                return await self._enter(START)
            except (Refused, Unanswered) as error:
                # With nothing to lose, a wrong address is told at once.
                is_stranger = isinstance(error, Refused) and error.name == NOT_OURS
                if not error.temporary or is_stranger or backoff.is_exhausted(attempt):
                    raise
                wait = max(backoff.choose_delay(attempt, self._chance), error.retry_after or 0.0)
            await self._clock.sleep(wait)

    async def _enter(self, reason: str) -> None:
        session, user = self._credentials.session_id, self._credentials.user_id
        entered = await self._entrance.enter(self._user)
        is_same_session = entered["session"]["session_id"] == session
        # A visitor may have logged in, and an earlier session of the same program is nobody's else.
        is_same_person = session is None or user in (None, entered["session"].get("user_id"))
        # Of a token that stood alone nobody may have known the person; of a person there may be several tenants.
        is_same_person = is_same_person and entered.get("reason") != LOGIN_CHANGED
        self._credentials.enter(entered, is_same_person=is_same_person)
        self._doubt, self._is_token_over = None, False
        told = {**entered, "reason": entered.get("reason") or reason}
        self._port.take_change(Change(told, is_same_session, is_same_person))

    async def _recover(self, leave: Leave) -> Leave | None:
        """Enter the successor of a session whose token stands alone; return how to go on without one."""
        # A client that never was connected knows the token of its session, and the name from the refusal.
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
        """Return True if nothing tells that the kept session is of the user whom the program runs for."""
        if isinstance(self._user, Missing):
            return self._rest.login.is_given
        is_expected = self._credentials.user_id == (None if self._user is None else str(self._user))
        return not is_expected or (self._rest.login.is_given and not self._credentials.is_fresh())

    def _is_refresh_due(self) -> bool:
        return self._is_token_over or self._credentials.find_due_in() <= 0

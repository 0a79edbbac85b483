"""Request that decides in which session a program continues (PROTOCOL section 15)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from session_mgmt.client.clock import Clock
from session_mgmt.client.credentials import Credentials
from session_mgmt.client.errors import Refused
from session_mgmt.client.rest import Rest
from session_mgmt.documents.values import MISSING, Missing

Choice = Literal["claim", "fresh"]
OnAsk = Callable[[list[dict[str, Any]]], Choice | Awaitable[Choice]]
User = str | int | Missing | None
# Seconds to wait, because the answer to another request may be changing the login.
MISSING_AGAIN = 3.0
_TAKEN_FOR_PAGE = "The server takes this program for a page, and keeps the token in a cookie: send no headers of one."


@dataclass(frozen=True, slots=True)
class Wishes:
    """Wishes of a program about the session that it enters.

    `user` is the user that the program runs for, MISSING for any; `create` describes the session if a new one is made.
    """

    user: User = MISSING
    create: Mapping[str, Any] = field(default_factory=dict)
    on_ask: OnAsk | None = None


class Entrance:
    """Requests to enter a session with the kept credentials. The caller stores the answer."""

    def __init__(self, rest: Rest, credentials: Credentials, clock: Clock, wishes: Wishes) -> None:
        self._rest, self._credentials, self._clock, self._wishes = rest, credentials, clock, wishes

    async def enter(self, user: User) -> dict[str, Any]:
        """Return the server's answer. Raises Refused or Unanswered."""
        answer = await self._ask(user, {})
        if answer["verdict"] == "ask":
            choice = await self._choose(answer.get("documents") or [])
            answer = await self._ask(user, {"choice": choice})
        if answer.get("access") is None and answer["session"]["session_id"] != self._credentials.session_id:
            # The server takes the program for a page, because it sends the headers of one.
            raise Refused({"name": "invalid_answer", "message": _TAKEN_FOR_PAGE})
        return answer

    async def _ask(self, user: User, more: Mapping[str, Any]) -> dict[str, Any]:
        has_other_nonce = False
        while True:
            try:
                return await self._rest.call_openly(
                    "sessions/enter/", {**self._describe(user), **more}, "session", with_auth=True
                )
            except Refused as error:
                if error.name == "login_missing":
                    await self._clock.sleep(error.retry_after or MISSING_AGAIN)
                elif error.name == "invalid_field" and error.facts.get("field") == "nonce" and not has_other_nonce:
                    # The nonce belongs to a request that was answered long ago, or to another client's.
                    self._credentials.end_request()
                    has_other_nonce = True
                else:
                    raise

    def _describe(self, user: User) -> dict[str, Any]:
        expected = {} if isinstance(user, Missing) else {"user": None if user is None else str(user)}
        return {
            "nonce": self._credentials.begin_request(),
            "kept": self._credentials.describe_kept(),
            "previous": self._credentials.previous,
            "create": dict(self._wishes.create),
            **expected,
        }

    async def _choose(self, documents: list[dict[str, Any]]) -> Choice:
        if self._wishes.on_ask is None:
            return "fresh"
        choice = self._wishes.on_ask(documents)
        return await choice if inspect.isawaitable(choice) else choice

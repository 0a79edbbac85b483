"""Exchange of tokens for new ones (PROTOCOL section 14)."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from session_mgmt.client.credentials import Credentials
from session_mgmt.client.errors import Refused
from session_mgmt.client.rest import Rest

AskSocket = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]


class Refresher:
    """Exchange of tokens over the open socket, otherwise over HTTP.

    `ask_socket` returns the reply, or None if there is no connection or no answer; it raises Refused.
    """

    def __init__(self, rest: Rest, credentials: Credentials, ask_socket: AskSocket) -> None:
        self._rest, self._credentials, self._ask_socket = rest, credentials, ask_socket

    async def refresh(self) -> dict[str, Any]:
        """Return the answer of the exchange; the caller stores the tokens. Raises Refused or Unanswered."""
        exchange = {"token": self._credentials.refresh, "nonce": self._credentials.begin_request()}
        if not self._credentials.is_login_due():
            # If the answer is lost, ask again below: the same exchange gets the same answer.
            reply = await self._ask_socket({"type": "refresh", **exchange})
            if reply is not None:
                return reply
        answer = await self._rest.call_openly("tokens/refresh/", exchange, "access", with_auth=False)
        # The open connection needs the new token too; without it, it ends when the old token does.
        with contextlib.suppress(Refused):
            await self._ask_socket({"type": "refresh", **exchange})
        return answer

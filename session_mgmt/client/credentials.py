"""Session of a client: the token, and the address of its socket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from session_mgmt.client.backoff import Backoff
from session_mgmt.client.errors import Refused, Unanswered
from session_mgmt.client.rest import Rest
from session_mgmt.client.storage import Saved
from session_mgmt.client.writing import SESSION_LOG, STATE

WEBSOCKET_PATH = "/ws/session/"
CREATE_ATTEMPTS = 6


class Credentials:
    """Session that the storage holds; `obtain` makes sure that there is one."""

    def __init__(
        self, saved: Saved, rest: Rest, base: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._saved, self._rest, self._base = saved, rest, base
        self._sleep = sleep

    @property
    def token(self) -> str | None:
        return self._saved.token

    @property
    def websocket_url(self) -> str:
        """Address of the socket, built from the address of the REST API."""
        return build_websocket_url(self._base, self._saved.websocket or WEBSOCKET_PATH)

    async def obtain(self, token: str | None, create: Mapping[str, Any]) -> None:
        """Join the session of `token`, else keep the stored one, else create one. Raises Refused or Unanswered."""
        # Another session, which does not know the old client by its name.
        if token is not None and token != self._saved.token:
            self._saved.token, self._saved.session_id, self._saved.client_id = token, None, None
        if self._saved.token is None:
            await self._create_session(create)
        self._saved.websocket = self._saved.websocket or WEBSOCKET_PATH

    async def _create_session(self, create: Mapping[str, Any]) -> None:
        self._enter_session(await self._ask_for_session(create))

    async def recover(self, session: str) -> dict[str, Any] | None:
        """Enter the successor of an expired session; return the receipt. Raises Refused or Unanswered."""
        body = await self._ask_for_successor(f"sessions/{session}/recover/")
        # The successor has a log of its own; the positions in topics go on.
        self._saved.positions.pop(SESSION_LOG, None)
        self._enter_session(body)
        return body.get("receipt")

    def _enter_session(self, body: Mapping[str, Any]) -> None:
        self._saved.token, self._saved.client_id = body["token"], None
        self._saved.session_id = (body.get("session") or {}).get("session_id")
        self._saved.websocket = (body.get("endpoints") or {}).get("websocket")
        for log, place in (body.get("positions") or {}).items():
            # Copies of documents are not stored, so that a position in one would promise what is not there.
            if not log.startswith(STATE):
                self._saved.positions[log] = place

    async def _ask_for_successor(self, path: str) -> dict[str, Any]:
        try:
            body = await self._rest.call("POST", path, {})
        except ValueError:
            body = None
        if not isinstance(body, dict) or "token" not in body:
            # A login page or another application answered in place of the server.
            raise Refused({"name": "invalid_answer", "message": f"{path} makes no successor."})
        return body

    async def _ask_for_session(self, create: Mapping[str, Any]) -> dict[str, Any]:
        """Create a session; try again while the server is down or busy, but not for ever."""
        backoff = Backoff(attempts=CREATE_ATTEMPTS)
        for attempt in itertools.count():
            try:
                return await self._rest.create_session(create)
            except (Refused, Unanswered) as error:
                if not error.temporary or backoff.is_exhausted(attempt):
                    raise
                wait = max(backoff.choose_delay(attempt), error.retry_after or 0.0)
            await self._sleep(wait)
        raise AssertionError("the loop has no end")


def build_websocket_url(base: str, path: str) -> str:
    """Return the address of the socket for a REST API at `base`."""
    parts = urlsplit(urljoin(base, path))
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme))

"""Calls to the REST API (PROTOCOL section 13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx

from session_mgmt.client.errors import Refused, Unanswered
from session_mgmt.protocol.position import Position


class Rest:
    """REST API of one server; `token` returns the session's secret for every call."""

    def __init__(self, http: httpx.AsyncClient, base: str, token: Callable[[], str | None]) -> None:
        self._http, self._base, self._token = http, base, token

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON of the answer, None without a body. Raises Refused or Unanswered."""
        sent = {**(headers or {}), "authorization": f"Bearer {self._token()}"}
        try:
            answer = await self._http.request(method, urljoin(self._base, path), json=body, headers=sent)
        except httpx.HTTPError as error:
            raise Unanswered(str(error) or type(error).__name__) from error
        if answer.is_error:
            raise Refused(_read_error(answer))
        return answer.json() if answer.content else None

    async def create_session(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a session by the project's own authentication. Raises Refused or Unanswered."""
        try:
            answer = await self._http.post(urljoin(self._base, "sessions/"), json=body)
        except httpx.HTTPError as error:
            raise Unanswered(str(error) or type(error).__name__) from error
        if not answer.is_success:
            raise Refused(_read_error(answer))
        try:
            created = answer.json()
        except ValueError:
            created = None
        if not isinstance(created, dict) or "token" not in created:
            # A login page or another application answered in place of the server.
            raise Refused({"name": "invalid_answer", "message": f"{answer.url} does not create sessions."})
        return created

    async def fetch_document(self, url: str) -> tuple[Position, Any]:
        """Fetch a document that was too large for a frame, with its position.

        Raises httpx.HTTPError, KeyError or ValueError.
        """
        answer = await self._http.get(urljoin(self._base, url), headers={"authorization": f"Bearer {self._token()}"})
        answer.raise_for_status()
        epoch, version, tag = answer.headers["etag"].strip('"').split(".")
        body = answer.json()
        data = body["data"] if isinstance(body, dict) and "data" in body and "version" in body else body
        return Position(epoch, int(version), tag), data


def _read_error(answer: httpx.Response) -> Mapping[str, Any]:
    """Return the server's own error, or one made of the status if a proxy has answered in its place."""
    try:
        error = answer.json()
    except ValueError:
        error = None
    if isinstance(error, dict) and "name" in error:
        return error
    return {"name": f"http_{answer.status_code}", "temporary": answer.is_server_error or answer.status_code == 429}

"""Calls to the REST side (PROTOCOL section 13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx

from session_mgmt.client.errors import Refused, Unanswered
from session_mgmt.protocol.position import Position


class Rest:
    """`token` gives the session's secret, which goes with every call."""

    def __init__(self, http: httpx.AsyncClient, base: str, token: Callable[[], str | None]) -> None:
        self._http, self._base, self._token = http, base, token

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """The answer's JSON, None without one. Raises Refused or Unanswered."""
        sent = {**(headers or {}), "authorization": f"Bearer {self._token()}"}
        try:
            answer = await self._http.request(method, urljoin(self._base, path), json=body, headers=sent)
        except httpx.HTTPError as error:
            raise Unanswered(str(error)) from error
        if answer.is_error:
            raise Refused(_error_of(answer))
        return answer.json() if answer.content else None

    async def create(self) -> dict[str, Any]:
        """Make a session, by the project's own authentication. Raises Refused, and httpx.HTTPError for everything
        else.
        """
        answer = await self._http.post(urljoin(self._base, "sessions/"), json={})
        body: dict[str, Any] = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        if answer.is_client_error and "name" in body:
            raise Refused(body)
        answer.raise_for_status()
        return body

    async def document(self, url: str) -> tuple[Position, Any]:
        """A document that was too large for a frame, and where it stands. Raises httpx.HTTPError, KeyError or
        ValueError.
        """
        answer = await self._http.get(urljoin(self._base, url), headers={"authorization": f"Bearer {self._token()}"})
        answer.raise_for_status()
        epoch, version, tag = answer.headers["etag"].strip('"').split(".")
        body = answer.json()
        data = body["data"] if isinstance(body, dict) and "data" in body and "version" in body else body
        return Position(epoch, int(version), tag), data


def _error_of(answer: httpx.Response) -> Mapping[str, Any]:
    """The server's own error; of a proxy that answers in its place, what its status says."""
    try:
        told = answer.json()
    except ValueError:
        told = None
    if isinstance(told, dict) and "name" in told:
        return told
    return {"name": f"http_{answer.status_code}", "temporary": answer.is_server_error or answer.status_code == 429}

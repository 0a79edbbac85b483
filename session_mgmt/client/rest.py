"""Calls to the REST API (PROTOCOL section 13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import httpx

from session_mgmt.client.errors import Refused, Stopped, Unanswered
from session_mgmt.protocol.position import Position

Headers = Mapping[str, str]
OPEN_SECONDS = 15.0
# Seconds until the next attempt after something else has answered, such as the portal of a public network.
PORTAL_WAIT = 15.0
NOT_OURS = "not_our_server"
CHECK_VERSION = "check `url`, and whether client and server fit together."


@dataclass(frozen=True, slots=True)
class Login:
    """The project's own login of this program: headers of every request, or an httpx `auth`."""

    headers: Headers = field(default_factory=dict, repr=False)
    auth: httpx.Auth | None = field(default=None, repr=False)

    @property
    def is_given(self) -> bool:
        return bool(self.headers) or self.auth is not None


class Rest:
    """REST API of one server; `token` returns the present token of the session."""

    def __init__(
        self, http: httpx.AsyncClient, base: str, token: Callable[[], str | None], login: Login | None = None
    ) -> None:
        self._http, self._base, self._token = http, base, token
        self.login = login or Login()

    async def call(self, method: str, path: str, body: Any = None, headers: Headers | None = None) -> Any:
        """Call with the session's token; return the JSON of the answer, None without a body.

        Raises Refused or Unanswered.
        """
        answer = await self._send(method, path, body, self._add_token(headers))
        return _read_json(answer) if answer.content else None

    async def call_openly(self, path: str, body: Mapping[str, Any], member: str, *, with_auth: bool) -> dict[str, Any]:
        """Post without a token of a session; the answer must contain `member`. Raises Refused or Unanswered.

        If `with_auth`, the project's own `auth` signs the request.
        """
        auth = self.login.auth if with_auth else None
        answer = await self._send("POST", path, body, httpx.Headers(dict(self.login.headers)), auth)
        return _read_answer(answer, member)

    async def recover_session(self, session: str) -> dict[str, Any]:
        """Ask for the successor of an expired session, with its token. Raises Refused or Unanswered."""
        answer = await self._send("POST", f"sessions/{session}/recover/", {}, self._add_token(None))
        return _read_answer(answer, "token")

    async def fetch_document(self, url: str) -> tuple[Position, Any]:
        """Fetch a document that was too large for a frame, with its position.

        Raises httpx.HTTPError, KeyError or ValueError.
        """
        answer = await self._http.get(urljoin(self._base, url), headers=self._add_token(None))
        answer.raise_for_status()
        epoch, version, tag = answer.headers["etag"].strip('"').split(".")
        body = answer.json()
        data = body["data"] if isinstance(body, dict) and "data" in body and "version" in body else body
        return Position(epoch, int(version), tag), data

    @property
    def token(self) -> str | None:
        """Present token of the session."""
        return self._token()

    def open_call(
        self, path: str, text: str, accept: str, patience: float | None, token: str | None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Post a JSON text with a token; yield the answer before its body is read, with any status. Raises
        httpx.HTTPError.

        `patience` is the longest time without new data, in seconds; None waits without a limit.
        """
        proof = {"authorization": f"Bearer {token}"}
        headers = self._add_token({"content-type": "application/json", "accept": accept, **proof})
        wait = httpx.Timeout(OPEN_SECONDS, read=patience)
        return self._http.stream(
            "POST", urljoin(self._base, path), content=text.encode(), headers=headers, timeout=wait
        )

    def _add_token(self, headers: Headers | None) -> httpx.Headers:
        # Headers of httpx, because they ignore upper and lower case in names.
        sent = httpx.Headers(dict(self.login.headers))
        sent["authorization"] = f"Bearer {self._token()}"
        sent.update(dict(headers or {}))
        return sent

    async def _send(
        self, method: str, path: str, body: Any, headers: httpx.Headers, auth: httpx.Auth | None = None
    ) -> httpx.Response:
        if self._http.is_closed:
            raise Stopped(1000, "closed")
        try:
            answer = await self._http.request(method, urljoin(self._base, path), json=body, headers=headers, auth=auth)
        except httpx.HTTPError as error:
            raise Unanswered(_describe_silence(method, urljoin(self._base, path), error)) from error
        if not answer.is_success:
            raise Refused(_read_error(answer))
        return answer


def _read_answer(answer: httpx.Response, member: str) -> dict[str, Any]:
    body = _read_json(answer)
    if not isinstance(body, dict) or member not in body:
        raise Refused({"name": "invalid_answer", "message": f"{answer.url} gives no {member}: {CHECK_VERSION}"})
    return body


def _read_json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise Refused(_describe_stranger(answer)) from error


def _read_error(answer: httpx.Response) -> Mapping[str, Any]:
    """Return the server's own error, or an error for the status if something else has answered."""
    try:
        error = answer.json()
    except ValueError:
        error = None
    # Redirects are not followed, because another address must not receive the session's token.
    if answer.is_error and isinstance(error, dict) and "name" in error:
        return error
    if answer.is_server_error or answer.status_code == 429:
        message = f"{answer.url} answered {answer.status_code}: try again later."
        return {"name": f"http_{answer.status_code}", "message": message, "temporary": True}
    return _describe_stranger(answer)


def _describe_silence(method: str, url: str, error: httpx.HTTPError) -> str:
    return f"No answer to {method} {url} ({str(error) or type(error).__name__}): try again, it may have taken effect."


def _describe_stranger(answer: httpx.Response) -> Mapping[str, Any]:
    """Return the error of an answer that is not from our server, so nothing that is kept may be given up."""
    found = f"A portal or another site answers at {answer.url} ({answer.status_code}), not session_mgmt"
    message = f"{found}: log into the network, or mend `url`."
    return {"name": NOT_OURS, "message": message, "temporary": True, "retry_after": PORTAL_WAIT}

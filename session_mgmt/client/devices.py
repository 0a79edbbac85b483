"""Devices of a user, and tokens with fewer rights than their session (PROTOCOL sections 13 and 14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from session_mgmt.client.answers import build_answer
from session_mgmt.client.checking import encode_part
from session_mgmt.client.rest import Rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Session as its user sees it. `place` is empty if the project knows none; `is_current` marks this client's own."""

    session_id: str
    label: str
    browser: str
    system: str
    place: str
    first_seen: str
    last_seen: str
    connection_state: str
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowedToken:
    """Token with only these scopes. It lives for `expires_in` seconds from now, and cannot be refreshed."""

    token: str = field(repr=False)
    expires_in: float
    scopes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFigures:
    """Connection as the server stores it: latencies in milliseconds, the other figures as of the last flush."""

    client_id: str
    generation: int
    transport: str
    state: str
    opened_at: str
    closed_at: str | None
    close_code: int | None
    closed_by: str
    latency: dict[str, float | None]
    beats: dict[str, int]
    messages: dict[str, int]
    bytes: dict[str, int]
    recovery: str | None


Devices: TypeAlias = list[Device]
Connections: TypeAlias = list[ConnectionFigures]


class Sessions:
    """Other sessions of the same user. All calls raise Refused or Unanswered."""

    def __init__(self, rest: Rest, find_own: Callable[[], str]) -> None:
        self._rest, self._find_own = rest, find_own

    async def list(self) -> Devices:
        """List the user's devices: this one first, then those seen most recently."""
        found = await self._rest.call("GET", "devices/")
        return [build_answer(Device, device) for device in found["results"]]

    async def get_connections(self, session_id: str | None = None) -> Connections:
        """List the newest 100 connections of a session, by default of the client's own session."""
        id_ = encode_part(session_id or self._find_own(), "The id of a session")
        found = await self._rest.call("GET", f"sessions/{id_}/connections/")
        return [build_answer(ConnectionFigures, row) for row in found["results"]]

    async def end(self, session_id: str) -> None:
        """Log a device out: end its session and its login. Refused (`reauth_required`) if this client's login is too
        old.
        """
        await self._rest.call("DELETE", f"devices/{encode_part(session_id, 'The id of a session')}/")

    async def end_others(self) -> int:
        """Log out all other devices of the user; return their number."""
        return int((await self._rest.call("DELETE", "devices/"))["ended"])

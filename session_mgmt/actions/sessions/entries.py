"""Request of a page that enters, and its answer."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from session_mgmt.actions.sessions.first_rows import Device
from session_mgmt.actions.sessions.pairs import Pair
from session_mgmt.models import ClientSession
from session_mgmt.protocol.position import Position

CREATED, CONTINUED, RECOVERED, CLAIMED, ASK = "created", "continued", "recovered", "claimed", "ask"


@dataclass(frozen=True, slots=True)
class Wish:
    """Session that a page has kept, and its requests in case a session is created. ``nonce`` identifies the request.

    With ``by_cookie``, its tokens are kept in a cookie.
    """

    nonce: str = field(repr=False)
    kept: uuid.UUID | None = None
    token: str = field(default="", repr=False)
    previous: uuid.UUID | None = None
    choice: str | None = None
    by_cookie: bool = False
    create: dict[str, Any] = field(default_factory=dict)
    device: Device | None = None
    scopes: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Entered:
    """Session for the page. Without a ``pair``, the client's own tokens are still valid."""

    verdict: str
    session: ClientSession
    pair: Pair | None = None
    reason: str = ""
    position: Position | None = None
    receipt: dict[str, Any] | None = None
    login_due_in: float | None = None
    documents: list[dict[str, Any]] | None = None

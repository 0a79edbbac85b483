"""Connecting of clients as values: the request of a client, its attachment, and the result of a group."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from session_mgmt.actions import notify
from session_mgmt.actions.clients import Attached
from session_mgmt.actions.notify import EmittedEvent
from session_mgmt.actions.sessions.connections import WEBSOCKET
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.actions.sessions.permits import Holder
from session_mgmt.actions.sessions.proving import LiveSession
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models.identifiers import new_client_id
from session_mgmt.protocol.calls import NONE
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.scopes import Restriction


@dataclass(frozen=True, slots=True)
class Ask:
    """Request of one client to be connected.

    ``granted`` are the topics that the application allows; any other topic is denied, with its error in ``denied`` if
    there is one. ``asked_version`` is the version of the permissions for which the application was asked. ``new_id`` is
    the id for a client that has none yet. It is made outside the transaction: if it is unknown whether the transaction
    was committed, it is run again, and finds its own client.
    """

    connect: Connect
    server: str
    granted: frozenset[str] = frozenset()
    denied: dict[str, SessionMgmtError] = field(default_factory=dict)
    transport: str = WEBSOCKET
    asked_version: int | None = None
    new_id: str = ""

    def __post_init__(self) -> None:
        if self.connect.client_id is None:
            object.__setattr__(self, "new_id", new_client_id())

    @property
    def connects(self) -> bool:
        """Return whether the client will be connected, or will only write and ask."""
        return self.transport != NONE

    @property
    def client_id(self) -> str:
        """Return the public id of the client, known or new."""
        return self.connect.client_id if self.connect.client_id is not None else self.new_id


# Longest time between the check of a call, or an attachment, and the start of its service.
LONGEST_WAY = timedelta(seconds=30)


# Not frozen, because that costs half a microsecond for each field, and there are twenty.
@dataclass(slots=True)
class Attachment:
    """Attached client with all facts for its connection; ``connection`` is 0 if it only writes and asks.

    ``missed`` are the entries of the session's own log between the client's position and the head, if they were read.
    """

    session: LiveSession
    client: int
    client_id: str
    generation: int
    connection: int
    last_seq: int
    went_back: bool
    is_new: bool
    logs: dict[str, Log]
    denied: dict[str, SessionMgmtError]
    at: datetime
    auth_version: int
    mark: bytes
    token_expires_at: datetime
    restriction: Restriction | None = None
    subscriptions: list[str] = field(default_factory=list)
    missed: list[Entry] = field(default_factory=list)
    queries: int = 0

    @property
    def claim(self) -> Attached:
        """Return the claim that requests of this connection carry."""
        return Attached(self.client, self.generation)

    @property
    def holder(self) -> Holder:
        """Return the holder for permits of this attachment."""
        return Holder(self.session.pk, self.client, self.generation, self.session.access_version)

    def is_overtaken_by(self, other: Attachment) -> bool:
        """Return whether the client has attached again since this was read.

        If ``other`` is much older, its higher generation was lost when a backup was restored, and does not count.
        """
        return self.generation < other.generation and self.at < other.at + LONGEST_WAY


@dataclass(frozen=True, slots=True)
class Held:
    """Result for a member that has no answer yet, because another transaction has locked one of its rows."""


HELD = Held()
# A refusal is a ``SessionMgmtError``; the lane adds errors of its own.
Result: TypeAlias = Attachment | Exception | Held


@dataclass(slots=True)
class AttachedGroup:
    """Result of one transaction: an answer for each member, and notifications to send after the commit."""

    results: list[Result]
    heads: dict[str, int] = field(default_factory=dict)
    events: list[EmittedEvent] = field(default_factory=list)
    replaced: list[tuple[int, int]] = field(default_factory=list)

    def ring(self) -> None:
        """Notify processes that serve the logs, and those that may still serve older connections of these clients."""
        notify.ring_attached(self.heads, self.replaced)

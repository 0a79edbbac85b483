"""Effects that the core yields. The shell performs them in this order, and adds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from session_mgmt.protocol.codes import CLIENT_OUT_OF_ORDER


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame; without a connection the shell drops it."""

    frame: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StorePosition:
    """Store a position before its entry is delivered (PROTOCOL section 4); documents have no stored position."""

    log: str
    position: list[Any]


class Place(NamedTuple):
    """Place of a publication in its topic; an ephemeral one has none.

    `live` is False for a publication from before the server followed the topic on this connection.
    """

    epoch: str | None
    offset: int | None
    tag: str | None
    live: bool


NOWHERE = Place(None, None, None, live=True)


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give an entry of a topic or of the session's log to the application."""

    log: str
    body: Any
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Changed:
    """New value of a document as the application sees it."""

    doc: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Settle:
    """Final answer to a numbered write: its receipt, `ok` or not."""

    seq: int
    receipt: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Abandon:
    """Write that will never be answered."""

    frame: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Following:
    """Answer to following a log: its verdict, or `denied` with the error."""

    log: str
    verdict: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Emit:
    """Event for the application's listeners."""

    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch a document that is too large for a frame, with the token, and pass it to `Core.apply_fetched`."""

    log: str
    url: str


@dataclass(frozen=True, slots=True)
class ResendAfter:
    """Call `Core.resend_writes` after some seconds, unless a call is planned already."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Close the connection. Reconnect after `retry_after` seconds (None: as the backoff says), or not at all.

    `reason` is the reason that the server gave, or empty.
    """

    code: int
    name: str
    reconnect: bool
    retry_after: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FollowAfter:
    """Call `Core.follow_again` after `seconds`, or at random up to twice as late."""

    log: str
    seconds: float


OUT_OF_ORDER = Leave(CLIENT_OUT_OF_ORDER, "out_of_order", reconnect=True)

Effect: TypeAlias = (
    Send
    | StorePosition
    | Deliver
    | Changed
    | Settle
    | Abandon
    | Following
    | FollowAfter
    | Emit
    | Fetch
    | ResendAfter
    | Leave
)

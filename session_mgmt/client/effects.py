"""What the core asks its shell to do. The shell does it in the order given, and adds nothing of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Send:
    """Write a frame to the connection; harmless to leave out when there is none."""

    frame: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Advance:
    """Store a place before the entry there is handed over (PROTOCOL section 4); documents have no stored place."""

    log: str
    position: list[Any]


@dataclass(frozen=True, slots=True)
class Hand:
    """Give an entry of a topic or of the session's log to the application."""

    log: str
    body: Any


@dataclass(frozen=True, slots=True)
class Changed:
    """A document as the application sees it has a new value."""

    doc: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Settle:
    """The final answer to a numbered write: its receipt, `ok` or not."""

    seq: int
    receipt: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Abandon:
    """A write that nobody will answer any more."""

    frame: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Following:
    """The answer to wanting a log: its verdict, or `denied` with the error."""

    log: str
    verdict: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tell:
    """An event for whoever listens."""

    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a document that is too large for a frame, with the bearer token, and pass it to `Core.fetched`."""

    log: str
    url: str


@dataclass(frozen=True, slots=True)
class ResendAfter:
    """Call `Core.resend` in so many seconds; one that is planned already is enough."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Close the connection; come back after `retry_after` seconds (None: by backoff), or stay away."""

    code: int
    name: str
    reconnect: bool
    retry_after: float | None = None


Effect: TypeAlias = Send | Advance | Hand | Changed | Settle | Abandon | Following | Tell | Fetch | ResendAfter | Leave

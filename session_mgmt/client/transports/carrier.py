"""Interface of carriers, which carry the frames of a client. The link sees no other difference of transports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from session_mgmt.client.clock import Clock
from session_mgmt.client.core import Core
from session_mgmt.client.effects import Leave
from session_mgmt.client.rest import Rest
from session_mgmt.protocol.codes import CLIENT_HEARTBEAT_LOST, CLIENT_OUT_OF_ORDER, Close, may_reconnect, name_code

TransportName: TypeAlias = Literal["websocket", "sse", "longpoll"]
Frame: TypeAlias = dict[str, Any]

LOST = Leave(1006, "connection_lost", reconnect=True)
UNREADABLE = Leave(CLIENT_OUT_OF_ORDER, "unreadable_frame", reconnect=True)
SILENCE = Leave(CLIENT_HEARTBEAT_LOST, "heartbeat_lost", reconnect=True)
# Not an end: the carrier has given its attachment up, and needs the next `connect`.
SWITCH = Leave(0, "switch", reconnect=True)
# Close codes of servers that restart or have no room, so the network is not the reason.
_TRY_LATER = frozenset({Close.SERVICE_RESTART.value, 1013})


def build_close(code: int, name: str = "") -> Leave:
    """Return how to go on after a close code."""
    return Leave(code, name or name_code(code), may_reconnect(code))


def is_lost(leave: Leave) -> bool:
    """Return True for an end that did not come from the server, but from the network or something in it."""
    return leave.code < 4000 and leave.code not in _TRY_LATER


@dataclass(frozen=True, slots=True)
class Address:
    """Target of a WebSocket, with the headers of its handshake."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Host:
    """Parts of a client that its transports use. `core` knows the positions in the logs.

    A transport that watches and measures itself calls `tell_missed` with the number of missed signs of life in a row,
    and `tell_round_trip` with milliseconds.
    """

    core: Core
    rest: Rest
    clock: Clock
    find_address: Callable[[], Address]
    tell_missed: Callable[[int], None]
    tell_round_trip: Callable[[float], None]


@dataclass(slots=True)
class Traffic:
    """Counters of one carrier since they were last read."""

    frames_received: int = 0
    frames_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0

    def note_received(self, size: int) -> None:
        self.frames_received += 1
        self.bytes_received += size

    def note_sent(self, size: int) -> None:
        self.frames_sent += 1
        self.bytes_sent += size

    def move_to(self, other: Any) -> None:
        """Add the counters to those of the same name in `other` and reset them, so that nothing is added twice."""
        for name in ("frames_received", "frames_sent", "bytes_received", "bytes_sent"):
            setattr(other, name, getattr(other, name) + getattr(self, name))
            setattr(self, name, 0)


class Carrier(Protocol):
    """Carrier of one attachment, or of several that follow each other directly."""

    @property
    def name(self) -> TransportName:
        """Transport of the present attachment."""

    @property
    def has_beats(self) -> bool:
        """True if the server's beats are the sign of life; otherwise the carrier watches the connection itself."""

    @property
    def traffic(self) -> Traffic: ...

    async def open(self) -> Leave | None:
        """Prepare for `connect`; return None, or the reason why that is impossible. Raises nothing."""

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        """Send a frame after all earlier ones, without waiting."""

    async def receive_frame(self, patience: float | None) -> Frame | Leave:
        """Return the next frame, SILENCE after `patience` seconds without one, SWITCH, or the end.

        To ask for a frame means that the frame before it was handled.
        """

    async def close(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        """Close with a code, after waiting frames and the `last` one; `receive_frame` then returns the end."""

    async def abandon(self) -> None:
        """Drop everything without a message to the server. Nothing is received after that."""


class Interruptible(Carrier, Protocol):
    """Carrier whose wait can be interrupted."""

    def interrupt(self, leave: Leave) -> None:
        """End the attachment with `leave`, after the frames that have already arrived."""

"""Interface of whatever carries the frames of a client. The link knows no other difference between transports."""

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
# Not an end: the carrier has let go of its attachment, and wants the next `connect`.
SWITCH = Leave(0, "switch", reconnect=True)
# Said by servers that restart or have no room, and so no fault of the way to them.
_TRY_LATER = frozenset({Close.SERVICE_RESTART.value, 1013})


def build_close(code: int, name: str = "") -> Leave:
    """Return how to go on after a close code."""
    return Leave(code, name or name_code(code), may_reconnect(code))


def is_lost(leave: Leave) -> bool:
    """Return True for an end that no server has told: the network's, or that of something on the way."""
    return leave.code < 4000 and leave.code not in _TRY_LATER


@dataclass(frozen=True, slots=True)
class Address:
    """Target of a WebSocket, with the headers of its handshake."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Host:
    """Parts of a client that its transports use. `core` knows the places in the logs.

    `tell_missed` takes the signs of life in a row that did not come, and `tell_round_trip` milliseconds, where a
    transport watches and measures itself.
    """

    core: Core
    rest: Rest
    clock: Clock
    find_address: Callable[[], Address]
    tell_missed: Callable[[int], None]
    tell_round_trip: Callable[[float], None]


@dataclass(slots=True)
class Traffic:
    """Counters of one carrier since they were read last."""

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
        """Add the counters to those of the same name, and begin anew, so that nothing is added twice."""
        for name in ("frames_received", "frames_sent", "bytes_received", "bytes_sent"):
            setattr(other, name, getattr(other, name) + getattr(self, name))
            setattr(self, name, 0)


class Carrier(Protocol):
    """Carrier of one attachment, or of several that follow each other without a break."""

    @property
    def name(self) -> TransportName:
        """Transport of the present attachment."""

    @property
    def has_beats(self) -> bool:
        """True if the server's beats are the sign of life; else the carrier watches that itself."""

    @property
    def traffic(self) -> Traffic: ...

    async def open(self) -> Leave | None:
        """Make ready for `connect`; return why that cannot be. Raises nothing."""

    def send_frame(self, frame: Mapping[str, Any]) -> None:
        """Send in this order; never wait."""

    async def receive_frame(self, patience: float | None) -> Frame | Leave:
        """Return the next frame, SILENCE after `patience` seconds without one, SWITCH, or the end.

        Asking for a frame tells that the one before was handled.
        """

    async def close(self, code: int, last: Mapping[str, Any] | None = None) -> None:
        """Say good-bye with a code, behind waiting frames and a `last` one; the end is then received."""

    async def abandon(self) -> None:
        """Let go of everything without a word. Nothing is received from then on."""


class Interruptible(Carrier, Protocol):
    """Carrier that can be taken out of its wait."""

    def interrupt(self, leave: Leave) -> None:
        """End the attachment with this, behind frames that have arrived already."""

"""Calls of clients that are connected over HTTP, as frozen values (PROTOCOL section 16).

Bodies are decoded JSON that has been strictly checked. Unknown members are ignored, as in frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from session_mgmt.exceptions import InvalidField
from session_mgmt.protocol import frames
from session_mgmt.protocol.fields import read_count, read_optional_count, read_optional_text, read_text
from session_mgmt.protocol.frames import Connect

JSON: TypeAlias = Any

SSE, LONGPOLL, NONE = "sse", "longpoll", "none"
TRANSPORTS = (SSE, LONGPOLL, NONE)
MOST_FRAMES = 100
# Longest time in seconds for which a client may ask the server to hold an empty answer.
MOST_HOLD = 55.0
_GRANT_LIMIT = 100
# These begin or end an attachment, or answer a beat; over HTTP there are calls for them.
OF_SOCKETS = ("connect", "pong", "disconnect")
# Frames of the server on any transport; the last two exist only over HTTP.
SERVER_FRAMES = (
    *("connected", "recovery", "bye", "entries", "snapshot", "gap", "receipt", "reply", "error", "ping", "pong"),
    *("ephemeral", "grants", "again"),
)


@dataclass(frozen=True, slots=True)
class Claim:
    """Attachment that a call belongs to, as the client names it."""

    client_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class Attach:
    connect: Connect
    transport: str


@dataclass(frozen=True, slots=True)
class Poll:
    """Poll or stream. By log, ``logs`` are the positions, ``grants`` the grants, ``slow`` the ways to go on if the
    client is slow, and ``filters`` the requested filters. ``recovery`` is the id from ``connected``, and ``hold`` the
    seconds for which an empty answer may be held.
    """

    claim: Claim
    acked: int
    logs: dict[str, JSON]
    grants: dict[str, str]
    slow: dict[str, JSON]
    filters: dict[str, JSON]
    recovery: str | None
    hold: float | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Frames to handle, and the positions of the documents whose entries must come before receipts."""

    claim: Claim
    acked: int
    logs: dict[str, JSON]
    frames: list[JSON]


def read_attach(body: JSON, token: str) -> Attach:
    """Read the body of ``connections/``. Raises ``InvalidField``."""
    members = _read_object(body)
    transport = members.get("transport")
    if transport not in TRANSPORTS:
        raise InvalidField("transport is sse, longpoll or none.", field="transport")
    if any(members.get(name) is not None for name in ("token", "auth")):
        raise InvalidField("The proof is in the headers.", field="token")
    connect = frames.parse({**members, "type": "connect", "token": token})
    assert isinstance(connect, Connect)
    return Attach(connect, transport)


def read_poll(body: JSON) -> Poll:
    """Read the body of ``connections/poll/``. Raises ``InvalidField``."""
    members = _read_object(body)
    logs, grants, wishes = _read_followed(members.get("logs", {}))
    recovery = read_optional_text(members, "recovery", 40)
    hold = members.get("hold")
    if hold is not None and (isinstance(hold, bool) or not isinstance(hold, int | float) or not 0 <= hold <= MOST_HOLD):
        raise InvalidField(f"hold is a number of seconds from 0 to {MOST_HOLD:g}.", field="hold")
    return Poll(
        _read_claim(members), _read_acked(members), logs, grants, wishes["slow"], wishes["filter"], recovery, hold
    )


def read_exchange(body: JSON) -> Exchange:
    """Read the body of ``connections/frames/``. Its frames are read later. Raises ``InvalidField``."""
    members = _read_object(body)
    logs, given = members.get("logs", {}), members.get("frames")
    if not isinstance(logs, dict):
        raise InvalidField("logs is an object of positions by name.", field="logs")
    if not isinstance(given, list) or len(given) > MOST_FRAMES:
        raise InvalidField(f"frames is a list of at most {MOST_FRAMES} frames.", field="frames")
    for at, frame in enumerate(given):
        if not isinstance(frame, dict) or frame.get("type") in OF_SOCKETS:
            raise InvalidField("A frame is an object, and none that belongs to sockets only.", field=f"frames/{at}")
    return Exchange(_read_claim(members), _read_acked(members), logs, given)


def read_leave(body: JSON) -> Claim:
    """Read the body of ``connections/leave/``. Raises ``InvalidField``."""
    return _read_claim(_read_object(body))


def _read_object(body: JSON) -> dict[str, JSON]:
    if not isinstance(body, dict):
        raise InvalidField("The body is a JSON object.", field="")
    return body


def _read_claim(members: dict[str, JSON]) -> Claim:
    return Claim(read_text(members, "client_id", 40), read_count(members, "generation", least=1))


def _read_acked(members: dict[str, JSON]) -> int:
    return read_optional_count(members, "acked") or 0


def _read_followed(given: JSON) -> tuple[dict[str, JSON], dict[str, str], dict[str, dict[str, JSON]]]:
    if not isinstance(given, dict):
        raise InvalidField("logs is an object by name.", field="logs")
    logs: dict[str, JSON] = {}
    grants: dict[str, str] = {}
    wishes: dict[str, dict[str, JSON]] = {"slow": {}, "filter": {}}
    for name, place in given.items():
        if not isinstance(place, dict):
            raise InvalidField("A log is an object with its position.", field=f"logs/{name}")
        # Positions are judged later, because an unreadable one results in a verdict about its log.
        logs[name] = place.get("position")
        grant = place.get("grant")
        # A grant that is not text is not an error either: the application is asked again.
        if isinstance(grant, str) and len(grant) <= _GRANT_LIMIT:
            grants[name] = grant
        for wish, found in wishes.items():
            if place.get(wish) is not None:
                found[name] = place[wish]
    return logs, grants, wishes
